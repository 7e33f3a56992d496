"""All reports to the journal against a server that does what it is told: what is asked, how often, and what is kept."""

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ecamp_fast.distill.endpoint import Endpoint, judge_address
from ecamp_fast.distill.forecast import Prices, forecast
from ecamp_fast.distill.journal import AnswerJournal, Finished
from ecamp_fast.distill.pacing import Pace
from ecamp_fast.distill.runner import RunOutcome, identity_of, run_model, run_rules
from ecamp_fast.errors import DataError, EndpointError, PolicyError, StorageError

Run = Callable[..., tuple[RunOutcome, dict[str, Finished]]]


@pytest.fixture
def run(server, driver: ModuleType, tmp_path: Path) -> Run:
    """run(texts): the outcome of a run, and all that its journal holds then."""

    def start(
        texts: dict[str, str],
        distiller: Any = None,
        plain: Any = None,
        pace: Pace = driver.QUICK,
        timeout: float = 1.0,
        out: Path = tmp_path / "out",
        **told: Any,
    ) -> tuple[RunOutcome, dict[str, Finished]]:
        distiller = distiller or driver.OneAnswer()
        endpoint = Endpoint(judge_address(server.url, None, {}), "m", 64, timeout)
        with AnswerJournal(out, identity_of("m", {}, distiller, plain)) as journal:
            outcome = run_model(texts, distiller, journal, endpoint, pace, plain=plain, **told)
            return outcome, dict(journal.content.finished)

    return start


def by_report(script: Callable[[str, int], str]) -> Callable[[int, dict], str]:
    """A script by the report's first word and how often it was asked for."""
    asked: Counter[str] = Counter()

    def act(number: int, body: dict) -> str:
        word = body["messages"][0]["content"].split()[0]
        asked[word] += 1
        return script(word, asked[word])

    return act


def test_every_report_is_asked_for_once_and_a_second_run_asks_for_none(run: Run, server, driver) -> None:
    texts = driver.texts(40)
    ticks: list[tuple[int, int]] = []
    outcome, finished = run(texts, tick=lambda *at: ticks.append(at))
    assert not outcome.stopped and outcome.finished == outcome.requests == 40 == len(server.requests)
    assert {d: e.text for d, e in finished.items()} == {d: driver.right(t) for d, t in texts.items()}
    assert {e.how for e in finished.values()} == {"model"} and ticks[-1] == (40, 40)
    assert sum(e.tokens_in + e.tokens_out for e in finished.values()) == server.spent == server.ideal
    assert sum(e.characters for e in finished.values()) == sum(map(len, texts.values()))
    outcome, again = run(texts)
    assert len(server.requests) == 40 and outcome.finished == 0 and again == finished
    outcome, _ = run(driver.texts(45))
    assert len(server.requests) == 45 and outcome.finished == 5


def test_what_mentions_nothing_is_not_sent(run: Run, server) -> None:
    _, finished = run({"a" * 64: "no entity in it"})
    assert server.requests == [] and finished["a" * 64] == Finished("a" * 64, "", "nothing")


@pytest.mark.fault("L3.two-re-asks", "L3.flagged")
def test_an_answer_that_is_rejected_is_asked_for_twice_more_and_then_written_by_the_rules(run, server, driver) -> None:
    garbage = {"zqreport0": 0, "zqreport1": 1, "zqreport2": 2, "zqreport3": 9}
    kinds = ("text:", "length:There is", "text:Sure! There is")
    server.script = by_report(lambda word, nth: kinds[nth - 1] if nth <= garbage[word] else "ok")
    texts = driver.texts(4)
    _, finished = run(texts)
    entries = [finished[digest] for digest in texts]
    assert [e.how for e in entries] == ["model", "re-asked", "re-asked", "rules"]
    assert [dict(e.faults) for e in entries] == [
        {},
        {"empty": 1},
        {"empty": 1, "truncated": 1},
        {"empty": 1, "truncated": 1, "prose": 1},
    ]
    assert entries[3].text == "There is a fallback." and len(server.requests) == 1 + 2 + 3 + 3
    assert sum(e.tokens_in + e.tokens_out for e in entries) == server.spent == server.ideal
    for body in server.requests:  # a re-ask names the class, repeats neither answer nor report
        assert len(body["messages"]) <= 2 and body["temperature"] == 0
    told = [body["messages"][1]["content"] for body in server.requests if len(body["messages"]) == 2]
    assert len(told) == 5 and all("zqreport" not in text and "There is" not in text for text in told)


