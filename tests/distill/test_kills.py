"""A run that is asked to stop, and one that is killed: what it was told of is kept, the rest is done later."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest


def program(server, out: Path, count: int, timeout: float = 0.4) -> subprocess.Popen:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, Path(__file__).with_name("driver.py"), out, str(server.port), str(count), str(timeout)]
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(server, requests: int, process: subprocess.Popen) -> None:
    until = time.monotonic() + 60
    while len(server.requests) < requests and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)


@pytest.mark.fault("L5.stopped")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_waits_for_what_is_under_way_and_leaves_with_75(number: int, server, driver, tmp_path: Path) -> None:
    server.latency = 0.15
    process = program(server, tmp_path / "out", 400, 5.0)
    wait_for(server, 20, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 75 and err == "", err
    assert int(out) == len(server.requests) < 400  # each that was sent was finished: no token is lost


def test_a_second_signal_ends_it_at_once(server, tmp_path: Path) -> None:
    server.script = lambda number, body: "ok" if number < 10 else "hang"
    process = program(server, tmp_path / "out", 400, 50.0)
    wait_for(server, 12, process)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 75 and int(out) == 10 and err == "", err


def test_a_stop_while_waiting_to_try_again(server, tmp_path: Path) -> None:
    server.script = lambda number, body: "ok" if number < 10 else "status:429:500"
    process = program(server, tmp_path / "out", 400, 50.0)
    wait_for(server, 12, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 75 and int(out) == 10 and err == "", err


FAULTS = ("status:429", "status:429:0.02", "status:500", "status:503", "half", "close", "redirect:/x", "raw:<html>")
FAULTS += ("text:", "text:Sure", "length:There", "raw:{}", "status:502", "status:429", "text:no", "hang")


@pytest.mark.fault("L1.complete", "L2.complete", "L3.complete", "L5.kill", "L5.none-lost", "L5.none-twice")
def test_thirty_per_cent_of_faults_and_kills_at_random_moments(server, driver, tmp_path: Path, chance) -> None:
    """All reports finished, none twice, none lost; tokens within 1.02 of what had to be spent."""
    count, kills = 1500, 4
    faults = {number: chance.choice(FAULTS) for number in range(9 * count) if chance.random() < 0.3}
    server.latency = 0.002
    asked: Counter[str] = Counter()

    def act(number: int, body: dict) -> str:
        word = body["messages"][0]["content"].split()[0]
        what = faults.get(number, "ok")
        if what.startswith(("text", "length")):  # the model is not so bad that three answers in a row are garbage
            asked[word] += 1
            what = what if asked[word] <= 2 else "ok"
        return what

    server.script = act
    codes = []
    for kill in range(kills):
        process = program(server, tmp_path / "out", count)
        wait_for(server, round(count * (kill + chance.random()) / (kills + 1)) + 1, process)
        time.sleep(0.02 * chance.random())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        codes.append(process.returncode)
    process = program(server, tmp_path / "out", count)
    out, err = process.communicate(timeout=120)
    assert codes == [-9] * kills and process.returncode == 0 and err == "", err
    (path,) = (tmp_path / "out").glob("answers-*")
    lines = [json.loads(line) for line in path.read_bytes().splitlines()[1:]]
    texts = driver.texts(count)
    assert sorted(line["report"] for line in lines) == sorted(texts) and int(out) == count
    assert {line["report"]: line["text"] for line in lines} == {d: driver.right(t) for d, t in texts.items()}
    assert Counter(line["how"] for line in lines)["rules"] == 0
    ratio = server.spent / server.ideal
    faulty = sum(number in faults for number in range(len(server.requests)))
    print(f"{len(server.requests)} requests, {faulty} faulty, {kills} kills: tokens {ratio:.4f} of ideal")
    assert 1.0 <= ratio <= 1.02
