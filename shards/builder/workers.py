"""Packing samples in worker processes; results come in the order of the records, whatever the number of workers."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.machine import available_cores, worker_processes
from ecamp_fast.shards.builder import ray_workers
from ecamp_fast.shards.builder.pack import CHUNK, TASKS_PER_WORKER, Outcome, Packer
from ecamp_fast.shards.sources.base import Record, Source
from ecamp_fast.text.reading.entities import DEFAULT, EntityList

Item = TypeVar("Item")
Result = TypeVar("Result")
_Item = TypeVar("_Item", contravariant=True)
_Result = TypeVar("_Result", covariant=True)


class Packs(Protocol[_Item, _Result]):
    """What packs in a worker process."""

    def pack(self, item: _Item, /) -> _Result:
        """The result of one item."""


_packer: Packs[Any, Any] | None = None  # of a worker process


def pack_all(
    source: Source,
    records: list[Record],
    short_side: int,
    tokenizer: Path | None,
    workers: int,
    runner: str = "processes",
    entities: EntityList = DEFAULT,
) -> Generator[Outcome, None, None]:
    """``Packer.pack`` of every record, in order, as ``pack_in_order``. Missing distilled texts are written by rule.

    runner: ``processes`` of this machine, or ``ray``, a cluster.   entities: what reports are read for
    """
    if runner == "ray" and records:
        yield from ray_workers.pack_all(source, records, short_side, tokenizer, workers, entities)
        return
    yield from pack_in_order(partial(Packer, source, short_side, tokenizer, entities), records, workers)


def pack_in_order(
    start: Callable[[], Packs[Item, Result]], items: Sequence[Item], workers: int
) -> Generator[Result, None, None]:
    """What packers make of items, in order.  workers: processes, 0: one per available core; 1 stays in this one.

    start: makes a packer, in each process   Close it if it is left early: its processes end then. A bounded number of
    results waits in memory. Raises EnvironmentFault if a worker dies.
    """
    workers = min(workers or available_cores(), -(-len(items) // CHUNK))
    if workers <= 1:
        yield from map(start().pack, items)
        return
    context = worker_processes(["ecamp_fast.shards.builder.workers"])  # no torch in the workers
    pool = ProcessPoolExecutor(workers, context, _start_worker, (start,))
    try:
        yield from _ordered(pool, items, TASKS_PER_WORKER * workers)
    except BrokenProcessPool:
        raise EnvironmentFault(
            "a worker process of the builder died", "the machine may be short of memory: pass fewer --workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(start: Callable[[], Packs[Any, Any]]) -> None:
    """Set up a worker process; it dies with its parent, so that a killed build leaves nothing running."""
    global _packer
    _die_with_parent()
    _packer = start()


def _pack(items: Sequence[Any]) -> list[Any]:
    """Pack some items in a worker process, in order."""
    assert _packer is not None, "_start_worker has not run"
    return [_packer.pack(item) for item in items]


def _die_with_parent() -> None:
    """End this worker when the builder dies: killed, it cannot tell its workers to stop."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _ordered(pool: ProcessPoolExecutor, items: Sequence[Any], depth: int) -> Iterator[Any]:
    waiting: deque[Future[list[Any]]] = deque()
    for start in range(0, len(items), CHUNK):
        waiting.append(pool.submit(_pack, items[start : start + CHUNK]))
        if len(waiting) >= depth:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()