@pytest.mark.fault("L2.too-long")
def test_what_is_too_long_is_written_by_the_rules(run: Run, server, driver) -> None:
    server.script = by_report(lambda word, nth: "too-long" if word == "zqreport1" else "ok")
    texts = driver.texts(5)
    _, finished = run(texts)
    entries = [finished[digest] for digest in texts]
    assert [e.how for e in entries] == ["model", "rules", "model", "model", "model"]
    assert entries[1].faults == {"too-long": 1} and len(server.requests) == 5


@pytest.mark.fault("L2.401")
@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_a_server_that_does_not_let_us_in_ends_it_at_once(status: str, run: Run, server, driver) -> None:
    server.script = lambda number, body: f"status:{status}"
    with pytest.raises(EndpointError, match=status) as caught:
        run(driver.texts(50))
    assert caught.value.exit_code == 7 and len(server.requests) <= 4


@pytest.mark.fault("L2.401")
def test_what_was_answered_before_is_kept(run: Run, server, driver, tmp_path: Path) -> None:
    server.script = lambda number, body: "ok" if number < 20 else "status:401"
    with pytest.raises(EndpointError):
        run(driver.texts(50))
    server.script = lambda number, body: "ok"
    outcome, finished = run(driver.texts(50))
    assert len(finished) == 50 and outcome.finished == 30


@pytest.mark.fault("L7.redirect")
def test_a_redirect_to_a_public_address_ends_it_with_8(run: Run, server, driver) -> None:
    server.script = lambda number, body: "redirect:https://203.0.113.7/v1" if number == 5 else "ok"
    with pytest.raises(PolicyError) as caught:
        run(driver.texts(50))
    assert caught.value.exit_code == 8


@pytest.mark.fault("L2.retry-after", "L2.429")
def test_a_busy_server_is_left_alone_for_as_long_as_it_says(run: Run, server, driver) -> None:
    server.script = lambda number, body: "status:429:0.7" if number == 8 else "ok"
    outcome, finished = run(driver.texts(40), pace=Pace(concurrency=1, first=1, pause=0.01))
    waits = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    assert max(waits) == waits[8] and 0.69 <= waits[8] < 3 and len(finished) == 40
    assert outcome.failures == {"busy": 1}


def test_the_number_of_requests_follows_the_server(run: Run, server, driver) -> None:
    server.latency = 0.02
    run(driver.texts(80), pace=Pace(concurrency=12, first=2))
    assert 8 <= server.busiest <= 12
    server.busiest = 0
    server.script = lambda number, body: "status:503" if server.busy > 3 else "ok"
    outcome, finished = run(driver.texts(200), pace=Pace(concurrency=12, first=2, pause=0.01, longest_pause=0.05))
    assert len(finished) == 200 and {e.how for e in finished.values()} == {"model"}
    assert 0 < outcome.failures["unavailable"] < 60


@pytest.mark.fault("L1.exit", "L1.refused")
def test_a_server_that_is_gone_is_waited_for_and_then_it_ends_with_7(run: Run, server, driver) -> None:
    server.script = lambda number, body: "ok" if number < 10 else "close"
    began = time.monotonic()
    with pytest.raises(EndpointError, match="no answer for"):
        run(driver.texts(30), pace=Pace(pause=0.02, longest_pause=0.1, patience=0.5))
    assert 0.4 < time.monotonic() - began < 10
    server.script = lambda number, body: "ok"
    _, finished = run(driver.texts(30))
    assert len(finished) == 30 and {e.how for e in finished.values()} == {"model"}


