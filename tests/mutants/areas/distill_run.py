"""Where reports may go, what a run asks for and how often, and what is on the disk when it is killed."""

import tempfile
from pathlib import Path
from typing import Any

from mutant import mutants

TESTS = "tests/distill"
HOSTS = {"a.ward": ["10.1.2.3"], "b.example": ["203.0.113.7"], "c.example": ["10.1.2.3", "203.0.113.7"]}
URLS = [
    *(f"http://{host}:8000/v1" for host in (*HOSTS, "127.0.0.1", "127.1", "2130706433", "0x7f.1", "a.ward.")),
    *(f"https://{host}" for host in ("[::ffff:8.8.8.8]", "[::ffff:10.0.0.1]", "[::1]", "169.254.169.254")),
    *(f"https://{host}" for host in ("172.32.0.1", "172.15.0.1", "[fe00::1]", "[fb00::1]", "192.169.0.1", "11.0.0.1")),
    *("http://u@127.0.0.1", "http://127.0.0.1/v1?a=b", "http://127.0.0.1/v1/chat/completions", "ftp://127.0.0.1"),
]
PROXIES = [
    {"HTTP_PROXY": "http://p"},
    {"ALL_PROXY": "http://p"},
    {"http_proxy": "http://p", "no_proxy": "rd"},
    {"http_proxy": "http://p", "no_proxy": ".ward"},
]


def _outcome(call: Any, *arguments: Any) -> Any:
    try:
        return str(call(*arguments))
    except Exception as error:
        return type(error).__name__, getattr(error, "exit_code", None)


def judged() -> Any:
    """What becomes of addresses, of environments with proxies, and of attestations."""
    from ecamp_fast.distill.endpoint import Target, judge_address

    def judge(url: str, attestation: Path | None = None, environment: dict[str, str] | None = None) -> Target:
        return judge_address(url, attestation, environment or {}, lambda host, port: HOSTS.get(host, ["10.9.9.9"]))

    found = [_outcome(judge, url) for url in URLS]
    found += [_outcome(judge, "http://a.ward:1", None, environment) for environment in PROXIES]
    with tempfile.TemporaryDirectory() as scratch:
        for host, lines in (("b.example", 4), ("b.example", 3), ("c.example", 4)):
            path = Path(scratch, "a")
            stated = [f"host: {host}", "zero_retention: true", "no_training: true", "no_human_review: true"]
            path.write_text("\n".join(stated[:lines]))
            found += [_outcome(judge, f"{scheme}://b.example", path) for scheme in ("http", "https")]
    return found


def answered() -> Any:
    """What bodies and headers of servers are taken for."""
    from ecamp_fast.distill.endpoint import _answer, _pause

    usage = b'"usage": {"prompt_tokens": 7, "completion_tokens": true}'
    bodies = [b'{"choices": [{"message": {"content": "a"}, "finish_reason": "length"}], ' + usage + b"}"]
    bodies += [b'{"choices": [{"message": {"content": null}}]}', b'{"choices": [{"message": {"content": 1}}]}', b"["]
    headers = ("7", "1.5", "99999", "-1", "soon", "Thu, 01 Jan 1970 00:00:00 GMT")
    return [_outcome(_answer, body) for body in bodies], [_outcome(_pause, header) for header in headers]


def kept() -> Any:
    """What is read of a journal that is cut, damaged, or asked for by another name."""
    from ecamp_fast.distill.journal import AnswerJournal, Finished, journal_name, read_journal

    found: list[Any] = [journal_name({"model": "a", "b": 1}) == journal_name({"b": 1, "model": "a"})]
    found.append(journal_name({"model": "a"}) == journal_name({"model": "b"}))
    with tempfile.TemporaryDirectory() as scratch:
        entries = [Finished(f"{n:064}", f"text {n}", "model") for n in range(3)]
        with AnswerJournal(Path(scratch, "out"), {"model": "m"}) as journal:
            journal.add(entries[:2])
            journal.add(entries[2:])
            found.append(_outcome(AnswerJournal(journal.folder, {"model": "n"}).__enter__))
        data = journal.path.read_bytes()
        lines = data.splitlines(keepends=True)
        forms = [data[:-1], data[:-9], data + data[-20:], data + lines[1].replace(b"text 0", b"text 9")]
        forms += [
            b"".join([*lines[:2], lines[2].replace(b"text 1", b"text 7"), *lines[3:]]),
            data.replace(b"0\n", b"1\n"),
        ]
        for form in forms:
            journal.path.write_bytes(form)
            content = read_journal(journal.path)
            found.append((sorted(content.finished), [e.text for e in content.finished.values()], content.damaged))
            with AnswerJournal(journal.folder, {"model": "m"}) as again:
                found.append(journal.path.stat().st_size)
                again.add([Finished("f" * 64, "more", "rules")])
            found.append([e.text for e in read_journal(journal.path).finished.values()])
    return found


