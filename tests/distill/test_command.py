"""``ecamp-fast distill run``: what it asks, prints and leaves behind; where no byte goes; what nothing repeats."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ecamp_fast.cli import main
from ecamp_fast.commands.knowledge import run as command
from ecamp_fast.distill.journal import read_texts

CANARY = re.compile(r"zq\w*|canary", re.IGNORECASE)
COUNT = 12


@pytest.fixture
def table(tmp_path: Path, driver: ModuleType) -> Path:
    """Reports that each hold their own canary, of patients that are canaries."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = ["study_id,image_path,report,patient_id"]
    rows += [f"{n},zqimage{n}.png,{driver.report(n)}Mr Canary,zqpatient{n}" for n in range(COUNT)]
    (folder / "t.csv").write_text("\n".join(rows) + "\n")
    return folder / "t.csv"


@pytest.fixture
def says(
    driver: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog
) -> Callable[..., tuple[int, str]]:
    """says(*words): exit code and all that `distill run` prints and logs."""
    monkeypatch.setattr(command, "open_distiller", lambda structured, entities: driver.OneAnswer(structured))
    caplog.set_level(logging.DEBUG)

    def call(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main(["distill", "run", *map(str, words)])
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out + err + caplog.text

    return call


def result(text: str) -> dict:
    (line,) = [line for line in text.splitlines() if line.startswith("{")]
    return json.loads(line)


def test_from_a_table_to_a_journal(table, tmp_path, server, driver, says) -> None:
    words = (table, tmp_path / "out", "--endpoint", server.url, "--model", "m")
    code, text = says(*words, "--price-in", 1, "--price-out", 2, "--json")
    told = result(text)
    assert code == 0 and (told["finished"], told["texts"], told["stopped"]) == (COUNT, COUNT, False)
    assert told["how"] == {"model": COUNT, "re-asked": 0, "rules": 0, "nothing": 0} and told["requests"] == COUNT
    assert told["tokens_in"] + told["tokens_out"] == server.spent and told["origin"] + "/v1" == server.url
    assert told["cost"] == pytest.approx((told["tokens_in"] + 2 * told["tokens_out"]) / 1e6)
    assert sorted(read_texts(tmp_path / "out").values()) == sorted(driver.right(driver.report(n)) for n in range(COUNT))
    code, text = says(*words)
    assert code == 0 and len(server.requests) == COUNT and f"{COUNT} of {COUNT} reports finished" in text
    assert all(body["model"] == "m" and "response_format" in body for body in server.requests)
    code, _ = says(*words, "--plain", "--max-tokens", 99)
    assert code == 0 and len(server.requests) == 2 * COUNT and len(list((tmp_path / "out").glob("answers-*"))) == 2
    assert server.requests[-1]["max_tokens"] == 99 and "response_format" not in server.requests[-1]


@pytest.mark.fault("L7.dry-run")
def test_a_dry_run_says_where_reports_would_go_and_sends_nothing(table, tmp_path, server, says) -> None:
    words = (table, tmp_path / "out", "--endpoint", server.url, "--model", "m", "--price-in", 5)
    code, text = says(*words, "--dry-run")
    assert code == 0 and f"{server.url}/chat/completions at 127.0.0.1 (private)" in text and "nothing was sent" in text
    assert "cost" in text and server.requests == [] and not (tmp_path / "out").exists()
    told = result(says(*words, "--dry-run", "--json")[1])
    assert told["endpoint"]["addresses"] == ["127.0.0.1"] and told["forecast"]["asked"] == COUNT
    assert server.requests == []
    says(*words)
    told = result(says(*words, "--dry-run", "--json")[1])
    assert told["finished"] == COUNT and told["forecast"]["asked"] == 0 and len(server.requests) == COUNT


def test_the_rules_ask_no_endpoint(table, tmp_path, server, says) -> None:
    code, text = says(table, tmp_path / "out", "--rules", "--json")
    told = result(text)
    assert code == 0 and told["how"]["rules"] == COUNT and told["origin"] is None and server.requests == []
    code, text = says(table, tmp_path / "new", "--rules", "--dry-run", "--json")
    assert code == 0 and result(text)["endpoint"] is None and not (tmp_path / "new").exists()


@pytest.mark.parametrize("given", [("--endpoint", "http://127.0.0.1:9/v1"), ("--model", "m"), ("--plain",)])
def test_the_rules_stand_beside_nothing_that_is_for_a_server(table, tmp_path, says, given) -> None:
    code, text = says(table, tmp_path / "out", "--rules", *given)
    assert code == 2 and f"--rules beside {given[0]}" in text and not (tmp_path / "out").exists()


def test_what_is_missing(table, tmp_path, server, says) -> None:
    assert says(table, tmp_path / "out")[0] == 2
    assert says(table, tmp_path / "out", "--endpoint", server.url)[0] == 2
    words = ("--endpoint", server.url, "--model", "m")
    assert says(table, tmp_path / "out", *words, "--key-env", "NO_SUCH_KEY")[0] == 2
    assert says(tmp_path / "nothing.csv", tmp_path / "out", *words)[0] == 3
    assert server.requests == [] and not (tmp_path / "out").exists()


def test_a_key_goes_to_the_server_and_nowhere_else(table, tmp_path, server, says, monkeypatch) -> None:
    monkeypatch.setenv("LLM_KEY", "sk-zqkey")
    words = (table, tmp_path / "out", "--endpoint", server.url, "--model", "m", "--key-env", "LLM_KEY")
    code, text = says(*words)
    assert code == 0 and all("Authorization: Bearer sk-zqkey\r\n" in head for head in server.headers)
    assert "zqkey" not in text
    server.script = lambda number, body: "status:401"
    code, text = says(*words, "--plain")
    assert code == 7 and "zqkey" not in text and "--key-env" in text
    assert not any(b"zqkey" in path.read_bytes() for path in (tmp_path / "out").iterdir())


# Where no byte goes


@pytest.mark.fault("L7.public", "L7.judged-first")
def test_the_address_is_judged_before_anything_else_is_opened(tmp_path: Path, says, monkeypatch) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("something was opened")

    for name in ("_plan", "_key", "_run"):
        monkeypatch.setattr(command, name, opened)
    code, text = says("no-such-source", tmp_path / "out", "--endpoint", "https://203.0.113.7/v1", "--dry-run")
    assert code == 8 and "203.0.113.7" in text and not (tmp_path / "out").exists()


def test_the_address_is_judged_before_out_is_looked_at(table: Path, tmp_path: Path, says) -> None:
    (tmp_path / "file").touch()
    asked = ("--model", "m", "--endpoint")
    assert says(table, tmp_path / "file", *asked, "http://203.0.113.7/v1")[0] == 8
    assert says(table, tmp_path / "file", *asked, "http://127.0.0.1:9/v1")[0] == 5


@pytest.mark.fault("L7.attested")
def test_an_attestation_is_recorded_beside_the_answers(table, tmp_path, server, says, monkeypatch) -> None:
    from ecamp_fast.distill import endpoint

    target = endpoint.judge_address(server.url, None, {})
    attested = endpoint.Target(**{n: getattr(target, n) for n in target.__match_args__} | {"attestation": "5" * 64})
    monkeypatch.setattr(endpoint, "judge_address", lambda *_: attested)
    code, text = says(table, tmp_path / "out", "--endpoint", "x", "--model", "m", "--json")
    assert code == 0 and result(text)["attestation"] == "5" * 64
    (path,) = (tmp_path / "out").glob("answers-*")
    events = [json.loads(line) for line in path.read_text().splitlines() if '"event":"endpoint"' in line]
    assert [(e["origin"], e["attestation"]) for e in events] == [(target.origin, "5" * 64)]


# A machine with a public address of its own, where a listener counts what it receives
PUBLIC = """
import contextlib, io, os, socket, sys, threading
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import driver
from ecamp_fast.cli import main
from ecamp_fast.commands.knowledge import run

run.open_distiller = lambda structured, entities: driver.OneAnswer(structured)
received, connections = [], 0

def listen(listener):
    global connections
    while True:
        connection, _ = listener.accept()
        connections += 1
        connection.settimeout(2)
        with contextlib.suppress(OSError):
            received.append(connection.recv(100))
        connection.close()

public = socket.create_server(("8.8.8.8", 8000))
threading.Thread(target=listen, args=(public,), daemon=True).start()

def send_on(listener):
    while True:
        connection, _ = listener.accept()
        connection.recv(65536)
        where = "http://8.8.8.8:8000/v1"
        connection.sendall(f"HTTP/1.1 307 X\\r\\nLocation: {where}\\r\\nContent-Length: 0\\r\\n\\r\\n".encode())
        connection.close()

private = socket.create_server(("127.0.0.1", 8001))
threading.Thread(target=send_on, args=(private,), daemon=True).start()

def left(name, url, **environment):
    os.environ.update(environment)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main(["distill", "run", sys.argv[2], sys.argv[3] + name, "--endpoint", url, "--model", "m"])
    except SystemExit as end:
        print(name, end.code or 0, "203" in said.getvalue(), said.getvalue()[:300].replace("\\n", " "), sep="|")
    for variable in environment:
        del os.environ[variable]

left("public", "http://8.8.8.8:8000/v1")
left("named", "http://public.example:8000/v1")
left("redirect", "http://127.0.0.1:8001/v1")
left("proxy", "http://127.0.0.1:8001/v1", HTTP_PROXY="http://8.8.8.8:8000")
left("mapped", "http://[::ffff:8.8.8.8]:8000/v1")
left("decimal", "http://134744072:8000/v1")
print("received", connections, sum(map(len, received)), sep="|")
with socket.create_connection(("8.8.8.8", 8000)) as own:
    own.sendall(b"hello")
    own.recv(1)
print("then", connections, sum(map(len, received)), sep="|")
"""


@pytest.mark.fault("L7.public", "L7.redirect", "L7.name", "L7.proxy", "L7.no-byte")
def test_a_listener_at_a_public_address_receives_nothing(table: Path, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n8.8.8.8 public.example\n")
    begin = 'ip link set lo up && ip addr add 8.8.8.8/32 dev lo && mount --bind "$0" /etc/hosts && exec "$@"'
    enter = ("unshare", "-rnm", "sh", "-c", begin, hosts)
    if (
        not all(map(shutil.which, ("unshare", "ip", "mount")))
        or subprocess.run([*enter, "true"], capture_output=True).returncode
    ):
        pytest.skip("this machine allows no network namespace (unshare -rnm, ip, mount)")
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [*enter, sys.executable, "-c", PUBLIC, Path(__file__).with_name("driver.py"), table, tmp_path / "out-"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split("|") for line in done.stdout.splitlines()]
    assert [line[:2] for line in lines[:6]] == [
        [name, "8"] for name in ("public", "named", "redirect", "proxy", "mapped", "decimal")
    ], done.stdout
    assert lines[6] == ["received", "0", "0"] and lines[7] == ["then", "1", "5"]


# What nothing repeats


@pytest.mark.fault("P1.reports", "P1.output", "P1.json", "P1.failures")
@pytest.mark.parametrize(
    ("act", "code"),
    [
        ("ok", 0),
        *((f"text:{text}", 0) for text in ("", "Sure, Mr Canary", "zqreport1 zqreport2")),
        ("too-long", 0),
        ("status:400", 7),
        ("status:401", 7),
        ("redirect:https://203.0.113.7/zqplace", 8),
        ("raw:zqbody", 7),
        ("half", 7),
        ("status:500", 7),
        ("status:429:1000", 7),
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_no_output_repeats_a_word_of_a_report(act, code, form, table, tmp_path, server, says, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    server.script = lambda number, body: act
    words = ("--endpoint", server.url, "--model", "m", "--patience", "0.2" if code == 7 else "20", *form)
    if act == "status:429:1000":
        monkeypatch.setattr("ecamp_fast.distill.endpoint._WAITS", 0.1)
    left, text = says(table, tmp_path / "out", *words)
    assert left == code, text
    assert CANARY.findall(text.replace(str(table), "")) == []
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert CANARY.findall(" ".join(names)) == [] and len(names) == 3
    (path,) = (tmp_path / "out").glob("answers-*")
    assert CANARY.findall(path.read_text()) == []  # the answers here hold none of them; patients are in no journal


@pytest.mark.fault("P1.failures")
def test_no_traceback_repeats_a_word_of_a_report(table, tmp_path, server, driver, says, monkeypatch) -> None:
    class Broken(driver.OneAnswer):
        def fallback(self, report: str) -> str:
            raise KeyError(report)

    monkeypatch.setattr(command, "open_distiller", lambda structured, entities: Broken(structured))
    monkeypatch.setattr(command, "open_rules", lambda entities: Broken(False))
    server.script = lambda number, body: "text:"
    for words in (
        ("--endpoint", server.url, "--model", "m"),
        ("--rules",),
        ("--endpoint", server.url, "--model", "x", "--dry-run"),
    ):
        code, text = says(table, tmp_path / "out", *words)
        assert code == 3 and "KeyError" in text and CANARY.findall(text.replace(str(table), "")) == []
