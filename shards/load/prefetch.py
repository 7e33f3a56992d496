"""An iterator run ahead of its consumer, in a background thread."""

import atexit
import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

PATIENCE = 5  # seconds to wait for the thread: it may hang in a request to a store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _End:
    """The last thing a thread sends: it is done, or it failed."""

    error: BaseException | None = None


def prefetch(source: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    """The items of ``source``, up to ``depth`` of them made before they are asked for.

    ``source`` runs in its own thread from the first item on. What it raises is raised here, after the items before it.
    Closing or dropping this iterator, or the end of the interpreter, stops the thread and closes ``source``; a thread
    that does not answer within ``PATIENCE`` is left to end by itself.
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
        while not isinstance(item := channel.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        close()
        atexit.unregister(close)


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
