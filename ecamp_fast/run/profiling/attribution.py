"""Which component every instant of the watched steps belongs to.

On the host the innermost range tells it: a component's forward, or the node of the backward pass, which belongs to the
component that made it. On a GPU a kernel belongs to the component of the operation that launched it; of several that
run at once the first counts, copies and collectives only while nothing else runs, and an instant without any of them
waits. So the parts of a step sum to the step.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ecamp_fast.model.components import MARK, OTHER
from ecamp_fast.run.profiling.recorded import Event

STEP = "step: "  # before its number, in the name of the range around an optimizer step
BACKWARD = "autograd::engine::evaluate_function: "
DATA, OPTIMIZER, COMMUNICATION = "data wait", "optimizer", "communication"
GRADIENTS = "gradients"  # what is done with those of weights: summed, copied into ZeRO's buckets
HOST, IDLE = "host gaps", "GPU idle"
OUTSIDE_MODEL = (DATA, OPTIMIZER, COMMUNICATION, GRADIENTS, HOST, IDLE)
COLLECTIVES = ("c10d::", "gloo:", "nccl:", "mpi:")  # operations of the host
KERNEL, COPY, COLLECTIVE, WAIT = range(4)  # who counts where several run at once

Part = tuple[str, str]  # component; "forward", "backward", or "" where it is neither
Interval = tuple[int, int, Part, int]  # start, end, whose, one of the ranks above


@dataclass
class Attribution:
    """Nanoseconds of the watched steps.

    steps      of each step, by its number
    parts      by component and pass; their sum is that of the steps
    operators  by name of operation or kernel: its own time, and how often
    between    on the host, between operations: neither waiting for data nor within a collective
    collectives  of a GPU: how long they ran, hidden or not
    """

    steps: dict[int, int] = field(default_factory=dict)
    parts: dict[Part, int] = field(default_factory=lambda: defaultdict(int))
    operators: dict[str, tuple[int, int]] = field(default_factory=dict)
    between: int = 0
    collectives: int = 0


@dataclass(frozen=True, slots=True)
class _Piece:
    """An instant of a host thread: its innermost event, whose it is, and whether an operation runs."""

    start: int
    end: int
    event: Event
    part: Part
    operating: bool


def attribute(events: Sequence[Event]) -> Attribution:
    """The times of the steps whose ranges are among the events, which are sorted as ``recorded`` does.

    Of a step that was done again, since the run went back, the last time counts.

    Raises ValueError where there is no such range.
    """
    hosts: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        if event.device is None:
            hosts[event.thread].append(event)
    windows = _windows(event for event in events if event.device is None and event.name.startswith(STEP))
    if not windows:
        raise ValueError("no step was recorded")
    main = windows[0].thread
    owners = _owners(hosts[main])
    whose: dict[int, Part] = {}  # number of an operation -> whose it is
    pieces = {thread: list(_pieces(found, owners, whose)) for thread, found in hosts.items()}
    found = Attribution()
    on_device = [e for e in events if e.device is not None and not e.annotation]
    for window in windows:
        found.steps[_number(window)] = window.end - window.start
        inside = list(_clipped(pieces[main], window))
        if on_device:
            waits = [(p.start, p.end, p.part, WAIT) for p in inside if p.part[0] == DATA]
            busy = [(e.start, e.end, _part_on_device(e, whose), _rank(e)) for e in on_device]
            times = share_out([*busy, *waits], window.start, window.end, (IDLE, ""))
        else:
            times = share_out([(p.start, p.end, p.part, KERNEL) for p in inside], window.start, window.end, (HOST, ""))
        for part, time in times.items():
            found.parts[part] += time
        silent = (p for p in inside if not p.operating and p.part[0] not in (DATA, COMMUNICATION))
        found.between += sum(piece.end - piece.start for piece in silent)
    within = [(window.start, window.end) for window in windows]
    found.collectives = sum(e.end - e.start for e in on_device if _rank(e) == COLLECTIVE and _in(e, within))
    found.operators = _operators(on_device, pieces[main], within)
    return found


def _windows(ranges: Iterable[Event]) -> list[Event]:
    """Of ranges around steps those from which the run did not go back."""
    kept: list[Event] = []
    for one in ranges:
        kept = [former for former in kept if _number(former) < _number(one)] + [one]
    return kept


def _number(window: Event) -> int:
    return int(window.name.removeprefix(STEP))


def share_out(intervals: Iterable[Interval], start: int, end: int, rest: Part) -> dict[Part, int]:
    """Every instant from ``start`` to ``end`` to one interval: of those that run the lowest rank, then the first.

    rest: whose the instants are at which none runs
    """
    cut = sorted((max(a, start), min(b, end), part, rank) for a, b, part, rank in intervals if a < end and b > start)
    bounds = sorted({start, end, *(a for a, *_ in cut), *(b for _, b, *_ in cut)})
    running: list[tuple[int, int, int, Part]] = []
    times: dict[Part, int] = defaultdict(int)
    following = 0
    for at, until in pairwise(bounds):
        while following < len(cut) and cut[following][0] <= at:
            begin, stop, part, rank = cut[following]
            heapq.heappush(running, (rank, begin, stop, part))
            following += 1
        while running and running[0][2] <= at:
            heapq.heappop(running)
        times[running[0][3] if running else rest] += until - at
    return dict(times)


def _owners(events: Iterable[Event]) -> dict[int, str]:
    """Number of an autograd node -> the component in whose forward it was made; the last operation that names it did.

    events: of the thread that goes through the forward pass; others number their nodes for themselves
    """
    owners: dict[int, str] = {}
    open_ranges: list[Event] = []
    for event in events:
        while open_ranges and open_ranges[-1].end <= event.start:
            open_ranges.pop()
        if event.name.startswith((MARK, BACKWARD)):
            open_ranges.append(event)
        elif event.sequence >= 0 and open_ranges and open_ranges[-1].name.startswith(MARK):
            owners[event.sequence] = open_ranges[-1].name.removeprefix(MARK)
    return owners


def _pieces(events: Iterable[Event], owners: dict[int, str], whose: dict[int, Part]) -> Iterator[_Piece]:
    """The time of one host thread, cut where its innermost event changes; ``whose`` gets what each operation is of."""
    stack: list[tuple[Event, Part, bool]] = []
    at = 0

    def until(time: int) -> Iterator[_Piece]:
        nonlocal at
        while stack:
            event, part, operating = stack[-1]
            stop = min(time, event.end)
            if stop > at:
                yield _Piece(at, stop, event, part, operating)
                at = stop
            if event.end > time:
                return
            stack.pop()

    for event in events:
        yield from until(event.start)
        part, operating = _classified(event, owners, *(stack[-1][1:] if stack else ((HOST, ""), False)))
        if event.number:
            whose[event.number] = part
        at = max(at, event.start)
        stack.append((event, part, operating))
    yield from until(max((event.end for event, *_ in stack), default=0))


def _classified(event: Event, owners: dict[int, str], part: Part, operating: bool) -> tuple[Part, bool]:
    """Whose an event is, and whether it computes.  part, operating: of what encloses it"""
    name = event.name
    if name.startswith(STEP):
        return (HOST, ""), False
    if name.startswith(MARK):
        component = name.removeprefix(MARK)
        again = part[1] == "backward"  # a forward done once more for the backward
        return (component, "" if component in OUTSIDE_MODEL else "backward" if again else "forward"), False
    if name.startswith(BACKWARD):
        if "AccumulateGrad" in name:
            return (GRADIENTS, ""), False
        return (owners.get(event.sequence, OTHER), "backward"), False
    if name.startswith(COLLECTIVES):
        return (COMMUNICATION, ""), True
    return part, operating or not event.annotation


def _clipped(pieces: Iterable[_Piece], window: Event) -> Iterator[_Piece]:
    for piece in pieces:
        start, end = max(piece.start, window.start), min(piece.end, window.end)
        if start < end:
            yield _Piece(start, end, piece.event, piece.part, piece.operating)


def _rank(event: Event) -> int:
    if event.name.startswith(("nccl", "rccl")):
        return COLLECTIVE
    return COPY if event.name.startswith(("Memcpy", "Memset")) else KERNEL


def _part_on_device(event: Event, whose: dict[int, Part]) -> Part:
    if _rank(event) == COLLECTIVE:
        return (COMMUNICATION, "")
    part = whose.get(event.launched_by, (OTHER, ""))
    return (OTHER, "") if part[0] in (HOST, DATA) else part  # it computes, so nothing waits


def _in(event: Event, windows: Iterable[tuple[int, int]]) -> bool:
    return any(start <= event.start < end for start, end in windows)


def _operators(
    on_device: Sequence[Event], pieces: Iterable[_Piece], windows: Sequence[tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Own times and numbers of the kernels; where there is no GPU of the operations in ``pieces``."""
    times: dict[str, int] = defaultdict(int)
    counts: dict[str, int] = defaultdict(int)
    if on_device:
        for event in on_device:
            if _in(event, windows):
                times[event.name] += event.end - event.start
                counts[event.name] += 1
        return {name: (times[name], counts[name]) for name in times}
    seen: set[int] = set()
    for piece in pieces:
        if piece.operating and _in(piece.event, windows):
            times[piece.event.name] += piece.end - piece.start
            counts[piece.event.name] += id(piece.event) not in seen
            seen.add(id(piece.event))
    return {name: (times[name], counts[name]) for name in times}