@pytest.mark.fault("L1.one-report")
@pytest.mark.parametrize("concurrency", [1, 8])
def test_one_report_that_breaks_the_server_does_not_hold_up_the_others(concurrency: int, run, server, driver) -> None:
    """Also where no other report is left that would show that the server is well."""
    server.script = by_report(lambda word, nth: "status:500" if word in ("zqreport2", "zqreport9") else "ok")
    texts = driver.texts(10)
    pace = Pace(concurrency=concurrency, first=concurrency, pause=0.005, longest_pause=0.01, tries=6)
    _, finished = run(texts, pace=pace)
    found = {texts[d].split()[0]: e for d, e in finished.items()}
    assert {word for word, e in found.items() if e.how == "rules"} == {"zqreport2", "zqreport9"}
    assert found["zqreport2"].faults == {"unanswered": 1} and len(found) == 10


@pytest.mark.fault("L1.one-report")
def test_a_server_that_answers_no_report_at_all_is_not_replaced_by_the_rules(run: Run, server, driver) -> None:
    server.script = lambda number, body: "status:500" if "zqreport" in body["messages"][0]["content"] else "ok"
    with pytest.raises(EndpointError, match="in a row"):
        run(driver.texts(60), pace=Pace(pause=0.001, longest_pause=0.002, tries=3))


# Schemas


@pytest.mark.fault("L2.no-schema")
def test_a_server_without_schemas_is_asked_for_plain_text_which_is_decided_once(run: Run, server, driver) -> None:
    server.script = lambda number, body: "status:400" if "response_format" in body else "ok"
    ways = {"distiller": driver.OneAnswer(structured=True), "plain": driver.OneAnswer()}
    said: list[str] = []
    outcome, finished = run(driver.texts(30), **ways, say=said.append)
    refused = sum("response_format" in body for body in server.requests)
    assert outcome.plain and len(finished) == 30 and 1 <= refused <= 8 and len(server.requests) == 30 + refused
    assert len(said) == 1 and "plain text" in said[0]
    outcome, finished = run(driver.texts(40), **ways)
    assert outcome.plain and len(server.requests) == 40 + refused  # not tried again
    assert {e.how for e in finished.values()} == {"model"}


def test_a_server_with_schemas_is_asked_with_them(run: Run, server, driver) -> None:
    server.script = lambda number, body: "ok" if number < 20 or "response_format" not in body else "status:400"
    ways = {"distiller": driver.OneAnswer(structured=True), "plain": driver.OneAnswer()}
    outcome, finished = run(driver.texts(24), **ways)
    assert not outcome.plain and all("response_format" in body for body in server.requests)
    assert Counter(e.how for e in finished.values()) == {"model": 20, "rules": 4}
    assert sum(e.faults.get("bad-request", 0) for e in finished.values()) == 4


@pytest.mark.fault("L2.4xx")
def test_a_server_that_calls_everything_bad_ends_it(run: Run, server, driver) -> None:
    server.script = lambda number, body: "status:400"
    ways = {"distiller": driver.OneAnswer(structured=True), "plain": driver.OneAnswer()}
    with pytest.raises(EndpointError, match="bad"):
        run(driver.texts(30), **ways)
    assert len(server.requests) < 20
    server.script = lambda number, body: "ok" if number < 50 else "status:422"
    with pytest.raises(EndpointError, match="in a row"):
        run(driver.texts(200))


# Faults of our own


@pytest.mark.fault("P1.failures")
def test_a_fault_of_the_distiller_repeats_no_word_of_the_report(run: Run, server, driver) -> None:
    class Broken(driver.OneAnswer):
        def judge(self, report: str, answer: str, finish: str) -> Any:
            raise ValueError(report)

    with pytest.raises(DataError, match="ValueError") as caught:
        run(driver.texts(3), distiller=Broken())
    assert "zqreport" not in str(caught.value) and caught.value.__suppress_context__


