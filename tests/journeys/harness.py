"""What a journey walks with: a scratch folder, an empty HOME, commands as a user types them, checks that can fail.

A journey is a module of this folder with ``journey(walk)``; ``main`` makes a program of it. What a user would see is
printed; the first thing that is not as it should be ends the journey as ``Broken``.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from journeys.prefab import Prefab

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
# What of a checkout README's commands name; a journey's folder has links to it, so that nothing is written into it.
CHECKOUT = (
    "ecamp_fast",
    "kernels",
    "shards",
    "bench",
    "docs",
    "tests",
    "Makefile",
    "pyproject.toml",
    "requirements.lock",
    ".ci",
)
# A run of seconds, for whatever recipe; see also `tests/training/conftest.py::TINY`.
TINY = (
    *("precision=fp32", "image.high_size=64", "image.low_size=32", "masking.image_ratio=0.75"),
    *("model.vision={width: 48, depth: 2, heads: 3, patch: 8}", "model.decoder={width: 32, depth: 1, heads: 2}"),
    *("model.text={width: 48, depth: 1, heads: 2, ffn: 64, dropout: 0.1}", "text.max_tokens=64"),
    *("batch={total: 8, micro: 4}", "schedule={epochs: 3, warmup_epochs: 0.5, horizon_epochs: 3}"),
    *("checkpoint.every_steps=2", "log_every=1", "loader={threads: 1, prefetch: 2}"),
)
_SHOWN = 14  # last lines of what a command prints
_MARK = "ECAMP_JOURNEY"  # in the environment of all that a journey starts
_PASSED_ON = ("PYTHONPATH", "OMP_NUM_THREADS", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "TRITON_INTERPRET")
_CACHES = {".cache", ".triton", ".config", ".nv", ".local", ".rustup"}  # the last by pip, which asks rustc what it is


class Broken(AssertionError):
    """A journey does not go as a user was told."""


class Skipped(Exception):
    """A journey that this tree or this machine has no way for; its words say what is missing."""


def tiny(*changes: str) -> str:
    """``--set`` of TINY and of changes, as a shell reads them; a change stands for what TINY says of its key."""
    changed = {_key(change) for change in changes}
    kept = [change for change in TINY if _key(change) not in changed]
    return " ".join(f"--set {shlex.quote(change)}" for change in (*kept, *changes))


def with_tiny(command: str) -> str:
    """A command with TINY in the place of the word, but for keys that it sets itself: `train` refuses one key twice."""
    changed = {found[1] for found in re.finditer(r"--set '?([\w.]+)=", command)}
    own = " ".join(f"--set {shlex.quote(change)}" for change in TINY if _key(change) not in changed)
    return re.sub(r"\bTINY( TINY)*\b", lambda _: own, command)


def _key(change: str) -> str:
    return change.partition("=")[0]


@dataclass(frozen=True)
class Typed:
    """What a command left with, and said."""

    command: str
    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line of its result, or of all that it says where it prints none."""
        lines = (self.out.strip() or self.err.strip()).splitlines()
        return lines[-1] if lines else ""

    def judge(self, code: int = 0, says: Sequence[str] = (), never: Sequence[str] = ("Traceback",)) -> "Typed":
        """Raises Broken where it left otherwise, does not say what it should or says what it never should."""
        both = self.out + self.err
        if self.code != code:
            raise Broken(f"$ {self.command}\nleft with {self.code}, not {code}:\n{both[-3000:]}")
        if missing := [words for words in says if words not in both]:
            raise Broken(f"$ {self.command}\ndoes not say {missing[0]!r}:\n{both[-3000:]}")
        if found := [words for words in never if words in both]:
            raise Broken(f"$ {self.command}\nsays {found[0]!r}:\n{both[-3000:]}")
        return self


