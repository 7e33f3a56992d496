"""Images, masks and boxes keep one geometry; subsets are nested and cut no patient; labels say what is unknown."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ecamp_fast.downstream.data.labels import Labels, parse_counts, read_labels
from ecamp_fast.downstream.data.samples import TaskData, TrainView
from ecamp_fast.downstream.data.subsets import choose, first, listed
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.load.read import ShardSet


@pytest.fixture(scope="module")
def labels(phantoms: ShardSet) -> Labels:
    return read_labels(phantoms, "train")


def data(phantoms: ShardSet, labels: Labels, **options: object) -> TaskData:
    return TaskData(phantoms, "train", labels, size=64, **options)


def test_labels_are_those_of_the_metadata(phantoms: ShardSet, labels: Labels) -> None:
    about = phantoms.metadata("train", 5)
    assert labels.values.shape == (phantoms.count("train"), len(labels.names))
    for number, name in enumerate(labels.names):
        assert labels.values[5, number] == about["labels"][name]
    assert labels.patients[5] == about["patient_id"]
    some = read_labels(phantoms, "train", labels.names[3:1:-1])
    np.testing.assert_array_equal(some.values, labels.values[:, [3, 2]])
    with pytest.raises(DataError, match="gout"):
        read_labels(phantoms, "train", ["gout"])
    with pytest.raises(ConfigError, match="named twice"):
        read_labels(phantoms, "train", labels.names[:1] * 2)


def test_uncertain_labels_count_as_their_class_says(phantoms: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    stated = {"a": -1, "b": -1, "c": 1, "Edema": -1}
    about = {"labels": stated, "patient_id": "p", "study_id": "s", "columns": {"lists": "1 10"}}
    monkeypatch.setattr(phantoms, "metadata", lambda split, index: about)
    monkeypatch.setattr(phantoms, "manifest", replace(phantoms.manifest, labels=("a", "b", "c", "d", "Edema")))
    found = read_labels(phantoms, "train", (), {"a": 1})
    np.testing.assert_array_equal(found.values[0], np.array([1, np.nan, 1, np.nan, 1], np.float32))
    assert found.fractions[0] == {"1", "10"}
    assert parse_counts(["a b=1", "c=0"]) == {"a b": 1, "c": 0}
    with pytest.raises(ConfigError):
        parse_counts(["a"])
    with pytest.raises(ConfigError, match="a=0 and a=1"):
        parse_counts(["a=0", "a=1"])
    with pytest.raises(DataError, match="gout"):
        read_labels(phantoms, "train", (), {"gout": 1})


def test_subsets_are_nested_and_cut_no_patient() -> None:
    patients = [f"p{number // 3}" for number in range(3000)]
    before: set[int] = set()
    for percent in (1, 10, 30, 100):
        rows = choose(patients, percent, 7)
        assert before <= set(rows.tolist()) and len(rows) == 30 * percent
        owners = {patients[row] for row in rows}
        assert len(rows) == 3 * len(owners)
        before = set(rows.tolist())
    assert set(choose(patients, 10, 7)) != set(choose(patients, 10, 8))
    assert len(first(patients, 100, 7)) == 100
    for seed in range(20):
        for count in (20, 30, 31, 60):
            assert {*first(patients, count, seed)} < {*first(patients, count + 11, seed)}
    for percent in (0, 101, -1):
        with pytest.raises(ConfigError):
            choose(patients, percent, 7)


def test_official_lists_are_taken_as_they_are() -> None:
    fractions = [frozenset({"1", "100"}), frozenset({"100"}), frozenset({"10", "100"})]
    assert [listed(fractions, percent).tolist() for percent in (1, 10, 100)] == [[0], [2], [0, 1, 2]]
    with pytest.raises(DataError, match="1, 10, 100"):
        listed(fractions, 5)


def test_images_masks_and_boxes_have_one_geometry(phantoms: ShardSet, labels: Labels) -> None:
    """The box of a finding is that of its mask, in the centre view and in crops and mirrors alike."""
    names = list(phantoms.manifest.masks)
    found = data(phantoms, labels, masks=names, boxes=names)
    for view in (None, TrainView((0.3, 0.9), 0.5)):
        checked = 0
        batches = found.ordered(16) if view is None else found.training(16, 0, 5, view)
        for batch in batches:
            assert batch.images.shape[1:] == (1, 64, 64) and batch.images.dtype == torch.uint8
            for masks, boxes, kinds in zip(batch.masks, batch.boxes, batch.box_labels, strict=True):
                for kind in set(kinds.tolist()):
                    mask, mine = masks[kind] > 0, boxes[kinds == kind]
                    if mask.sum() < 30:
                        continue
                    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
                    extent = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                    whole = torch.cat([mine[:, :2].amin(0), mine[:, 2:].amax(0)])
                    inside = torch.cat([extent[:2] - whole[:2], whole[2:] - extent[2:]])
                    assert inside.min() >= -2, (extent, whole)
                    assert view or inside.max() <= 3, (extent, whole)  # a crop may cut the box where the mask is thin
                    checked += 1
        assert checked > 20


def test_the_order_of_training_is_keyed_and_resumes(phantoms: ShardSet, labels: Labels) -> None:
    found = data(phantoms, labels, seed=5)
    whole = list(found.training(8, 0, 6, TrainView()))
    rest = list(found.training(8, 4, 6, TrainView()))
    for one, other in zip(whole[4:], rest, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.samples, other.samples)
    assert not torch.equal(whole[0].images, whole[1].images)
    again = next(iter(data(phantoms, labels, seed=6).training(8, 0, 1, TrainView())))
    assert not torch.equal(again.samples, whole[0].samples)


def test_rows_are_the_only_samples(phantoms: ShardSet, labels: Labels) -> None:
    found = data(phantoms, labels, rows=np.array([3, 8, 9]))
    assert torch.cat([batch.samples for batch in found.ordered(2)]).tolist() == [3, 8, 9]
    seen = torch.cat([batch.samples for batch in found.training(2, 0, 9, None)])
    assert set(seen.tolist()) == {3, 8, 9}
    with pytest.raises(DataError, match="no masks"):
        data(phantoms, labels, masks=["gout"])