def test_a_disk_that_is_full_ends_it_with_5(run: Run, server, driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECAMP_FAULT", "write:file=answers-*:from=4:ENOSPC")
    with pytest.raises(StorageError):
        run(driver.texts(300))
    assert len(server.requests) < 300
    monkeypatch.delenv("ECAMP_FAULT")
    _, finished = run(driver.texts(300))
    assert len(finished) == 300


def test_nothing_is_counted_before_it_is_on_the_disk(run: Run, server, driver, tmp_path: Path) -> None:
    def tick(done: int, total: int) -> None:
        (path,) = (tmp_path / "out").glob("answers-*")
        assert path.read_bytes().count(b"\n") - 1 >= done

    run(driver.texts(50), tick=tick)


def test_the_rules_ask_nobody(driver, tmp_path: Path) -> None:
    distiller, texts = driver.OneAnswer(), driver.texts(600)
    with AnswerJournal(tmp_path / "out", identity_of("rules", {}, distiller)) as journal:
        outcome = run_rules(texts, distiller, journal)
        assert outcome.finished == 600 and not outcome.stopped
        assert {(e.how, e.text) for e in journal.content.finished.values()} == {("rules", "There is a fallback.")}
        assert run_rules(texts, distiller, journal).finished == 0


@pytest.mark.fault("L5.stopped")
def test_the_rules_stop_when_they_are_asked_to_and_go_on(driver, tmp_path: Path) -> None:
    class Interrupted(driver.OneAnswer):
        left = 300

        def fallback(self, report: str) -> str:
            self.left -= 1
            if not self.left:
                signal.raise_signal(signal.SIGTERM)
            return "x"

    before, distiller, texts = signal.getsignal(signal.SIGTERM), Interrupted(), driver.texts(1000)
    with AnswerJournal(tmp_path / "out", {}) as journal:
        outcome = run_rules(texts, distiller, journal)
        assert outcome.stopped and 300 <= outcome.finished == len(journal.content.finished) < 1000
        assert signal.getsignal(signal.SIGTERM) == before
        again = run_rules(texts, distiller, journal)
        assert not again.stopped and again.finished == 1000 - outcome.finished


# Forecast


def test_a_forecast_by_characters_and_by_what_was_measured(driver) -> None:
    distiller, texts = driver.OneAnswer(), [driver.report(number) for number in range(1000)]
    characters = sum(map(len, texts))
    found = forecast(texts, distiller, [], 10, Prices(2.0, 8.0))
    assert (found.reports, found.asked, found.seconds, found.measured) == (1000, 1000, None, False)
    assert found.tokens_in == pytest.approx(characters / 4 + 4000, rel=0.01)
    assert found.tokens_out == pytest.approx(1000 * 20 / 4, rel=0.01)
    assert found.cost == pytest.approx((2 * found.tokens_in + 8 * found.tokens_out) / 1e6)
    # one of two answers was rejected once: three requests for two reports
    earlier = [
        Finished("a" * 64, "x", "model", {}, 200, 10, 600, 2.0),
        Finished("b" * 64, "x", "re-asked", {"prose": 1}, 400, 20, 1200, 4.0),
        Finished("c" * 64, "", "nothing"),
    ]
    found = forecast(texts, distiller, earlier, 10, Prices())
    assert found.tokens_in == pytest.approx(characters / 3 * 1.5, rel=0.01)
    assert (found.tokens_out, found.seconds, found.cost, found.measured) == (15000, 300.0, None, True)
    assert forecast([], distiller, earlier, 10, Prices()).tokens_in == 0
    mixed = [text if number % 2 else "nothing in it" for number, text in enumerate(texts)]
    assert forecast(mixed, distiller, [], 10, Prices()).asked == pytest.approx(500, abs=20)


def test_a_forecast_comes_true(run: Run, server, driver) -> None:
    texts = driver.texts(200)
    some = dict(list(texts.items())[:50])
    server.script = by_report(lambda word, nth: "text:no" if word[-1] in "05" and nth == 1 else "ok")
    _, finished = run(some)
    rest = [text for digest, text in texts.items() if digest not in finished]
    told = forecast(rest, driver.OneAnswer(), finished.values(), 8, Prices())
    before = server.spent
    run(texts)
    assert told.tokens_in + told.tokens_out == pytest.approx(server.spent - before, rel=0.08)


# Signals


def test_a_run_in_a_thread_leaves_signals_alone(run: Run, server, driver) -> None:
    before = signal.getsignal(signal.SIGTERM)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(run(driver.texts(5))))
    thread.start()
    thread.join(30)
    assert len(found[0][1]) == 5 and signal.getsignal(signal.SIGTERM) == before
    run(driver.texts(6))
    assert signal.getsignal(signal.SIGTERM) == before and asyncio.get_event_loop_policy()
