"""All reports to the journal: each asked for once, again where that brought no answer, at most twice more where the
answer was rejected, and then written by the rules, flagged.

A run may be killed at any moment: what was counted is on the disk, and the same run goes on with the rest. SIGTERM and
SIGINT let the requests under way come to their end, for their tokens are spent.
"""

import asyncio
import contextlib
import hashlib
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ecamp_fast.distill.distiller import Distiller, Verdict
from ecamp_fast.distill.endpoint import Answer, Declined, Unanswered
from ecamp_fast.distill.forecast import CHARACTERS_PER_TOKEN, characters_in
from ecamp_fast.distill.journal import AnswerJournal, Finished
from ecamp_fast.distill.pacing import Governor, Pace
from ecamp_fast.distill.reports import guarded
from ecamp_fast.errors import EndpointError

RE_ASKS = 2
_AGAIN = "Your last answer was not accepted ({fault}). Answer once more, exactly in the format that was asked for."
_PROBE = [{"role": "user", "content": "Answer with the one word yes."}]
_PROBED_AFTER = 3  # failures in a row of one report while no other was answered
_GIVEN_UP = 20  # reports in a row; then it is no matter of single ones
_GRACE = 25.0  # seconds for requests under way when a run is asked to stop; SLURM and Kubernetes kill after 30
_RULES_BATCH = 256
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Client(Protocol):
    """What a run asks: see ``endpoint.Endpoint``."""

    async def ask(self, messages: list[dict[str, str]], schema: dict[str, Any] | None) -> Answer:
        """Raises Unanswered, Declined, EcampError."""


Ticks = Callable[[int, int], None]  # receives how many answers are on the disk, of how many


@dataclass
class RunOutcome:
    """What a run did.

    stopped   whether it was asked to stop before the end
    finished  answers of this run
    requests  that were answered
    failures  requests that were not, by kind
    plain     whether the server has no response_format, and was asked for plain text
    seconds   it took
    """

    stopped: bool = False
    finished: int = 0
    requests: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    plain: bool = False
    seconds: float = 0.0


def identity_of(
    model: str, parameters: Mapping[str, Any], distiller: Distiller, plain: Distiller | None = None
) -> dict[str, Any]:
    """All that answers depend on beside the report, as the journal is named by it."""
    return {
        "model": model,
        "parameters": dict(parameters),
        "distiller": dict(distiller.identity),
        "plain": dict(plain.identity) if plain else {},
        "re_ask": hashlib.sha256(_AGAIN.encode()).hexdigest()[:16],
    }


def run_rules(
    texts: Mapping[str, str], distiller: Distiller, journal: AnswerJournal, tick: Ticks | None = None
) -> RunOutcome:
    """Every report by the rules of ``distiller``; no endpoint is asked.  texts: report by digest   tick: see there"""
    began, stopping = time.monotonic(), threading.Event()
    tick = tick or (lambda done, total: None)
    pending = [digest for digest in texts if digest not in journal.content.finished]
    outcome = RunOutcome()
    with _plain_signals(stopping.set):
        for start in range(0, len(pending), _RULES_BATCH):
            if stopping.is_set():
                outcome.stopped = True
                break
            batch = pending[start : start + _RULES_BATCH]
            journal.add([_by_rules(digest, texts[digest], distiller) for digest in batch])
            outcome.finished += len(batch)
            tick(len(texts) - len(pending) + outcome.finished, len(texts))
    outcome.seconds = time.monotonic() - began
    return outcome


def _by_rules(digest: str, report: str, distiller: Distiller) -> Finished:
    """The rules' text; a fault that the judge finds in it is noted, since nobody else can be asked."""
    text = guarded(distiller.fallback, report)
    fault = guarded(distiller.judge, report, text, "stop").fault
    return Finished(digest, text, "rules", {fault: 1} if fault else {})


