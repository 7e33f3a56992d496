"""What ends a rank in order, where no second process is needed to see it."""

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ecamp_fast.errors import STOPPED, ConfigError, StorageError
from ecamp_fast.run import preemption
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety import guard as guarding
from ecamp_fast.run.safety import lock
from ecamp_fast.run.safety.guard import Guard, last_line
from ecamp_fast.run.safety.processes import ProcessId, children, descendants, launchers

ROOT = Path(__file__).absolute().parents[3]


def alone(guard: Guard, run: RunDir) -> None:
    guard.take(run, lambda flag: flag, lambda numbers: [numbers])


def test_in_a_library_a_signal_is_noted_and_a_second_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preemption, "ONE_REQUEST", 0.1)
    before = signal.getsignal(signal.SIGHUP)
    with pytest.raises(SystemExit) as left, Guard() as guard:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)  # the same request
        time.sleep(0.15)
        assert guard.requested
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert left.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGHUP) == before


BLOCKED = """
import hashlib, os, signal, sys, threading, time
from ecamp_fast.run import preemption
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety.guard import Guard
preemption.ONE_REQUEST = 0.2
with Guard(leaves=True) as guard:
    guard.take(RunDir(__import__("pathlib").Path(sys.argv[1])), lambda flag: flag, lambda numbers: [numbers])
    guard.begin(0)
    guard.done(1)
    own = [os.getpid(), signal.SIGINT]
    threading.Timer(0.1, lambda: os.kill(*own)).start()
    began = time.monotonic()
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", int(sys.argv[2]))  # in C, as a backward pass is
    blocked = time.monotonic() - began
    time.sleep(0.3)  # for the thread of the guard, which would end the process
    assert guard.requested and blocked > 0.5, blocked
    guard.note_saved(1)
print("saved")
"""


def test_a_signal_that_finds_the_main_thread_in_c_is_one_request(tmp_path: Path) -> None:
    """Its handler runs long after it came: that is no second request, which would end the run without a save."""
    began = time.process_time()
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 100_000)
    rounds = str(int(100_000 * 1.5 / (time.process_time() - began)))
    done = subprocess.run([sys.executable, "-c", BLOCKED, tmp_path, rounds], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "saved\n"), done.stderr


def test_each_arrival_counts_once_whoever_tells_of_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preemption, "ONE_REQUEST", 0.0)
    stop = preemption.StopRequest(raises=False)
    stop.heard(signal.SIGINT)
    stop._handle(signal.SIGINT, None)  # late, of the same
    assert stop.signalled == signal.SIGINT and not stop.again
    stop._handle(signal.SIGINT, None)  # before the thread hears of it
    assert stop.again == signal.SIGINT
    stop.again = 0
    stop.heard(signal.SIGINT)  # of the same
    assert not stop.again
    stop.heard(signal.SIGTERM)
    assert stop.again == signal.SIGTERM


def together(*numbers: int) -> None:
    """Signals to this process between which Python runs no handler: it then makes one call of each."""
    kill = ctypes.CDLL(None).kill
    list(map(kill, [os.getpid()] * len(numbers), numbers))


@pytest.mark.parametrize("first", ["the handler", "the thread"])
def test_after_two_signals_of_one_call_a_second_request_raises(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preemption, "ONE_REQUEST", 0.2)
    if first == "the handler":  # whose thread comes to nothing meanwhile
        monkeypatch.setattr(Guard, "_watch", lambda self: None)
    with pytest.raises(SystemExit) as left, Guard() as guard:
        together(signal.SIGTERM, signal.SIGTERM)
        time.sleep(0.3)
        assert guard.requested
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
    assert left.value.code == 128 + signal.SIGTERM


