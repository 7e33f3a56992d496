"""Whose image stands in for whose."""

from dataclasses import replace

import pytest
import torch

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe
from ecamp_fast.errors import DataError
from ecamp_fast.evidence.samples import Samples, held_out, next_other, patients
from ecamp_fast.shards.load.read import ShardSet


def test_the_next_of_another_patient_around_the_end() -> None:
    assert next_other(["a", "a", "b", "a"]) == [2, 2, 3, 2]
    assert next_other(["a", "b"]) == [1, 0]


def test_swapped_batches_have_anothers_image_and_the_own_words_and_masks(val: Samples) -> None:
    images, others = val.images, next_other(val.patients)
    assert all(val.patients[i] != val.patients[j] for i, j in enumerate(others))
    seen = 0
    for own, swapped in zip(val.batches, val.swapped(), strict=True):
        places = torch.tensor(others[seen : seen + len(own)])
        assert torch.equal(swapped.image, images[places])
        assert swapped.text is own.text and torch.equal(swapped.keys, own.keys)
        seen += len(own)
    assert seen == len(val.patients)


def test_every_sample_once_in_order(val: Samples, phantoms: ShardSet) -> None:
    numbers = torch.cat([batch.samples for batch in val.batches]).tolist()
    assert numbers == list(range(phantoms.count("val")))
    assert val.patients == patients(phantoms, "val", len(numbers))


def test_as_many_as_asked_for(phantoms: ShardSet, recipe: Recipe) -> None:
    assert len(held_out(phantoms, "val", recipe, 11).patients) == 11


def test_one_patient_has_nobody_to_be_compared_with(phantoms: ShardSet, recipe: Recipe) -> None:
    with pytest.raises(DataError, match="of one patient"):
        held_out(phantoms, "val", recipe, 1)


def test_a_batch_of_another_size_is_no_obstacle(val: Samples) -> None:
    first: Batch = val.batches[0]
    ragged = replace(val, batches=[first, val.batches[-1]], patients=["a"] * len(first) + ["b"] * len(val.batches[-1]))
    assert sum(len(batch) for batch in ragged.swapped()) == len(ragged.patients)


def test_the_first_are_whole_batches(val: Samples) -> None:
    assert val.first(None).patients == val.patients and len(val.first(None).batches) == len(val.batches)
    some = val.first(len(val.batches[0]) + 1)
    assert some.batches == val.batches[:2] and len(some.patients) == sum(map(len, some.batches))
    assert val.first(len(val.batches[0])).batches == val.batches[:1]
