"""Packing on a Ray cluster that is already running: the same results in the same order as ``workers.pack_all``.

Every node must see the source's files at the same paths and have this package installed.
"""

import tempfile
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Any

from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.extras import install_hint
from ecamp_fast.shards.builder.pack import CHUNK, TASKS_PER_WORKER, Outcome, Packer
from ecamp_fast.shards.format.manifest import TOKENIZER
from ecamp_fast.shards.sources.base import Record, Source
from ecamp_fast.text.reading.entities import DEFAULT, EntityList


def pack_all(
    source: Source,
    records: list[Record],
    short_side: int,
    tokenizer: Path | None,
    workers: int,
    entities: EntityList = DEFAULT,
) -> Generator[Outcome, None, None]:
    """``Packer.pack`` of every record, in order.  workers: actors of one core each, 0: one per core of the cluster.

    Raises EnvironmentFault: Ray is not installed, no cluster is running, an actor died.
    """
    ray = _connected()
    count = min(workers or int(ray.cluster_resources().get("CPU", 1)), -(-len(records) // CHUNK))
    content = ray.put(tokenizer.read_bytes() if tokenizer and tokenizer.exists() else None)
    actor = ray.remote(num_cpus=1)(_Actor)
    actors = [actor.remote(source, short_side, tokenizer is not None, content, entities) for _ in range(count)]
    waiting: deque[Any] = deque()
    try:
        for number, start in enumerate(range(0, len(records), CHUNK)):
            waiting.append(actors[number % count].pack.remote(records[start : start + CHUNK]))
            if len(waiting) >= TASKS_PER_WORKER * count:
                yield from ray.get(waiting.popleft())
        while waiting:
            yield from ray.get(waiting.popleft())
    except ray.exceptions.RayActorError as error:
        raise EnvironmentFault(
            f"a worker on the Ray cluster died: {type(error).__name__}", "see `ray logs`; pass fewer --workers"
        ) from None
    finally:
        for one in actors:
            ray.kill(one)


class _Actor:
    """A packer on some node; the tokenizer comes as bytes, for the node need not see the builder's disk."""

    def __init__(
        self, source: Source, short_side: int, packs: bool, tokenizer: bytes | None, entities: EntityList
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / TOKENIZER
            if tokenizer is not None:
                path.write_bytes(tokenizer)
            self._packer = Packer(source, short_side, path if packs else None, entities)

    def pack(self, records: list[Record]) -> list[Outcome]:
        return [self._packer.pack(record) for record in records]


def _connected() -> Any:
    try:
        import ray
    except ImportError:
        raise EnvironmentFault("Ray is not installed", install_hint("ray")) from None
    if not ray.is_initialized():
        try:
            ray.init(address="auto", log_to_driver=False)
        except ConnectionError:
            raise EnvironmentFault(
                "no Ray cluster is running here", "`ray start --head`, or set RAY_ADDRESS to one"
            ) from None
    return ray
