"""Whether a run must end, and who is to blame: a pure function of what a rank has seen of all ranks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ecamp_fast.config.sections import WatchdogConfig
from ecamp_fast.errors import EnvironmentFault, StorageError
from ecamp_fast.run.safety.ending import Ending
from ecamp_fast.run.safety.heartbeat import Beat
from ecamp_fast.run.safety.member import Member

DEAD = 1.0  # seconds that a process must be gone: a rank that left in order is heard of by then
DEAD_AT_THE_END = 20.0  # after the last step ranks leave one by one, with little to say
LOADER_FIRST = 10.0  # seconds that the loader's own limit is ahead: then the run is saved before it ends


@dataclass(frozen=True, slots=True)
class Seen:
    """What a rank knows of a rank.

    beat    the last that was heard of it      silent    seconds since then
    state   ``Member.state``                   lost_for  seconds that it has been ``dead`` or ``stopped``
    """

    member: Member
    beat: Beat
    silent: float = 0.0
    state: str = "running"
    lost_for: float = 0.0

    @property
    def still(self) -> float:
        return self.beat.still + self.silent


def limit_of(beat: Beat, limits: WatchdogConfig) -> tuple[str, float]:
    """The key of the limit that holds where a rank is, and its seconds."""
    if not beat.warm or beat.phase == "start":
        return "start", limits.start
    if beat.phase == "data":
        return "data", limits.data + LOADER_FIRST
    name = "save" if beat.phase == "end" else beat.phase  # at the end the weights are written
    return name, getattr(limits, name)


def judge(me: int, ranks: Sequence[Seen], limits: WatchdogConfig, store: str, unheard: float) -> Ending | None:
    """Why the run must end now, or None.

    me       the rank that judges         ranks    all, itself too, that have not left in order
    store    address of the rendezvous    unheard  seconds since it last answered

    What began first is to blame: a dead process is named at once, a stopped one after its limit, and one that is merely
    behind when it has not moved for the limit of its phase. Ranks that wait for it are not looked at.
    """
    own = next(seen for seen in ranks if seen.member.rank == me)
    for seen in ranks:
        grace = DEAD_AT_THE_END if seen.beat.phase == "end" else DEAD
        if seen.state == "dead" and seen.lost_for >= grace:
            return _ending("died", seen, seen.lost_for, own=own)
    for seen in ranks:
        if seen.state == "stopped" and seen.lost_for >= limits.stopped:
            return _ending("stopped", seen, seen.lost_for, "stopped", own)
    if any(seen.state != "running" for seen in ranks):
        return None  # until it is sure: it has a better claim than those that wait, or are behind
    return _unheard(own, ranks, limits, store, unheard) or _behind(ranks, limits)


def _unheard(own: Seen, ranks: Sequence[Seen], limits: WatchdogConfig, store: str, unheard: float) -> Ending | None:
    """As long as this rank moves, the others do too: then silence is no reason to end."""
    limit = limits.silent if own.beat.warm else limits.start
    if own.still < limit:
        return None
    if unheard >= limit:
        first = next((seen.member.name for seen in ranks if seen.member.rank == 0), "rank 0")
        culprit = f"the store at {store}, of {first} or its launcher,"
        return Ending("silent", culprit, -1, own.beat, unheard, EnvironmentFault.exit_code, "silent")
    silent = max(ranks, key=lambda seen: seen.silent)
    while_answered = silent.silent - unheard  # what it said since then waits in the store, which may be what hangs
    return _ending("silent", silent, silent.silent, "silent", own) if while_answered >= limit else None


def _behind(ranks: Sequence[Seen], limits: WatchdogConfig) -> Ending | None:
    """Those at the least position, if none of them has moved for too long."""
    least = min(seen.beat.position for seen in ranks)
    last = [seen for seen in ranks if seen.beat.position == least]
    still = min(seen.still for seen in last)
    name, limit = limit_of(last[0].beat, limits)
    if still < limit:
        return None
    busy = [seen for seen in last if not seen.beat.waits]
    if busy and len(busy) < len(ranks):
        return _ending("stalled", busy[0], still, name)
    if len(last) < len(ranks) or len(ranks) == 1:
        return _ending("stalled", last[0], still, name)
    culprit = "no rank is behind the others: every one"
    return Ending("stalled", culprit, -1, last[0].beat, still, _code(last[0].beat), name)


def _ending(kind: str, seen: Seen, seconds: float, limit: str = "", own: Seen | None = None) -> Ending:
    """own: of the rank that judges, where the culprit may have gone on since it was last heard"""
    code = _code(seen.beat) if kind == "stalled" else EnvironmentFault.exit_code
    beat, further = seen.beat, own is not None and own.beat.position > seen.beat.position
    if own is not None and further:  # it cannot be beyond the collective in which this one waits for it
        beat = replace(beat, step=own.beat.step, part=own.beat.part, phase=own.beat.phase, where="")
    return Ending(kind, seen.member.name, seen.member.rank, beat, seconds, code, limit, reached=not further)


def _code(beat: Beat) -> int:
    """What waits for data, or to write them, waits for a disk or a store."""
    return (StorageError if beat.phase in ("data", "save") else EnvironmentFault).exit_code