def paced() -> Any:
    """Slots, waits and the end of patience, by a clock of our own."""
    import random

    from ecamp_fast.distill.pacing import Governor, Pace

    now = [0.0]
    governor = Governor(Pace(concurrency=16, patience=50.0), lambda: now[0], random.Random(1))
    found: list[Any] = []
    for step in range(40):
        governor.answered()
        found.append(governor.slots)
        if step % 13 == 7:
            now[0] += 5.0
            for kind in ("busy", "timeout", "broken"):
                governor.failed(kind, now[0] - 1.0, 3.0 if kind == "busy" else None)
            found.append((governor.slots, governor.wait))
    for _ in range(400):
        governor.answered()
    found.append(governor.slots)
    found.append([round(governor.delay(failures), 3) for failures in (1, 2, 5, 9, 99)])
    for wait in (40.0, 9.0, 9.0, 9.0):
        now[0] += wait
        found.append(_outcome(governor.failed, "connection", now[0], None))
    return found


def asked() -> Any:
    """What a run asks for and keeps, against a client that answers by a script."""
    import asyncio
    import importlib.util
    from collections import Counter

    from ecamp_fast.distill.endpoint import Answer, Declined, Unanswered
    from ecamp_fast.distill.journal import AnswerJournal
    from ecamp_fast.distill.pacing import Pace
    from ecamp_fast.distill.runner import run_model

    path = next(parent for parent in Path(__file__).parents if parent.name == "tests") / "distill" / "driver.py"
    spec = importlib.util.spec_from_file_location("mutants_driver", path)
    assert spec and spec.loader
    driver: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(driver)

    class Scripted:
        def __init__(self, script: Any) -> None:
            self.script, self.sent = script, list[Any]()
            self.tries: Counter[str] = Counter()

        async def __aenter__(self) -> "Scripted":
            return self

        async def __aexit__(self, *_: object) -> None: ...

        async def ask(self, messages: Any, schema: Any) -> Answer:
            await asyncio.sleep(0)
            text = messages[0]["content"]
            self.tries[text] += 1
            self.sent.append((text.split()[0], len(messages), schema is None))
            what = self.script(text.split()[0], self.tries[text], schema)
            if isinstance(what, Exception):
                raise what
            return Answer(driver.right(text) if what is None else what, "stop", None, 3)

    scripts = [
        lambda word, nth, schema: "no" if nth <= int(word[-1]) else None,
        lambda word, nth, schema: Unanswered("unavailable") if word.endswith("3") else None,
        lambda word, nth, schema: Declined("bad-request") if schema else None,
        lambda word, nth, schema: Declined("too-long") if word.endswith("2") else None,
        lambda word, nth, schema: Unanswered("broken") if "zqreport" in word else "yes",
    ]
    pace, found = Pace(concurrency=1, pause=0.0001, longest_pause=0.0001, patience=2.0, tries=6), list[Any]()
    for number, script in enumerate(scripts):
        with tempfile.TemporaryDirectory() as scratch, AnswerJournal(Path(scratch, "out"), {"n": number}) as journal:
            client = Scripted(script)
            distiller, plain = driver.OneAnswer(structured=True), driver.OneAnswer()
            count = 30 if number == 4 else 6
            ended = _outcome(run_model, driver.texts(count), distiller, journal, client, pace)
            if number != 4:
                ended = _outcome(run_model, driver.texts(8), distiller, journal, client, pace)
            kept = journal.content.finished.values()
            found.append((str(ended).partition("seconds")[0], client.sent, journal.content.events))
            found.append(
                [(e.report, e.text, e.how, dict(e.faults), e.tokens_in, e.tokens_out, e.characters) for e in kept]
            )
        with tempfile.TemporaryDirectory() as scratch, AnswerJournal(Path(scratch, "out"), {"n": number}) as journal:
            client = Scripted(script)
            if number != 4:
                for count in (4, 6):
                    run_model(driver.texts(count), distiller, journal, client, pace, plain=plain)
            found.append((client.sent, journal.content.events))
    return found


def foreseen() -> Any:
    """Forecasts with and without earlier answers."""
    from ecamp_fast.distill.forecast import Prices, forecast
    from ecamp_fast.distill.journal import Finished

    class Plain:
        def messages(self, report: str) -> list[dict[str, str]]:
            return [{"role": "user", "content": report}] if report else []

        def fallback(self, report: str) -> str:
            return report[:40]

    texts = ["x" * (100 + number) if number % 4 else "" for number in range(500)]
    earlier = [Finished("a", "t", "re-asked", {"prose": 1}, 50, 9, 150, 3.0), Finished("b", "", "nothing")]
    return [str(forecast(texts, Plain(), done, 4, Prices(3.0, 5.0))) for done in ([], earlier)]  # type: ignore[arg-type]


