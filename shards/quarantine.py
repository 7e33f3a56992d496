"""A damaged sample of the training set: noted, replaced by another, and tolerated within a budget.

What replaces it is a function of seed, epoch, sample and attempt, so no rank has a step more or less than the others,
and a resumed run makes the same choice.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ecamp_fast.draws import Stream, sample_keys, uniform_at
from ecamp_fast.errors import DataError

IN_A_ROW = 16  # damaged samples, substitutes among them, before it is no accident

Note = Callable[[dict[str, Any]], None]


def budget(count: int, share: float) -> int:
    """Samples of ``count`` that may be damaged."""
    return int(share * count)


class Quarantine:
    """May be shared by threads.

    count: samples of the split   share: of them that may be damaged; 0: the first is an error
    lost: samples known to be damaged, within the budget: they count from the start
    note: receives a record of each: sample and epoch, the fault as the error names it, and what stands in
    """

    def __init__(
        self, count: int, share: float, seed: int, note: Note = lambda record: None, lost: Iterable[int] = ()
    ) -> None:
        self._count, self._budget, self._seed, self._note = count, budget(count, share), seed, note
        self._damaged: set[int] = set(lost)
        self._lock = threading.Lock()

    def replace(self, epoch: int, sample: int, attempt: int, error: DataError) -> int:
        """The sample that is read instead.  attempt: how many were tried for this place already

        Raises DataError beyond the budget.
        """
        substitute = self._substitute(epoch, sample, attempt)
        with self._lock:
            self._damaged.add(sample)
            damaged = len(self._damaged)
            if damaged > self._budget or attempt >= IN_A_ROW:
                if not self._budget:
                    raise error
                raise DataError(
                    f"{damaged} of {self._count} samples are damaged, {self._budget} may be; the last: {error.what}",
                    "run `ecamp-fast shard verify` on the set, then `ecamp-fast shard repair`",
                ) from error
        self._note({"sample": sample, "epoch": epoch, "fault": error.what, "instead": substitute})
        return substitute

    def _substitute(self, epoch: int, sample: int, attempt: int) -> int:
        key = sample_keys(self._seed, epoch, np.array([sample]))
        draw = uniform_at(key, Stream.SUBSTITUTE, np.array([attempt]))
        return min(self._count - 1, int(float(draw[0]) * self._count))