def test_a_signal_while_the_guard_begins_is_heard_of_by_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    enter = preemption.StopRequest.__enter__

    def signalled(self: preemption.StopRequest) -> preemption.StopRequest:
        enter(self)
        os.kill(os.getpid(), signal.SIGTERM)
        return self

    monkeypatch.setattr(preemption.StopRequest, "__enter__", signalled)
    with Guard() as guard:
        time.sleep(0.1)
        assert guard.requested and guard._stop._heard == guard._stop._handled == {signal.SIGTERM: 1}


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Guard() as guard:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not guard.requested and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_that_ended_without_a_word_is_told_of_by_the_next(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.set_state(status="running", step=3)
    with Guard() as guard:
        alone(guard, run)
        assert run.state()["status"] == "failed" and run.state()["step"] == 3
        assert (tmp_path / lock.LOCK).exists()
    assert not (tmp_path / lock.LOCK).exists()


def test_a_failure_before_the_run_began_changes_nothing(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.set_state(status="complete", step=3)
    with Guard() as guard:
        alone(guard, run)
        assert not guard.note_failure(ConfigError("x"))
        assert run.state() == {"status": "complete", "step": 3}
        guard.begin(3)
        assert not guard.note_failure(ValueError("x"))
        assert run.state()["status"] == "failed" and run.state()["fault"] == "ValueError"


def fails_to_start(run: RunDir) -> None:
    with pytest.raises(ConfigError), Guard() as guard:
        guard.claim(run, run.stop_asked())
        alone(guard, run)
        assert (run.path / lock.LOCK).exists()
        error = ConfigError("x")
        guard.note_failure(error)
        raise error


def test_a_start_that_failed_leaves_no_folder(tmp_path: Path) -> None:
    fails_to_start(RunDir(tmp_path / "runs" / "first"))
    assert list(tmp_path.iterdir()) == [tmp_path / "runs"] and not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize("held", [(), ("train.log",)])
def test_a_start_that_failed_leaves_the_folder_that_was_there(tmp_path: Path, held: tuple[str, ...]) -> None:
    out = tmp_path / "run"
    out.mkdir()
    for name in held:
        (out / name).touch()
    fails_to_start(RunDir(out))
    assert sorted(path.name for path in out.iterdir()) == list(held)


def test_a_start_that_failed_leaves_what_it_wrote(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    with pytest.raises(ConfigError), Guard() as guard:
        alone(guard, run)
        run.event("lost", samples=1)
        raise ConfigError("x")
    assert [path.name for path in run.path.iterdir()] == ["events.jsonl"]


def test_a_folder_that_cannot_be_locked_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("no room")

    monkeypatch.setattr(lock.RunLock, "acquire", refuse)
    with pytest.raises(StorageError), Guard() as guard:
        guard.claim(RunDir(tmp_path / "run"), None)
    assert not (tmp_path / "run").exists()


def test_a_peer_that_left_for_a_request_is_no_failure(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with Guard() as guard:
        alone(guard, run)
        guard.begin(0)
        run.stop_file.touch()  # as the other rank leaves it, before its end breaks our reduction
        assert guard.note_failure(RuntimeError("connection closed by peer"))
        assert run.state()["status"] == "stopped"
        run.set_state(status="running")
        guard.done(1)
        assert not guard.note_failure(RuntimeError("connection closed by peer"))
        assert run.state()["status"] == "failed"
    assert not run.stop_file.exists()  # it was followed


@pytest.mark.parametrize(("requests", "data", "code"), [(2, 60.0, 128 + signal.SIGTERM), (1, 1.0, STOPPED)])
def test_a_request_is_followed_though_the_disk_hangs_in_a_write(
    tmp_path: Path, requests: int, data: float, code: int
) -> None:
    """Before the first step: a second one ends the process at once, as always; a first one does after a while."""
    program = (
        "import sys, time\n"
        "from ecamp_fast.run import preemption\n"
        "from ecamp_fast.run.rundir import WRITING\n"
        "from ecamp_fast.run.safety import guard\n"
        f"guard.DATA, preemption.ONE_REQUEST = {data}, 0.1\n"
        "with guard.Guard(leaves=True):\n"
        "    with WRITING:\n"
        "        print('writes', flush=True)\n"
        "        time.sleep(60)\n"
    )
    command, outside = [sys.executable, "-c", program], {"RANK", "ECAMP_FAST_LAUNCHER"}
    environment = {name: value for name, value in os.environ.items() if name not in outside}
    process = subprocess.Popen(
        command, env=environment | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "writes\n"
    began = time.monotonic()
    for _ in range(requests):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    assert process.wait(30) == code and time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ({"status": "complete", "step": 9}, "complete at step 9"),
        ({"status": "stopped", "step": 4}, "saved at step 4; the same command goes on"),
        ({"status": "stopped", "step": 0}, "stopped before anything was saved; the same command goes on"),
        (
            {"status": "stopped", "step": 4, "steps_lost": 2},
            "saved at step 4, and left 2 step(s) later without a save; the same command goes on",
        ),
        (
            {"status": "failed", "step": 0, "fault": "OSError"},
            "failed (OSError); nothing saved; the same command goes on",
        ),
    ],
)
def test_the_last_line_says_what_is_true(tmp_path: Path, state: dict[str, object], line: str) -> None:
    RunDir(tmp_path).set_state(**state)
    assert last_line(RunDir(tmp_path)) == line


def test_the_rank_that_is_left_says_how_a_run_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "_OF_RANK_0", 1.0)
    first = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead, run = ProcessId.of(first.pid), RunDir(tmp_path)
    assert dead
    mine = lock.RunLock(tmp_path)
    mine.acquire()
    mine.add_ranks([dead, ProcessId.own()])
    run.set_state(status="running", step=4)
    guard = Guard()
    guard.claim(RunDir(tmp_path, writes=False), None)
    guard.begin(4)
    guard.note_failure(ConnectionError())
    assert run.state()["status"] == "running"  # the first rank lives, and will say it
    first.kill()
    first.wait()
    guard.note_failure(ConnectionError())
    assert run.state()["status"] == "failed" and run.state()["fault"] == "ConnectionError"


def test_a_command_is_known_by_its_name_as_what_only_starts_a_launcher(tmp_path: Path) -> None:
    """Its end ends the ranks; that of a shell, which may be closed while a run goes on, does not."""
    program = (
        "import subprocess, sys\n"
        "inner = 'from ecamp_fast.run.safety.processes import launchers; print(len(launchers()))'\n"
        "outer = f'import subprocess, sys; subprocess.run([sys.executable, \"-c\", {inner!r}])'\n"
        "subprocess.run([sys.executable, '-c', outer])\n"
    )
    for name, count in (("deepspeed", 2), ("ecamp-fast", 2), ("my-deepspeed-job", 1)):
        (tmp_path / name).write_text(program)
        command = [sys.executable, str(tmp_path / name)]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert done.stdout == f"{count}\n", (name, done)


def test_processes_below_one_are_found() -> None:
    command = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '30'])"]
    process = subprocess.Popen(command)
    try:
        while len(found := descendants(process.pid)) < 1:
            time.sleep(0.02)
        assert [one.pid for one in children(os.getpid())].count(process.pid) == 1
        assert found[0].alive and launchers()[0].pid == os.getppid()
    finally:
        for one in [*descendants(process.pid), ProcessId.of(process.pid)]:
            assert one
            os.kill(one.pid, signal.SIGKILL)
        process.wait()
    until = time.monotonic() + 10
    while found[0].alive and time.monotonic() < until:  # whoever adopted it has yet to take note
        time.sleep(0.02)
    assert ProcessId.of(process.pid) is None and not found[0].alive
