"""Items come in order, not too many too early; errors arrive; nothing keeps the interpreter from leaving."""

import subprocess
import sys
import threading
import time

import pytest

from ecamp_fast.shards.load.prefetch import prefetch


def counting(produced, stop=10**9, fault=None):
    try:
        for number in range(stop):
            produced.append(number)
            yield number
        if fault:
            raise fault
    finally:
        produced.append("closed")


def alive():
    return any(thread.name == "ecamp-fast-loader" for thread in threading.enumerate())


@pytest.mark.parametrize("depth", [1, 5])
def test_items_come_in_order_and_the_thread_ends(depth):
    produced = []
    assert list(prefetch(counting(produced, 20), depth)) == list(range(20))
    assert produced[-1] == "closed" and not alive()


def test_the_thread_runs_ahead_by_the_depth():
    produced = []
    items = prefetch(counting(produced), 3)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(produced) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert produced == [0, 1, 2, 3, 4]  # one taken, three waiting, one in the thread's hands
    items.close()
    assert produced[-1] == "closed" and len(produced) <= 7 and not alive()


def test_an_error_comes_after_the_items_before_it():
    produced, got = [], []
    with pytest.raises(KeyError, match="broken"):
        for item in prefetch(counting(produced, 4, KeyError("broken")), 2):
            got.append(item)
    assert got == [0, 1, 2, 3] and not alive()


def test_an_item_may_take_its_time_but_for_the_patience():
    def source():
        time.sleep(0.6)
        for number in (0.0, 0.0, 0.7):
            time.sleep(number)
            yield number

    assert list(prefetch(source(), 1, patience=5.0)) == [0.0, 0.0, 0.7]
    items = prefetch(source(), 1, patience=0.3)
    assert next(items) == next(items) == 0.0  # the first may take longer
    with pytest.raises(TimeoutError, match=r"nothing for 0\.3 s"):
        next(items)
    while alive():
        time.sleep(0.01)


@pytest.mark.fault("C6.dead")
def test_a_thread_that_ends_without_a_word_is_noticed(monkeypatch):
    monkeypatch.setattr("ecamp_fast.shards.load.prefetch.LOOK", 0.1)
    monkeypatch.setattr("threading.excepthook", lambda *_: None)

    def source():
        try:
            yield 0
            yield 1
        finally:
            raise OSError("while closing")

    items = prefetch(source(), 1)
    with pytest.raises((TimeoutError, OSError), match=r"without a word|while closing"):
        list(items)

    class Killed:
        def __iter__(self):
            yield 0
            raise SystemExit

        def close(self):
            raise SystemExit  # so that nothing is sent

    items = prefetch(Killed(), 1)
    assert next(items) == 0
    with pytest.raises(TimeoutError, match="without a word"):
        next(items)


def test_a_source_that_hangs_does_not_hold_up_the_closing(monkeypatch):
    monkeypatch.setattr("ecamp_fast.shards.load.prefetch.PATIENCE", 0.2)
    hang, produced = threading.Event(), []

    def source():
        yield 0
        produced.append(hang.wait(20))

    items = prefetch(source(), 1)
    assert next(items) == 0
    began = time.monotonic()
    items.close()
    assert time.monotonic() - began < 10 and not produced
    hang.set()
    while alive():
        time.sleep(0.01)
    assert produced == [True]


@pytest.mark.parametrize("ending", ["", "raise SystemExit(0)"])
def test_the_interpreter_leaves_while_items_wait(ending, pytestconfig):
    program = (
        "import itertools, sys\n"
        "from ecamp_fast.shards.load.prefetch import prefetch\n"
        "def numbers():\n"
        "    try:\n"
        "        yield from itertools.count()\n"
        "    finally:\n"
        "        print('closed', flush=True)\n"
        "items = prefetch(numbers(), 2)\n"
        "sys.modules['kept'] = items\n"  # still referenced when the interpreter ends
        f"next(items)\n{ending}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=pytestconfig.rootpath, capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "closed", "")
