"""What ranks tell each other beside their collectives: through a store, from any thread, and nobody waits for ever."""

import json
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch.distributed as dist

PATIENCE = 1800.0  # seconds: a slow disk is no fault
PAUSE = 0.002, 0.05  # seconds between two looks, growing


class AgreementError(Exception):
    """Some ranks did not answer."""


class Ranks(Protocol):
    """The ranks of a run."""

    rank: int
    world: int

    def gather(self, key: str, value: Any) -> list[Any]:
        """What each rank gives under ``key``, by rank; every rank calls it, once for a key.  value: fit for JSON"""
        ...


class Alone:
    """The only rank."""

    rank, world = 0, 1

    def gather(self, key: str, value: Any) -> list[Any]:
        return [value]


class StoreRanks:
    """Ranks that meet in a store of ``torch.distributed``.

    store: a connection that nobody else uses, since a call holds it   patience: seconds to wait for the others
    """

    def __init__(self, store: Any, rank: int, world: int, patience: float = PATIENCE) -> None:
        self.rank, self.world = rank, world
        self._store, self._patience = store, patience
        self._former: list[str] = []
        self._meetings = 0

    def gather(self, key: str, value: Any) -> list[Any]:
        """Raises AgreementError where a rank has not answered in time, or the one that holds the store is gone."""
        self._meetings += 1  # a step that is saved again finds no answers of before
        names = [f"checkpoint/{self._meetings}/{key}/{rank}" for rank in range(self.world)]
        try:
            self._store.set(names[self.rank], json.dumps(value))
            self._wait(names)
            answers = [json.loads(self._store.get(name)) for name in names]
            self._forget(names[self.rank])
        except RuntimeError as error:
            raise AgreementError(f"the store in which ranks meet does not answer: {error}") from error
        return answers

    def _wait(self, names: list[str]) -> None:
        deadline, pause = time.monotonic() + self._patience, PAUSE[0]
        while not self._store.check(names):
            if time.monotonic() > deadline:
                missing = [rank for rank, name in enumerate(names) if not self._store.check([name])]
                raise AgreementError(f"no answer from rank {', '.join(map(str, missing))} in {self._patience:.0f} s")
            time.sleep(pause)
            pause = min(pause * 1.5, PAUSE[1])

    def _forget(self, name: str) -> None:
        """Who is at a meeting has left the one before, so that what was told two meetings ago has been read."""
        self._former.append(name)
        if len(self._former) > 2:
            self._store.delete_key(self._former.pop(0))


def ranks_of_this_run() -> Ranks:
    """All ranks of the process group, over a connection of their own to its store."""
    if dist.get_world_size() == 1:
        return Alone()
    store = dist.distributed_c10d._get_default_store()
    return StoreRanks(store.clone(), dist.get_rank(), dist.get_world_size())


class RankFault(Exception):
    """What went wrong on which rank; every rank has it.

    storage: whether the disk refused, which may pass
    """

    def __init__(self, what: str, storage: bool) -> None:
        super().__init__(what)
        self.storage = storage


def together(ranks: Ranks, key: str, action: Callable[[], Any]) -> list[Any]:
    """Run and meet: what each rank's action gives, which must be fit for JSON; if one fails, all raise.

    Raises RankFault on every rank, from the error of this one where there was one.
    """
    value: Any = None
    own: Exception | None = None
    try:
        value = action()
    except Exception as error:  # none may wait for a rank that has gone
        own = error
    fault = f"{type(own).__name__}: {own}" if own else ""
    answers = ranks.gather(key, [value, fault, isinstance(own, OSError)])
    faults = [(f"rank {rank}: {what}", storage) for rank, (_, what, storage) in enumerate(answers) if what]
    if faults:
        storage = all(storage for _, storage in faults)
        raise RankFault(next(what for what, refused in faults if refused == storage), storage) from own
    return [value for value, _, _ in answers]
