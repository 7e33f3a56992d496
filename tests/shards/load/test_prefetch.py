"""Items come in order, not too many too early; errors arrive; nothing keeps the interpreter from leaving."""

import subprocess
import sys
import threading
import time

import pytest

from ecamp_fast.shards.load.prefetch import prefetch


def counting(made, stop=10**9, fault=None):
    try:
        for number in range(stop):
            made.append(number)
            yield number
        if fault:
            raise fault
    finally:
        made.append("closed")


def alive():
    return any(thread.name == "ecamp-fast-loader" for thread in threading.enumerate())


@pytest.mark.parametrize("depth", [1, 5])
def test_items_come_in_order_and_the_thread_ends(depth):
    made = []
    assert list(prefetch(counting(made, 20), depth)) == list(range(20))
    assert made[-1] == "closed" and not alive()


def test_the_thread_runs_ahead_by_the_depth():
    made = []
    items = prefetch(counting(made), 3)
    assert next(items) == 0
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3, 4]  # one taken, three waiting, one in the thread's hands
    items.close()
    assert made[-1] == "closed" and len(made) <= 7 and not alive()


def test_an_error_comes_after_the_items_before_it():
    made, got = [], []
    with pytest.raises(KeyError, match="broken"):
        for item in prefetch(counting(made, 4, KeyError("broken")), 2):
            got.append(item)
    assert got == [0, 1, 2, 3] and not alive()


def test_a_source_that_hangs_does_not_hold_up_the_closing(monkeypatch):
    monkeypatch.setattr("ecamp_fast.shards.load.prefetch.PATIENCE", 0.2)
    hang, made = threading.Event(), []

    def source():
        yield 0
        made.append(hang.wait(20))

    items = prefetch(source(), 1)
    assert next(items) == 0
    began = time.monotonic()
    items.close()
    assert time.monotonic() - began < 2 and not made
    hang.set()
    while alive():
        time.sleep(0.01)
    assert made == [True]


@pytest.mark.parametrize("ending", ["", "raise SystemExit(0)"])
def test_the_interpreter_leaves_while_items_wait(ending, pytestconfig):
    program = (
        "import itertools, sys\n"
        "from ecamp_fast.shards.load.prefetch import ahead\n"
        "def numbers():\n"
        "    try:\n"
        "        yield from itertools.count()\n"
        "    finally:\n"
        "        print('closed', flush=True)\n"
        "items = ahead(numbers(), 2)\n"
        "sys.modules['kept'] = items\n"  # still referenced when the interpreter ends
        f"next(items)\n{ending}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=pytestconfig.rootpath, capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "closed", "")
