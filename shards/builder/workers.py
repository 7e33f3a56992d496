"""Packing samples in worker processes; results come in the order of the records, whatever the number of workers."""

import os
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path

from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.machine import available_cores
from ecamp_fast.shards.builder import ray_workers
from ecamp_fast.shards.builder.pack import CHUNK, TASKS_PER_WORKER, Outcome, Packer
from ecamp_fast.shards.sources.base import Record, Source
from ecamp_fast.text.reading.entities import DEFAULT, EntityList

_packer: Packer | None = None  # of a worker process


def pack_all(
    source: Source,
    records: list[Record],
    short_side: int,
    tokenizer: Path | None,
    workers: int,
    runner: str = "processes",
    entities: EntityList = DEFAULT,
) -> Generator[Outcome, None, None]:
    """``Packer.pack`` of every record, in order.  workers: processes, 0: one per available core; 1 stays in this one.

    Close it if it is left early: its processes end then. Distilled texts that are missing are written by rule. A
    bounded number of samples waits in memory.
    runner: ``processes`` of this machine, or ``ray``, a cluster.   entities: what reports are read for

    Raises EnvironmentFault if a worker dies.
    """
    if runner == "ray" and records:
        yield from ray_workers.pack_all(source, records, short_side, tokenizer, workers, entities)
        return
    workers = min(workers or available_cores(), -(-len(records) // CHUNK))
    if workers <= 1:
        packer = Packer(source, short_side, tokenizer, entities)
        yield from map(packer.pack, records)
        return
    context = get_context("forkserver")  # no fork of a process that may hold threads, and no torch in the workers
    context.set_forkserver_preload(["ecamp_fast.shards.builder.workers"])
    pool = ProcessPoolExecutor(workers, context, _start_worker, (source, short_side, tokenizer, entities))
    try:
        yield from _ordered(pool, records, TASKS_PER_WORKER * workers)
    except BrokenProcessPool:
        raise EnvironmentFault(
            "a worker process of the builder died", "the machine may be short of memory: pass fewer --workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(source: Source, short_side: int, tokenizer: Path | None, entities: EntityList) -> None:
    """Set up a worker process; it dies with its parent, so that a killed build leaves nothing running."""
    global _packer
    _die_with_parent()
    _packer = Packer(source, short_side, tokenizer, entities)


def _pack(records: list[Record]) -> list[Outcome]:
    """Pack some records in a worker process, in order."""
    assert _packer is not None, "_start_worker has not run"
    return [_packer.pack(record) for record in records]


def _die_with_parent() -> None:
    """End this worker when the builder dies: killed, it cannot tell its workers to stop."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _ordered(pool: ProcessPoolExecutor, records: list[Record], depth: int) -> Iterator[Outcome]:
    waiting: deque[Future[list[Outcome]]] = deque()
    for start in range(0, len(records), CHUNK):
        waiting.append(pool.submit(_pack, records[start : start + CHUNK]))
        if len(waiting) >= depth:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()