class Walk:
    """A user in a folder of their own.

    here    the folder in which commands are typed; links to the checkout's folders lie in it
    home    HOME, empty at first   short  whether sizes are those of the suite
    """

    def __init__(self, short: bool = False, parent: Path | None = None) -> None:
        self.short = short
        self.folder = Path(tempfile.mkdtemp(prefix="ecamp-journey-", dir=parent)).resolve()
        self.here, self.home = self.folder / "here", self.folder / "home"
        for folder in (self.home, self.folder / "tmp", self.folder / "bin"):
            folder.mkdir()
        self._link()
        kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        self.env = kept | {"HOME": str(self.home), "TMPDIR": str(self.folder / "tmp"), "LANG": "C.UTF-8"}
        self.env |= {"TERM": "dumb", "PATH": os.pathsep.join([str(self.folder / "bin"), str(BIN), os.environ["PATH"]])}
        self.env |= {_MARK: str(self.folder)}
        self._before = untracked()
        self.prefab: Prefab | None = None
        self.grace = 10.0  # seconds that processes have to end

    def need(self, *names: str) -> None:
        """Put prefabricated things here: ``RUN``, or ``RUN:runs/first`` under another name."""
        for name in names:
            thing, _, target = name.partition(":")
            if self.prefab is None:
                self.prefab = Prefab(Walk(self.short, self.folder))
            self.prefab.place(thing, self.here / (target or thing))

    def type(
        self,
        command: str,
        code: int | None = 0,
        says: Sequence[str] = (),
        never: Sequence[str] = ("Traceback",),
        env: Mapping[str, str] | None = None,
        timeout: float = 900,
    ) -> Typed:
        """Run a line as bash has it and judge it.  code: None: whatever it leaves with"""
        tell(f"$ {shown(command)}")
        began = time.monotonic()
        try:
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", command],
                **self._place(env),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as late:
            raise Broken(f"$ {command}\nhas not ended after {timeout:.0f} s") from late
        typed = Typed(command, done.returncode, done.stdout, done.stderr)
        show(typed.out + typed.err)
        tell(f"  [{typed.code}, {time.monotonic() - began:.1f} s]")
        return typed if code is None else typed.judge(code, says, never)

    def start(self, command: str, env: Mapping[str, str] | None = None) -> "Running":
        """The same in the foreground of a terminal of its own: goes on while the journey does something."""
        tell(f"$ {shown(command)}")
        log = self.folder / f"log-{time.monotonic_ns()}"
        with open(log, "wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", command], **self._place(env), stdout=file, stderr=file, start_new_session=True
            )
        return Running(command, process, log)

    def tool(self, name: str, text: str) -> None:
        """A stand-in: a program of this name, first on PATH."""
        file = self.folder / "bin" / name
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755)

    @contextlib.contextmanager
    def at(self, place: Path, bare: bool = False) -> Iterator[None]:
        """For a while another folder, with the links to the checkout if it is not to be bare."""
        before, self.here = self.here, place
        place.mkdir(parents=True) if bare else self._link()
        yield
        self.here = before

    def _link(self) -> None:
        self.here.mkdir(parents=True, exist_ok=True)
        for name in CHECKOUT:
            (self.here / name).symlink_to(ROOT / name)
        (self.here / ".venv").symlink_to(BIN.parent)

    def state(self, run: str) -> dict[str, Any]:
        """run_state.json; empty before there is one."""
        file = self.here / run / "run_state.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def left(self) -> list[int]:
        """Processes of this journey that still run."""
        wanted, found = f"{_MARK}={self.folder}".encode(), []
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if process.name.isdecimal() and wanted in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return found

    def close(self, broken: bool = False) -> None:
        """Remove all of it.  Raises Broken where something was left: a process, a file in HOME or in the checkout."""
        stop = time.monotonic() + self.grace
        while (left := self.left()) and time.monotonic() < stop:
            time.sleep(0.1)
        names = [process_name(pid) for pid in left]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        told = leftovers(names, {path.name for path in self.home.iterdir()}, untracked() - self._before)
        shutil.rmtree(self.folder, ignore_errors=True)
        if told and not broken:
            raise Broken("; ".join(told))

    def _place(self, env: Mapping[str, str] | None) -> dict[str, Any]:
        return {"cwd": self.here, "env": {**self.env, **(env or {})}, "stdin": subprocess.DEVNULL}


