"""An iterator run ahead of its consumer, in a background thread."""

import atexit
import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

LOOK = 1.0  # seconds between two looks at whether the thread lives
PATIENCE = 5  # seconds to wait for the thread: it may hang in a request to a store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    """The last thing a thread sends: it is done, or it failed."""

    error: BaseException | None = None


def prefetch(source: Generator[T, None, None], depth: int, patience: float | None = None) -> Generator[T, None, None]:
    """The items of ``source``, up to ``depth`` of them made before they are asked for.

    ``source`` runs in its own thread from the first item on. What it raises is raised here, after the items before it.
    Closing or dropping this iterator, or the end of the interpreter, stops the thread and closes ``source``; a thread
    that does not answer within ``PATIENCE`` is left to end by itself.

    patience: seconds to wait for an item, from the second on; None: as long as it takes. Then, and where the thread has
    ended without a word, TimeoutError is raised.
    """
    channel: queue.Queue[T | _End] = queue.Queue(depth)
    stop = threading.Event()
    thread = threading.Thread(target=_pump, args=(source, channel, stop), name="ecamp-fast-loader", daemon=True)

    def close() -> None:
        stop.set()
        while not channel.empty():  # frees the thread if it waits for room; it looks at `stop` before it comes back
            channel.get_nowait()
        thread.join(PATIENCE)

    atexit.register(close)
    thread.start()
    try:
        waiting: float | None = None
        while not isinstance(item := _get(channel, thread, waiting), _End):
            waiting = patience
            yield item
        if item.error is not None:
            raise item.error
    finally:
        close()
        atexit.unregister(close)


def _get(channel: "queue.Queue[T | _End]", thread: threading.Thread, patience: float | None) -> T | _End:
    waited = 0.0
    while patience is None or waited < patience:
        alive = thread.is_alive()  # asked before: what it sent last is found then
        turn = LOOK if patience is None else min(LOOK, patience - waited)
        try:
            return channel.get(timeout=turn)
        except queue.Empty:
            waited += turn
        if not alive:
            raise TimeoutError("its thread has ended without a word")
    raise TimeoutError(f"it has delivered nothing for {patience:g} s")


def _pump(source: Generator[T, None, None], channel: "queue.Queue[T | _End]", stop: threading.Event) -> None:
    end = _End()
    try:
        for item in source:
            channel.put(item)
            if stop.is_set():
                break
    except BaseException as error:
        end = _End(error)
    finally:
        source.close()
        if not stop.is_set():
            channel.put(end)