MUTANTS = [
    *mutants(
        "ecamp_fast/distill/endpoint.py",
        f"{TESTS}/test_gate.py",
        judged,
        {
            "twice as many addresses are private": ('"172.16.0.0/12"', '"172.0.0.0/10"'),
            "addresses of IPv6 that are not private": ('"fc00::/7"', '"fc00::/6"'),
            "metadata of clouds": ('"10.0.0.0/8", ', '"10.0.0.0/8", "169.254.0.0/16", '),
            "IPv4 within IPv6 is judged as IPv6": ("parsed = mapped or parsed", "parsed = parsed"),
            "one private address is enough": (
                "outside = [address for address in addresses if not is_private(address)]",
                "outside = [] if any(map(is_private, addresses)) else list(addresses)",
            ),
            "numbers are names": ("if _NUMBER.fullmatch(", "if False and _NUMBER.fullmatch("),
            "a user in the address": ('if "@" in parts.netloc or', "if"),
            "a query in the address": ("if parts.query or", "if"),
            "without encryption": ('if scheme != "https":', "if False:"),
            "an attestation of another host": ("!= host:", "== 0:"),
            "an attestation of half": ("if tree.get(name) is not True]", "if name in tree and tree[name] is not True]"),
            "a proxy for all": ('f"{scheme}_proxy", "all_proxy"', 'f"{scheme}_proxy",'),
            "an exception for any ending": ('host.endswith(f".{bare}")', "host.endswith(bare)"),
        },
    ),
    *mutants(
        "ecamp_fast/distill/endpoint.py",
        f"{TESTS}/test_endpoint.py",
        answered,
        {
            "a pause of a day": ("_WAITS = 600.0", "_WAITS = 86400.0"),
            "a pause as a date is another": (".timestamp() - time.time()", ".timestamp() + time.time()"),
            "content that is no text": ("if content is not None and not isinstance(content, str):", "if False:"),
            "no finish": ("finish if isinstance(finish, str) else", "finish if isinstance(finish, int) else"),
        },
    ),
    *mutants(
        "ecamp_fast/distill/journal.py",
        f"{TESTS}/test_journal.py",
        kept,
        {
            "no checksum": ("sealed is None or zlib.crc32(sealed[1]) != int(sealed[2], 16)", "sealed is None"),
            "what is torn stays": ("os.ftruncate(self._file, self.content.end)\n        sync", "sync"),
            "the order of keys names it": ("json.dumps(identity, sort_keys=True,", "json.dumps(identity,"),
            "two writers": ("fcntl.LOCK_EX | fcntl.LOCK_NB", "fcntl.LOCK_SH | fcntl.LOCK_NB"),
            "damage is not counted": ("content.damaged + bad", "content.damaged"),
            "written over the last line": ("self.content.end += len(data)", "self.content.end += 0"),
        },
    ),
    *mutants(
        "ecamp_fast/distill/pacing.py",
        f"{TESTS}/test_pacing.py",
        paced,
        {
            "it halves": ("_SHRINKS = 0.7", "_SHRINKS = 0.5"),
            "each of many shrinks it": ("and started >= self._shrunk", ""),
            "it grows without limit": ("min(self._limit, float(self._pace.concurrency))", "self._limit"),
            "it doubles for ever": ("self._doubles_to, self._shrunk = self._limit, now", "self._shrunk = now"),
            "no jitter": ("self._chance.uniform(0.5, 1.0)", "1.0"),
            "waits do not double": ("2.0 ** min(failures - 1, 30)", "2.0"),
            "a pause is kept by nobody": ("self._free_at = max(self._free_at, now + pause)", "pass"),
            "patience without end": ("> self._pace.patience + self._waited", "> 1e9 + self._waited"),
            "an answer renews nothing": (
                "self._answered, self._waited = self._clock(), 0.0",
                "self._waited = 0.0",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/distill/runner.py",
        f"{TESTS}/test_runner.py",
        asked,
        {
            "three re-asks": ("RE_ASKS = 2", "RE_ASKS = 3"),
            "one re-ask": ("RE_ASKS = 2", "RE_ASKS = 1"),
            "a re-ask says nothing": (
                "        if fault:\n            return way._replace",
                "        if False:\n            return way._replace",
            ),
            "re-asked is told as at once": ('"re-asked" if again else "model"', '"model"'),
            "faults are not kept": ("spent.faults[fault] += 1", "pass"),
            "tokens of rejected answers are lost": ("self.tokens_out += _counted", "self.tokens_out = _counted"),
            "what failed for good is not flagged": ("spent.faults[declined.kind] += 1", "pass"),
            "finished reports are asked for again": ("if digest not in finished)", "if digest)"),
            "schemas are tried again": ('self._queue.put_nowait({"event": "plain"})', "pass"),
            "the rules replace a server": ("_GIVEN_UP = 20", "_GIVEN_UP = 2000"),
        },
    ),
    *mutants(
        "ecamp_fast/distill/forecast.py",
        f"{TESTS}/test_runner.py -k forecast",
        foreseen,
        {
            "three characters a token": ("CHARACTERS_PER_TOKEN = 4.0", "CHARACTERS_PER_TOKEN = 3.0"),
            "of the sample alone": ("scale = len(pending) / len(sample)", "scale = 1.0"),
            "without re-asks": ("characters * ratio * tries", "characters * ratio"),
            "one at a time": ("/ len(asked) / concurrency", "/ len(asked)"),
            "prices are exchanged": ("tokens_in * (prices.tokens_in or 0.0)", "tokens_in * (prices.tokens_out or 0.0)"),
        },
    ),
]
