"""Which samples a task is fitted to, chosen by, and judged on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ecamp_fast.downstream.data.labels import NONE, Labels, read_labels
from ecamp_fast.downstream.data.subsets import choose, first, listed
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.printable import items
from ecamp_fast.shards.format.manifest import MASKS
from ecamp_fast.shards.load.read import ShardSet

CARVED = 10.0  # percent of the training patients that validate where a set has no split for it


@dataclass(frozen=True)
class TaskPart:
    """Some samples of a split.  labels: of the whole split   rows: sample numbers, sorted"""

    split: str
    labels: Labels
    rows: np.ndarray

    @property
    def patients(self) -> list[str]:
        """Of ``rows``."""
        return [self.labels.patients[row] for row in self.rows]

    @property
    def values(self) -> np.ndarray:
        """(n, F), labels of ``rows``."""
        return self.labels.values[self.rows]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Subset:
    """Which part of the training samples is used.

    percent   of them
    official  by the lists that the set has, not by patients drawn
    count     images instead of percent; 0: percent
    seed      of the patients' order
    """

    percent: float = 100.0
    official: bool = False
    count: int = 0
    seed: int = 42


@dataclass(frozen=True)
class TaskSplits:
    """percent: of the training samples that are used"""

    train: TaskPart
    val: TaskPart
    test: TaskPart
    percent: float = 100.0

    def counts(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in ("train", "val", "test")}

    def told(self) -> str:
        """For a person: images and patients of each part; of the split that it is of, where that has another name."""
        parts: dict[str, TaskPart] = {name: getattr(self, name) for name in ("train", "val", "test")}
        return ", ".join(
            f"{name} {len(part):,} images of {len(set(part.patients)):,} patients"
            + (f" (of split {part.split})" if part.split != name else "")
            for name, part in parts.items()
        )


def require_kinds(part: TaskPart, use: str) -> None:
    """use: of the part, as in "fitted to".  Raises DataError where no class has both kinds, and so none can be told."""
    if not part.labels.names:
        raise DataError(f"no image of the split {part.split} has a label", "use a set that was built with labels")
    if not any((column == 1).any() and (column == 0).any() for column in part.values.T):
        what = f"of the {len(part)} images that are {use} no class is both present and absent"
        raise DataError(what, "use more images, or other classes")


def split_task(
    shards: ShardSet,
    subset: Subset,
    names: Sequence[str] = (),
    uncertain: Mapping[str, int] = NONE,
    test_split: str | None = None,
    masked: bool = False,
) -> TaskSplits:
    """Train, val and test of a set; val is carved from the training patients where the set has no other left for it.

    test_split  None: ``test``, or ``val`` where the set has no such split
    masked      samples without masks are left out: what is in them is not known

    Raises DataError where a split is missing or has no masks, a patient is in two of the three parts, or none is left
    to fit to; ConfigError where a list and a number are asked for at once.
    """
    if subset.official and subset.count:
        raise ConfigError(f"an official list, and {subset.count} images", "ask for one of the two")
    have = shards.splits
    test_split = test_split or ("test" if "test" in have else "val")
    if absent := [name for name in ("train", test_split) if name not in have]:
        raise DataError(f"{shards.path} has no split {absent[0]}", f"it has {', '.join(have)}")
    test = _whole(shards, test_split, names, uncertain, masked)
    train = _whole(shards, "train", test.labels.names, uncertain, masked)
    if "val" in have and test_split != "val":
        val = _whole(shards, "val", test.labels.names, uncertain, masked)
    else:
        rows = train.rows[choose(train.patients, CARVED, subset.seed + 1)]
        val, train = replace(train, rows=rows), replace(train, rows=np.setdiff1d(train.rows, rows))
    if not len(train):
        raise DataError(f"{shards.path}: no patient is left to fit to", "use a set with more patients")
    percent = 100 * subset.count / len(train) if subset.count else subset.percent
    splits = TaskSplits(replace(train, rows=_used(train, subset)), val, test, percent)
    _refuse_shared_patients(shards, splits)
    return splits


def _whole(shards: ShardSet, split: str, names: Sequence[str], uncertain: Mapping[str, int], masked: bool) -> TaskPart:
    labels = read_labels(shards, split, names, uncertain)
    rows = np.arange(len(labels.patients), dtype=np.int64)
    if masked:
        rows = rows[np.array([shards.has(split, int(row), MASKS) for row in rows], bool)]
        if not len(rows):
            raise DataError(f"{shards.path}: no sample of the split {split} has masks", "build the set with --masks")
    return TaskPart(split, labels, rows)


def _used(train: TaskPart, subset: Subset) -> np.ndarray:
    """Sample numbers of the split."""
    if subset.official:
        return np.intersect1d(listed(train.labels.fractions, subset.percent), train.rows)
    patients = train.patients
    of = first(patients, subset.count, subset.seed) if subset.count else choose(patients, subset.percent, subset.seed)
    return train.rows[of]


def _refuse_shared_patients(shards: ShardSet, splits: TaskSplits) -> None:
    parts = {name: set(getattr(splits, name).patients) for name in ("train", "val", "test")}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        if shared := sorted(parts[one] & parts[other]):
            told = items(shared[:5])
            raise DataError(
                f"{shards.path}: {len(shared)} patients are in {one} and in {other}:{told}",
                "build the set with --holdout, which keeps patients together",
            )