class Running:
    """A command in the foreground of its terminal."""

    def __init__(self, command: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.command, self.process, self._log = command, process, log

    def until(self, condition: Callable[[], object], timeout: float = 300) -> None:
        """Raises Broken where it ends before, or the condition does not come."""
        stop = time.monotonic() + timeout
        while not condition():
            if self.process.poll() is not None or time.monotonic() > stop:
                raise Broken(f"$ {self.command}\nended too early, or waits for ever:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.02)

    def press(self, number: int = signal.SIGINT) -> None:
        """A terminal's key: Ctrl-C for all processes in its foreground."""
        tell(f"  ^ {signal.Signals(number).name}")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self, timeout: float = 300) -> Typed:
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired as late:
            raise Broken(f"$ {self.command}\nhas not ended after {timeout:.0f} s") from late
        typed = Typed(self.command, code, self._log.read_text(errors="replace"), "")
        show(typed.out)
        tell(f"  [{code}]")
        return typed


def check(holds: object, what: str) -> None:
    """Raises Broken with what should have held."""
    tell(f"  {'ok   ' if holds else 'WRONG'} {what}")
    if not holds:
        raise Broken(what)


def check_file(path: Path, least: int = 1) -> None:
    """A file is there and holds so many bytes at least."""
    check(path.is_file() and path.stat().st_size >= least, f"{path.name} is there, with {least} bytes or more")


def check_complete(state: Mapping[str, Any]) -> None:
    """run_state.json is of a run that is complete."""
    check(
        state.get("status") == "complete" and state.get("step"), f"run_state.json says complete: {state.get('status')}"
    )


def leftovers(processes: Sequence[str], in_home: set[str], in_checkout: set[str]) -> list[str]:
    """What a journey may not leave behind, in words."""
    told = [f"left a process: {name}" for name in processes]
    told += [f"left ~/{name}" for name in sorted(in_home - _CACHES)]
    return told + [f"left {name} in the checkout" for name in sorted(in_checkout - {"build", ".hypothesis"})]


def load_beside(path: Path) -> ModuleType:
    """A module by its file: instruments of other tests."""
    name = "_".join(path.relative_to(ROOT).with_suffix("").parts)
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(str(path))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def untracked() -> set[str]:
    """What lies in the checkout and is no part of it."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return set(os.listdir(ROOT)) - {name.partition("/")[0] for name in listed.splitlines()}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def process_name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120]
    return str(pid)


def shown(command: str) -> str:
    """A command as a person would like to read it: TINY in one word."""
    for change in TINY:
        command = command.replace(f"--set {shlex.quote(change)}", "--set ...")
    return re.sub(r"--set \.\.\.( --set \.\.\.)+", "--set ...", command)


def show(text: str) -> None:
    lines = text.rstrip().splitlines()
    if len(lines) > _SHOWN:
        tell(f"  ... {len(lines) - _SHOWN} lines")
    for line in lines[-_SHOWN:]:
        tell(f"  {line[:300]}")


def tell(line: str) -> None:
    print(line, flush=True)


@contextlib.contextmanager
def walking(short: bool = False, parent: Path | None = None) -> Iterator[Walk]:
    """A walk that leaves nothing behind, however it ends."""
    walk = Walk(short, parent)
    try:
        yield walk
    except BaseException:
        walk.close(broken=True)
        raise
    walk.close()


def program(journey: Callable[[Walk], object], arguments: Sequence[str] | None = None) -> int:
    """A journey as a program.  returns its exit code: 1 where it is broken"""
    parser = argparse.ArgumentParser(description=sys.modules[journey.__module__].__doc__)
    parser.add_argument("--short", action="store_true", help="with the sizes of the suite")
    parser.add_argument("--scratch", type=Path, help="where its folder is made; default: the system's")
    chosen = parser.parse_args(arguments)
    try:
        with walking(chosen.short, chosen.scratch) as walk:
            journey(walk)
    except Skipped as why:
        tell(f"skipped: {why}")
    except Broken as what:
        tell(f"BROKEN: {what}")
        return 1
    return 0
