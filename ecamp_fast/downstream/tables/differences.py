"""By how much each encoder is better than every other row, paired: the same patients, the same seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ecamp_fast.downstream.result import TaskResult
from ecamp_fast.downstream.tables.evaluate import GroupResult
from ecamp_fast.downstream.tables.registry import TaskKind
from ecamp_fast.scores import over_seeds

RESAMPLED = "resampled"  # in ``TaskResult.extra``: the score of all samples, then of each draw of patients


@dataclass(frozen=True)
class PairedDifference:
    """In points (0 to 100).

    method   the encoder   against: another row of the same task and percentage
    low      and high: 95 % interval over patients and, where there are several, over trainings
    pairs    differences that the mean is over, one for each training
    above    of them above zero
    """

    task: str
    fraction: float
    method: str
    against: str
    value: float
    low: float
    high: float
    pairs: int
    above: int


def differences(results: Sequence[GroupResult], kinds: Mapping[str, TaskKind]) -> list[PairedDifference]:
    """Of each encoder that was trained against every other row.

    Other subsets of one model are no other training: its differences of all seeds are averaged first. Seeds are
    trainings of their own where a single pre-training was fine-tuned with each.
    """
    found = []
    for one in results:
        for other in results:
            same = (one.group.task, one.group.fraction) == (other.group.task, other.group.fraction)
            if one is not other and same and not one.group.baseline:
                gaps = _gaps(one, other, kinds[one.group.kind].tuned)
                if len(gaps):
                    found.append(_difference(one, other, gaps))
    return found


def _difference(one: GroupResult, other: GroupResult, gaps: np.ndarray) -> PairedDifference:
    found = over_seeds(100 * gaps)
    above = int((gaps[:, 0] > 0).sum())
    names = one.group.task, one.group.fraction, one.group.encoder, other.group.encoder
    return PairedDifference(*names, found.value, found.low, found.high, len(gaps), above)


def _gaps(one: GroupResult, other: GroupResult, is_fitted: bool) -> np.ndarray:
    """(S, 1 + D): of each training, of all samples and of each draw of patients.

    A row of one source, as pixels are, stands against each pre-training of another.
    """
    found = []
    for number, source in enumerate(one.group.sources):
        of_seeds = []
        for seed in sorted({seed for _, seed in one.results}):
            mine = one.results.get((source, seed))
            theirs = other.results.get((_opposite(other, number), seed))
            if mine and theirs and _paired(mine, theirs):
                of_seeds.append(np.array(mine.extra[RESAMPLED]) - np.array(theirs.extra[RESAMPLED]))
        if is_fitted and len(one.group.sources) == 1:
            found += of_seeds
        elif of_seeds:
            found.append(np.mean(of_seeds, axis=0))
    return np.array(found)


def _opposite(other: GroupResult, number: int) -> str:
    sources = other.group.sources
    return sources[number] if number < len(sources) else sources[0] if len(sources) == 1 else ""


def _paired(mine: TaskResult, theirs: TaskResult) -> bool:
    """Whether both were scored on the same draws of the same test samples."""
    sizes = [len(one.extra.get(RESAMPLED, ())) for one in (mine, theirs)]
    return sizes[0] > 1 and sizes[0] == sizes[1] and mine.samples.get("test") == theirs.samples.get("test")
