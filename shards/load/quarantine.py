"""A damaged sample of the training set: noted, replaced by another, and tolerated within a budget.

What replaces it is a function of seed, epoch, sample and attempt, so no rank has a step more or less than the others,
and a resumed run makes the same choice.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ecamp_fast.errors import DataError
from ecamp_fast.keyed_random import Stream, sample_keys, uniform_at
from ecamp_fast.shards.storage.presence import budget

IN_A_ROW = 16  # damaged samples, substitutes among them, before it is no accident

Note = Callable[[dict[str, Any]], None]


class Quarantine:
    """Counts and replaces damaged samples. May be shared by threads.

    count  samples of the split
    share  of them that may be damaged in an epoch; 0: the first is an error
    seed   of the choice of substitutes
    note   receives a record of each: sample and epoch, the fault as the error names it, and what stands in
    lost   samples known to be damaged, within the budget: they count in every epoch
    visits numbers that an epoch has, see ``MixedOrder``
    """

    def __init__(
        self,
        count: int,
        share: float,
        seed: int,
        note: Note = lambda record: None,
        lost: Iterable[int] = (),
        visits: int = 1,
    ) -> None:
        self._visits = visits
        self._count, self._budget, self._seed, self._note = count, budget(count, share), seed, note
        self._lost = frozenset(lost)
        self._found: dict[int, set[int]] = {}  # by epoch, the two last ones: a batch may hold samples of both
        self._lock = threading.Lock()

    @property
    def found(self) -> tuple[int, int]:
        """Damaged samples that this process met, beyond ``lost``: of the last even epoch and of the last odd one.

        Ranks share the samples of an epoch, so their sums are the damaged samples of all ranks: see ``judge``.
        """
        with self._lock:
            counts = {epoch % 2: len(samples) for epoch, samples in sorted(self._found.items())}
        return counts.get(0, 0), counts.get(1, 0)

    def judge(self, found: Sequence[int], last: str = "") -> None:
        """Raises DataError where an epoch has more damaged samples than may be.  found: of all ranks, beyond ``lost``

        last: what is known of one of them
        """
        damaged = len(self._lost) + max(found)
        if damaged > self._budget:
            raise DataError(
                f"{damaged} of {self._count} samples are damaged, {self._budget} may be{last and '; the last: '}{last}",
                "RUN/quarantine.jsonl lists them; `ecamp-fast shard verify` finds all, `ecamp-fast shard repair` fixes",
            )

    def replace(self, epoch: int, sample: int, attempt: int, error: DataError) -> int:
        """The sample that is read instead.  epoch: its number in the order   attempt: how many were tried already

        Raises DataError beyond the budget.
        """
        substitute = self._substitute(epoch, sample, attempt)
        epoch //= self._visits
        with self._lock:
            met = self._found.setdefault(epoch, set())
            if sample not in self._lost:
                met.add(sample)
            for old in [other for other in self._found if other < epoch - 1]:
                del self._found[old]
            damaged = len(met)
        if not self._budget:
            raise error
        self.judge([damaged], error.what)
        if attempt >= IN_A_ROW:
            raise DataError(f"{attempt} samples in a row are damaged; the last: {error.what}", error.hint) from error
        self._note({"sample": sample, "epoch": epoch, "fault": error.what, "instead": substitute})
        return substitute

    def _substitute(self, epoch: int, sample: int, attempt: int) -> int:
        key = sample_keys(self._seed, epoch, np.array([sample]))
        draw = uniform_at(key, Stream.SUBSTITUTE, np.array([attempt]))
        return min(self._count - 1, int(float(draw[0]) * self._count))