def run_model(
    texts: Mapping[str, str],
    distiller: Distiller,
    journal: AnswerJournal,
    client: AbstractAsyncContextManager[Client],
    pace: Pace,
    *,
    plain: Distiller | None = None,
    tick: Ticks = lambda done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> RunOutcome:
    """Ask ``client`` for every report that ``journal`` does not hold.

    texts  report by digest
    plain  what asks where the server does not take the schemas of ``distiller``; None: it is not asked without
    tick   called whenever answers have come to the disk
    say    told what a person should know

    Raises EndpointError where the server refuses for good or does not answer for ``pace.patience`` seconds,
    StorageError where the disk refuses, DataError where the distiller fails. What was finished before is on the disk.
    """
    return asyncio.run(_ModelRun(texts, distiller, journal, pace, plain, tick, say).run(client))


class _Way(NamedTuple):
    """How a report is asked for."""

    distiller: Distiller
    messages: list[dict[str, str]]
    schema: dict[str, Any] | None


class _Stopped(Exception):
    """A run was asked to stop while a report was waiting."""


@dataclass
class _Spent:
    """On one report."""

    tokens_in: int = 0
    tokens_out: int = 0
    characters: int = 0
    began: float = field(default_factory=time.monotonic)
    faults: Counter[str] = field(default_factory=Counter)
    ways: dict[bool, _Way] = field(default_factory=dict)  # of the first request, by whether it is without a schema

    def add(self, answer: Answer, characters: int) -> None:
        self.characters += characters
        self.tokens_in += _counted(answer.tokens_in, characters)
        self.tokens_out += _counted(answer.tokens_out, len(answer.text))

    def finished(self, report: str, text: str, how: str) -> Finished:
        seconds = round(time.monotonic() - self.began, 3) if self.characters else 0.0
        spent = (self.tokens_in, self.tokens_out, self.characters, seconds)
        return Finished(report, text, how, dict(self.faults), *spent)


class _ModelRun:
    """One run; see ``run_model``."""

    def __init__(
        self,
        texts: Mapping[str, str],
        distiller: Distiller,
        journal: AnswerJournal,
        pace: Pace,
        plain: Distiller | None,
        tick: Ticks,
        say: Callable[[str], None],
    ) -> None:
        self._texts, self._journal, self._pace = texts, journal, pace
        self._tick, self._say, self._plain = tick, say, plain
        finished = journal.content.finished
        self._pending = deque(digest for digest in texts if digest not in finished)
        self._done_before = len(texts) - len(self._pending)
        self._decided = plain is not None and any(e.get("event") == "plain" for e in journal.content.events)
        self._distiller = plain if self._decided and plain else distiller
        self._proven = any(entry.how in ("model", "re-asked") for entry in finished.values())
        self._given_up = 0  # reports in a row, without any answer between
        self._governor = Governor(pace)
        self._queue: asyncio.Queue[Finished | dict[str, Any] | None] = asyncio.Queue()
        self._stop, self._leave_at = asyncio.Event(), 0.0
        self._client: Client
        self._running: set[asyncio.Task[None]] = set()
        self._outcome = RunOutcome(plain=self._decided)

    async def run(self, client: AbstractAsyncContextManager[Client]) -> RunOutcome:
        began = time.monotonic()
        with _loop_signals(self._asked_to_stop):
            async with client as self._client:
                commits = asyncio.create_task(self._commit())
                try:
                    await self._feed(commits)
                finally:
                    for task in self._running:
                        task.cancel()
                    await asyncio.gather(*self._running, return_exceptions=True)
                    self._queue.put_nowait(None)
                    await commits
        left = len(self._texts) - self._done_before - self._outcome.finished
        self._outcome.stopped = left > 0
        self._outcome.requests, self._outcome.failures = self._governor.answers, dict(self._governor.failures)
        self._outcome.seconds = time.monotonic() - began
        return self._outcome

    async def _feed(self, commits: asyncio.Task[None]) -> None:
        """Start reports as the governor has room, until all are finished or the run is to stop."""
        stopping = asyncio.create_task(self._stop.wait())
        try:
            while (self._pending and not self._stop.is_set()) or self._running:
                while self._pending and not self._stop.is_set() and len(self._running) < self._governor.slots:
                    self._running.add(asyncio.create_task(self._report(self._pending.popleft())))
                waits: set[asyncio.Task[Any]] = {*self._running, commits}
                waits |= set() if self._stop.is_set() else {stopping}
                limit = max(0.0, self._leave_at - time.monotonic()) if self._stop.is_set() else None
                ended, _ = await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
                if commits in ended:
                    await commits  # it ends early only where the disk refuses
                if not ended and self._stop.is_set():
                    return
                for task in ended & self._running:
                    self._running.discard(task)
                    with contextlib.suppress(_Stopped, asyncio.CancelledError):
                        task.result()
        finally:
            stopping.cancel()

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():  # the second time: at once
            for task in self._running:
                task.cancel()
        elif self._running:
            self._say(f"stopping: {len(self._running)} requests are under way, for at most {_GRACE:.0f} s")
        self._leave_at = time.monotonic() + _GRACE
        self._stop.set()

    async def _commit(self) -> None:
        """Bring finished answers to the disk, all that wait with one sync, and only then count them."""
        while True:
            batch = [await self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            for event in batch:
                if isinstance(event, dict):
                    await asyncio.to_thread(self._journal.note, event)
            entries = [entry for entry in batch if isinstance(entry, Finished)]
            if entries:
                await asyncio.to_thread(self._journal.add, entries)
                self._outcome.finished += len(entries)
                self._tick(self._done_before + self._outcome.finished, len(self._texts))
            if None in batch:
                return

    # One report

    async def _report(self, digest: str) -> None:
        """Ask for one report until it is finished."""
        text, spent, fault = self._texts[digest], _Spent(), ""
        if not self._way(digest, "", False, spent).messages:
            self._queue.put_nowait(spent.finished(digest, "", "nothing"))
            return
        try:
            for again in range(1 + RE_ASKS):
                answer, distiller = await self._answer(digest, fault, spent)
                verdict: Verdict = guarded(distiller.judge, text, answer.text, answer.finish)
                if not verdict.fault:
                    how = "re-asked" if again else "model"
                    self._queue.put_nowait(spent.finished(digest, verdict.text, how))
                    return
                fault = verdict.fault
                spent.faults[fault] += 1
        except Declined as declined:
            spent.faults[declined.kind] += 1
        self._queue.put_nowait(spent.finished(digest, guarded(self._distiller.fallback, text), "rules"))

    async def _answer(self, digest: str, fault: str, spent: _Spent) -> tuple[Answer, Distiller]:
        """An answer, and what asked for it.  fault: of the answer before; '' for the first

        Raises Declined where there is none for this report, _Stopped.
        """
        failures, counted, without_schema = 0, 0, False
        while True:
            await self._wait(self._governor.wait)
            way = self._way(digest, fault, without_schema, spent)
            answers, sent = self._governor.answers, time.monotonic()
            try:
                answer = await self._client.ask(way.messages, way.schema)
            except Unanswered as failure:
                self._governor.failed(failure.kind, sent, failure.pause)
                failures += 1
                if self._governor.answers > answers:  # the server is well: it is about this report
                    counted += 1
                elif failures % _PROBED_AFTER == 0 and await self._is_well():
                    counted += _PROBED_AFTER
                if counted >= self._pace.tries:
                    self._give_up("requests for different reports are not answered", "is --timeout long enough?")
                    raise Declined("unanswered") from None
                await self._wait(self._governor.delay(failures))
                continue
            except Declined as declined:
                if declined.kind == "bad-request":
                    without_schema = self._without_schema(way, without_schema)
                    continue
                raise
            self._governor.answered()
            self._given_up = 0
            spent.add(answer, characters_in(way.messages))
            self._learn(way)
            return answer, way.distiller

    def _way(self, digest: str, fault: str, without_schema: bool, spent: _Spent) -> _Way:
        """What is sent, and who judges the answer."""
        distiller = self._plain if without_schema and self._plain else self._distiller
        way = spent.ways.get(distiller is self._plain)
        if way is None:
            text = self._texts[digest]
            way = _Way(distiller, guarded(distiller.messages, text), guarded(distiller.schema, text))
            spent.ways[distiller is self._plain] = way
        if fault:
            return way._replace(messages=[*way.messages, {"role": "user", "content": _AGAIN.format(fault=fault)}])
        return way

    def _without_schema(self, way: _Way, tried: bool) -> bool:
        """A request was called bad: whether to ask again without a schema.

        Raises Declined where it is about the report, EndpointError where it is about all of them.
        """
        if way.schema is not None and self._plain is not None and not self._proven and not tried:
            return True
        what, hint = "the server calls our requests bad (status 400 or 422)", "does it take chat completions?"
        if self._governor.answers == 0:
            raise EndpointError(what, hint)
        self._give_up(what, hint)
        raise Declined("bad-request")

    def _give_up(self, what: str, hint: str) -> None:
        """Count a report that the rules write; raises EndpointError where it is no matter of single reports."""
        self._given_up += 1
        if self._given_up >= _GIVEN_UP:
            raise EndpointError(f"{what}: {self._given_up} in a row", hint)

    def _learn(self, way: _Way) -> None:
        """What an answer says of the server: whether it takes schemas, which is decided once."""
        if way.schema is not None:
            self._proven = True
        elif way.distiller is self._plain and not self._decided and not self._proven:
            self._decided = self._outcome.plain = True
            self._distiller = way.distiller
            self._queue.put_nowait({"event": "plain"})
            self._say("the server does not take a JSON schema: it is asked for plain text")

    async def _is_well(self) -> bool:
        """Whether the server answers what holds no report."""
        sent = time.monotonic()
        try:
            await self._client.ask(_PROBE, None)
        except Unanswered as failure:
            self._governor.failed(failure.kind, sent, failure.pause)
            return False
        except Declined:
            return False
        self._governor.answered()
        return True

    async def _wait(self, seconds: float) -> None:
        """Raises _Stopped where the run is to stop meanwhile."""
        if seconds <= 0:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)
        if self._stop.is_set():
            raise _Stopped


def _counted(tokens: int | None, characters: int) -> int:
    return round(characters / CHARACTERS_PER_TOKEN) if tokens is None else tokens


@contextlib.contextmanager
def _loop_signals(asked: Callable[[], None]) -> Iterator[None]:
    """Within, the running loop calls ``asked`` for each of ``_SIGNALS``; in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, asked)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


@contextlib.contextmanager
def _plain_signals(asked: Callable[[], None]) -> Iterator[None]:
    """As ``_loop_signals``, where no loop runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: asked()) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
