"""Words between the ranks of a run, through a client of the rendezvous store that nobody else uses.

A client is locked while it waits for an answer, so the watchdog has one of its own, in a thread that may hang: where
the store is stopped, so is this thread, and the watchdog sees that it has heard nothing.
"""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

from ecamp_fast.run.safety.heartbeat import Beat

PATIENCE = timedelta(seconds=5)  # of the client


class Channel:
    """Publishes a beat of this rank at an interval, and hears those of the others.

    address   host and port of the store         name   of this launch, so that an earlier one is not heard
    speak     gives the beat to publish
    heard     by rank: the last beat, and ``time.monotonic()`` when it came
    answered  when the store last answered
    thread    that talks
    """

    def __init__(
        self, address: tuple[str, int], name: str, rank: int, world: int, interval: float, speak: Callable[[], Beat]
    ) -> None:
        self.address, self._name, self._rank, self._world = address, name, rank, world
        self._interval, self._speak = interval, speak
        self.heard: dict[int, tuple[Beat, float]] = {}
        self.answered = time.monotonic()
        self._known: set[int] = set()
        self._closing, self._hurry = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run, name="ecamp-fast-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to talk, in a thread of its own."""
        self.thread.start()

    def hurry(self) -> None:
        """Publish now, not at the next turn."""
        self._hurry.set()

    def close(self, patience: float) -> None:
        """Publish once more and stop; a thread that hangs is left behind after ``patience`` seconds."""
        self._closing.set()
        self._hurry.set()
        self.thread.join(patience)

    def _run(self) -> None:
        store: dist.TCPStore | None = None
        while True:
            closing = self._closing.is_set()
            try:
                store = store or dist.TCPStore(*self.address, None, False, PATIENCE, wait_for_workers=False)
                self._talk(dist.PrefixStore(f"watchdog-{self._name}", store))
            except RuntimeError:  # of the connection: ``answered`` grows old, which the watchdog judges
                store = None
            if closing:
                return
            self._hurry.wait(self._interval)
            self._hurry.clear()

    def _talk(self, store: dist.Store) -> None:
        store.set(str(self._rank), self._speak().encode())
        others = [rank for rank in range(self._world) if rank != self._rank]
        self._known |= {rank for rank in others if rank not in self._known and store.check([str(rank)])}
        ranks = sorted(self._known)
        beats = store.multi_get([str(rank) for rank in ranks]) if ranks else []
        self.answered = time.monotonic()
        for rank, text in zip(ranks, beats, strict=True):
            beat = Beat.decode(text.decode())
            if rank not in self.heard or self.heard[rank][0].number != beat.number:
                self.heard[rank] = beat, self.answered
