"""One writer per run directory: a second is refused by name, a dead one is taken over, whatever clocks and disks do."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ecamp_fast.errors import StorageError
from ecamp_fast.fault_points import VARIABLE
from ecamp_fast.run.safety import lock
from ecamp_fast.run.safety.processes import ProcessId, kernel

ROOT = Path(__file__).absolute().parents[3]
HOLDS = """
import sys, time
from pathlib import Path
from ecamp_fast.errors import StorageError
from ecamp_fast.run.safety import lock
mine = lock.RunLock(Path(sys.argv[1]))
try:
    mine.acquire()
except StorageError:
    sys.exit(5)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """start(run, seconds): a process that takes the lock, and lives so long."""
    running = []

    def run(folder: Path, seconds: float = 60.0) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", HOLDS, str(folder), str(seconds)]
        running.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
        )
        return running[-1]

    yield run
    for one in running:
        one.kill()
        one.communicate()


def held(process: "subprocess.Popen[str]") -> int:
    assert process.stdout and process.stdout.readline() == "held\n"
    return process.pid


def left_by(run: Path, writer: lock.Writer) -> None:
    (run / lock.LOCK).write_text(json.dumps(asdict(writer)))


def elsewhere() -> lock.Writer:
    """A writer on another machine."""
    return lock.Writer("faraway", "another boot", ((1, 1),), "2031-01-01 00:00:00 +0000", "theirs")


@pytest.mark.fault("C5b.second-start")
def test_a_second_start_is_refused_by_name(start: Start, tmp_path: Path) -> None:
    pid = held(start(tmp_path))
    for refuse in (lock.RunLock(tmp_path).acquire, lambda: lock.refuse_second(tmp_path)):
        with pytest.raises(StorageError) as refused:
            refuse()
        assert f"process {pid} on {os.uname().nodename}, since 20" in refused.value.what
        assert f"ecamp-fast stop {tmp_path}" in refused.value.hint


@pytest.mark.fault("C5b.dead-writer")
def test_a_killed_writer_is_taken_over_at_once(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = start(tmp_path)
    held(process)
    process.kill()  # and nobody asks for its end: the process stays in the table
    time.sleep(0.1)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: pytest.fail("waits"))
    mine = lock.RunLock(tmp_path)
    mine.acquire()
    assert mine.held
    mine.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("C5b.dead-writer")
def test_a_number_that_another_process_got_later_is_not_the_writer(tmp_path: Path) -> None:
    own = ProcessId.own()
    left_by(tmp_path, replace(elsewhere(), kernel=kernel(), ranks=((own.pid, own.started - 5),)))
    mine = lock.RunLock(tmp_path)
    mine.acquire()
    assert mine.held


@pytest.mark.fault("C5b.beside-orphans")
def test_beside_ranks_without_their_first_nobody_starts(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    orphan = ProcessId.of(held(start(tmp_path / "other")))
    assert orphan
    left_by(tmp_path, replace(elsewhere(), kernel=kernel(), ranks=((1, 1), (orphan.pid, orphan.started))))
    monkeypatch.setattr(lock, "LEAVING", 0.5)
    began = time.monotonic()
    with pytest.raises(StorageError, match="not their first") as refused:
        lock.RunLock(tmp_path).acquire()
    assert time.monotonic() - began >= 0.5  # they may be about to leave
    assert f"kill {orphan.pid}" in refused.value.hint
    monkeypatch.setattr(lock, "LEAVING", 20)
    threading.Timer(0.5, lambda: os.kill(orphan.pid, 9)).start()
    lock.RunLock(tmp_path).acquire()


def test_a_start_waits_for_one_that_was_asked_to_stop(start: Start, tmp_path: Path) -> None:
    process = start(tmp_path, 1.0)
    held(process)
    told = lock.last_beat(tmp_path) | {"stopping": True}
    (tmp_path / lock.HEARTBEAT).write_text(json.dumps(told))
    mine = lock.RunLock(tmp_path)
    mine.acquire()
    assert mine.held and process.wait(10) == 0


@pytest.mark.fault("C10.clock-skew")
@pytest.mark.parametrize("clock", ["1970-01-01 00:00:00 +0000", "2099-01-01 00:00:00 +0000"])
def test_a_writer_of_another_machine_is_judged_by_whether_its_heart_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    monkeypatch.setattr(lock, "STILL", 0.8)
    left_by(tmp_path, elsewhere())
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.3):
            beats = len(list(tmp_path.glob("beat-*")))
            (tmp_path / f"beat-{beats}").touch()
            (tmp_path / lock.HEARTBEAT).write_text(json.dumps({"token": "theirs", "beat": beats, "time": clock}))

    thread = threading.Thread(target=beat)
    thread.start()
    said: list[str] = []
    try:
        with pytest.raises(StorageError, match="process 1 on faraway, since 2031"):
            lock.RunLock(tmp_path).acquire(said.append)
    finally:
        over.set()
        thread.join()
    assert len(said) == 1 and "looking" in said[0]
    mine = lock.RunLock(tmp_path)
    mine.acquire(said.append)
    assert mine.held and len(said) == 2


