"""What a profiler recorded, as events of our own, and as a trace for chrome://tracing or Perfetto.

Of an event a name, times, threads and its place in the autograd graph are taken; whatever else a profiler knows (values
of arguments, stacks, file names, command lines) never comes into it. Shapes are not asked for: on a CPU they made small
steps a quarter longer, where recording alone takes a tenth.
"""

import gzip
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PATH = re.compile(r"(?<![\w)>])(?:[A-Za-z]:)?[\\/][^\s'\"]*[\\/][^\s'\"]*")  # with two separators or more
NO_NAME = "(a path)"
_LONGEST = 400  # characters of a kernel's name: templates say more than anybody reads


@dataclass(frozen=True, slots=True)
class Event:
    """One span of time.  Times in nanoseconds.

    thread    of the host; 0 on a device
    device    number of the GPU; None on the host     stream  of the GPU
    number    of an operation, by which others name it; 0: none
    launched_by  of an event on a device: the operation's number; 0: not known
    sequence  of the autograd node that it makes or runs; -1: none
    """

    name: str
    start: int
    end: int
    thread: int = 0
    device: int | None = None
    stream: int = 0
    number: int = 0
    launched_by: int = 0
    sequence: int = -1
    annotation: bool = False


def recorded(profiler: Any) -> list[Event]:
    """The events of a ``torch.profiler.profile`` that was stopped, by start; what encloses another comes before it."""
    from torch.autograd import DeviceType

    found = []
    for event in profiler.profiler.kineto_results.events():
        on_host = event.device_type() == DeviceType.CPU
        if event.is_python_function() or (on_host and event.start_thread_id() != event.end_thread_id()):
            continue  # names files; is no span of one thread
        linked = event.linked_correlation_id()
        found.append(
            Event(
                name=clean(event.name()),
                start=event.start_ns(),
                end=event.start_ns() + event.duration_ns(),
                thread=event.start_thread_id() if on_host else 0,
                device=None if on_host else event.device_index(),
                stream=0 if on_host else event.device_resource_id(),
                number=event.correlation_id() if on_host and not linked else 0,
                launched_by=linked,
                sequence=event.sequence_nr() if on_host else -1,
                annotation=event.is_user_annotation(),
            )
        )
    return sorted(found, key=lambda event: (event.start, -event.end))


def clean(name: str) -> str:
    """The name of an operation, without what looks like a path."""
    return PATH.sub(NO_NAME, name)[:_LONGEST]


def trace(events: Iterable[Event]) -> bytes:
    """A Chrome trace, compressed by gzip; the same events give the same bytes."""
    events = list(events)
    begin = min((event.start for event in events), default=0)
    tracks = {(event.device, event.thread or event.stream) for event in events}
    order = {track: row for row, track in enumerate(sorted(tracks, key=lambda t: (-1 if t[0] is None else t[0], t[1])))}
    lines = [_title(device, row) for (device, _), row in order.items()]
    host = {event.number: event for event in events if event.number}
    for event in events:
        row = order[event.device, event.thread or event.stream]
        arguments = {"sequence": event.sequence} if event.sequence >= 0 else {}
        lines.append(_line(event, row, begin) | {"ph": "X", "dur": (event.end - event.start) / 1e3, "args": arguments})
        if event.device is not None and (operation := host.get(event.launched_by)):
            arrow = {"id": len(lines), "cat": "launch", "name": "launch"}
            lines.append(_line(operation, order[None, operation.thread], begin) | {"ph": "s"} | arrow)
            lines.append(_line(event, row, begin) | {"ph": "f", "bp": "e"} | arrow)
    text = json.dumps({"displayTimeUnit": "ms", "traceEvents": lines}, separators=(",", ":"))
    return gzip.compress(text.encode(), compresslevel=6, mtime=0)


def _line(event: Event, row: int, begin: int) -> dict[str, Any]:
    pid = 0 if event.device is None else 1 + event.device
    return {"name": event.name, "cat": _kind(event), "pid": pid, "tid": row, "ts": (event.start - begin) / 1e3}


def _kind(event: Event) -> str:
    if event.annotation:
        return "range"
    return "operation" if event.device is None else "device"


def _title(device: int | None, row: int) -> dict[str, Any]:
    pid = 0 if device is None else 1 + device
    name = "host" if device is None else f"GPU {device}"
    return {"ph": "M", "name": "process_name", "pid": pid, "tid": row, "args": {"name": name}}
