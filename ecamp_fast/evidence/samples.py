"""The held-out samples in memory, and whose image stands in for whose."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe
from ecamp_fast.errors import DataError
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.read import ShardSet


@dataclass(frozen=True)
class Samples:
    """Batches of a split, each sample once, whole images, masks as in every evaluation.

    batches    in order
    patients   of each sample, over all batches
    """

    batches: list[Batch]
    patients: list[str]

    @property
    def images(self) -> Tensor:
        """(N, 1, S, S) uint8."""
        return torch.cat([batch.image for batch in self.batches])

    def first(self, count: int | None) -> "Samples":
        """Whole batches until there are ``count`` samples; None: all."""
        kept, total = [], 0
        for batch in self.batches:
            if count is not None and total >= count:
                break
            kept.append(batch)
            total += len(batch)
        return Samples(kept, self.patients[:total])

    def swapped(self) -> Iterator[Batch]:
        """The same batches, masks and words, with the image of the next other patient."""
        images, others = self.images, next_other(self.patients)
        first = 0
        for batch in self.batches:
            own = others[first : first + len(batch)]
            first += len(batch)
            yield replace(batch, image=images[own])


def held_out(
    shards: ShardSet, split: str, recipe: Recipe, count: int | None = None, device: torch.device | str = "cpu"
) -> Samples:
    """The first ``count`` samples of a split (None: all).  Raises DataError where they are of one patient."""
    loader = Loader(shards, split, recipe, device=torch.device(device), train=False)
    batches = list(loader.evaluation(count))
    names = patients(shards, split, sum(map(len, batches)))
    if len(set(names)) < 2:
        raise DataError(
            f"the {len(names)} samples of {split} are of one patient: there is nobody to compare with", "hold out more"
        )
    return Samples(batches, names)


def patients(shards: ShardSet, split: str, count: int) -> list[str]:
    """The patient of each of the samples that ``shards.first`` gives; the study where the patient is not known."""
    read = (shards.metadata(split, i) for i in shards.first(split, count).tolist())
    return [str(about.get("patient_id") or about["study_id"]) for about in read]


def next_other(patients: Sequence[str]) -> list[int]:
    """For each sample the next one, around the end, of a different patient. There must be two patients."""
    count, found = len(patients), []
    for index, patient in enumerate(patients):
        step = next(step for step in range(1, count) if patients[(index + step) % count] != patient)
        found.append((index + step) % count)
    return found