@pytest.mark.fault("C10.stale-handle")
def test_a_handle_that_went_stale_is_looked_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_by(tmp_path, replace(elsewhere(), kernel=kernel()))
    monkeypatch.setenv(VARIABLE, "lock.read:file=LOCK:nth=1:ESTALE")
    lock.RunLock(tmp_path).acquire()
    monkeypatch.setenv(VARIABLE, "lock.read:file=LOCK:ESTALE;heartbeat:ESTALE")
    monkeypatch.setattr(lock, "_LOOK", 0.001)
    with pytest.raises(StorageError, match="cannot lock"):
        lock.RunLock(tmp_path).acquire()


@pytest.mark.parametrize("what", ["ENOSPC", "EROFS", "EIO"])
def test_a_disk_that_refuses_leaves_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setenv(VARIABLE, f"lock.write:{what}")
    with pytest.raises(StorageError, match="cannot lock"):
        lock.RunLock(tmp_path).acquire()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"host": 1}', '{"ranks": [["a", 1]]}', "\0" * 300])
def test_a_lock_that_was_cut_by_a_crash_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(lock, "STILL", 0.3)
    (tmp_path / lock.LOCK).write_text(text)
    mine = lock.RunLock(tmp_path)
    mine.acquire()
    assert mine.held


def test_of_many_that_find_a_dead_writer_one_begins(start: Start, tmp_path: Path) -> None:
    left_by(tmp_path, replace(elsewhere(), kernel=kernel()))
    processes = [start(tmp_path, 1.0) for _ in range(6)]
    assert sorted(process.wait() for process in processes) == [0, 5, 5, 5, 5, 5]


def test_who_finds_a_dead_writer_too_late_takes_nothing_from_the_next(tmp_path: Path) -> None:
    dead, next_one = replace(elsewhere(), kernel=kernel()), lock.RunLock(tmp_path)
    left_by(tmp_path, dead)
    next_one.acquire()
    lock.remove_dead(tmp_path, dead)
    assert (tmp_path / lock.LOCK).exists() and not next_one.is_lost()
    assert sorted(path.name for path in tmp_path.iterdir()) == [lock.HEARTBEAT, lock.LOCK]


def test_a_lock_that_was_taken_over_is_not_given_back(tmp_path: Path) -> None:
    mine, theirs = lock.RunLock(tmp_path), lock.RunLock(tmp_path)
    mine.acquire()
    assert not mine.is_lost()
    (tmp_path / lock.LOCK).unlink()  # by hand
    assert not mine.is_lost() and (tmp_path / lock.LOCK).exists()
    theirs.acquire()  # of the same process, which ends one run before it begins another
    assert mine.is_lost()
    mine.release()
    assert not theirs.is_lost() and (tmp_path / lock.LOCK).exists()


def test_a_heartbeat_never_needs_room(tmp_path: Path) -> None:
    mine = lock.RunLock(tmp_path)
    mine.acquire()
    sizes = set()
    for step in (1, 10**9):
        mine.beat(step, stopping=step > 1)
        sizes.add((tmp_path / lock.HEARTBEAT).stat().st_size)
        assert lock.last_beat(tmp_path)["step"] == step
    assert len(sizes) == 1
    assert lock.last_beat(tmp_path)["stopping"] is True


def test_a_heartbeat_costs_nothing(tmp_path: Path) -> None:
    """Of processor time: one every two seconds, against 0.5 % of a step."""
    mine = lock.RunLock(tmp_path)
    mine.acquire()
    began = time.process_time()
    for step in range(200):
        mine.beat(step, stopping=False)
        mine.is_lost()
    assert (time.process_time() - began) / 200 / lock.BEAT < 0.001
