"""A loader that fails on one rank, while the others go on to wait for it: all save together, then leave.

The rank whose loader failed takes the micro-batch before once more, so that it goes through the same collectives as the
others, to the end of the step. There the one vector that all ranks reduce says so: the update is left out everywhere,
the step does not count, and every rank knows. Nothing is asked for that in a step without a fault.
"""

import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import torch.distributed as dist

from ecamp_fast.batch import Batch
from ecamp_fast.errors import EcampError
from ecamp_fast.run.safety.heartbeat import AFTER_ALL, Heartbeat


class GuardedBatches:
    """The micro-batches of a leg.

    batches  of ``Loader.batches``   step  where the leg begins   accumulation  micro-batches of a step
    fault    what ended the loader; None as long as it delivers
    waited   seconds that its batches were waited for, as the main thread lives them; whoever reads it sets it back

    A fault before the first batch of all is raised: nothing can stand in, and nothing is to be saved.
    """

    def __init__(
        self, batches: Generator[Batch, None, None], heartbeat: Heartbeat, step: int, accumulation: int
    ) -> None:
        self.fault: Exception | None = None
        self.waited = 0.0
        self._batches, self._heartbeat = batches, heartbeat
        self._first, self._accumulation, self._count = step, accumulation, 0
        self._last: Batch | None = None

    def close(self) -> None:
        """Stop the loader's threads."""
        self._batches.close()

    def __iter__(self) -> "GuardedBatches":
        return self

    def __next__(self) -> Batch:
        steps, part = divmod(self._count, self._accumulation)
        self._heartbeat.mark("data", self._first + steps, part)
        began = time.perf_counter()
        batch = self._fetch()
        self.waited += time.perf_counter() - began
        self._count += 1
        self._heartbeat.mark("step", self._first + steps, part)
        return batch

    def _fetch(self) -> Batch:
        if self.fault is None:
            try:
                self._last = next(self._batches)
            except StopIteration:
                raise
            except Exception as error:
                if self._last is None:
                    raise
                self.fault = error
        assert self._last is not None
        return self._last


class GuardedEvaluation:
    """The batches of an evaluation, which a fault ends; ``fault`` keeps it until the ranks have met."""

    def __init__(self, heartbeat: Heartbeat, step: int) -> None:
        self.fault: Exception | None = None
        self._heartbeat, self._step = heartbeat, step

    def __call__(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches, each with a mark of the heartbeat before it."""
        part, every = 0, iter(batches)
        while True:
            self._heartbeat.mark("evaluation", self._step, part)
            try:
                batch = next(every)
            except StopIteration:
                break
            except Exception as error:
                self.fault = error
                break
            yield batch
            part += 1
        self._heartbeat.mark("evaluation", self._step, AFTER_ALL)


def gather_fault(fault: Exception | None) -> Exception:
    """What this rank raises: its own fault, or the first of another, with its exit code. Every rank calls it."""
    mine = None if fault is None else _told(fault)
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, mine)
    if fault is not None:
        return fault
    rank, (what, hint, code) = next((rank, told) for rank, told in enumerate(found) if told is not None)
    error = EcampError(f"the loader of rank {rank} failed: {what}", hint)
    error.exit_code = code
    return error


def _told(fault: Exception) -> tuple[str, str, int]:
    """Without the words of errors that are not ours, which may hold anything."""
    if isinstance(fault, EcampError):
        return fault.what, fault.hint, fault.exit_code
    return type(fault).__name__, "", EcampError.exit_code
