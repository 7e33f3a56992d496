"""The run directory: what a run is, where it stands, and what happened in it."""

import os
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from ecamp_fast.errors import ConfigError, DataError, StorageError
from ecamp_fast.fault_points import reach
from ecamp_fast.files import missing_folder, open_private, write_json
from ecamp_fast.printable import one_line
from ecamp_fast.strict_json import dump_json, parse_record

MOST_WAITING = 100_000  # lines of a file that the disk refuses, kept in memory

WRITING = threading.RLock()  # run_state.json is read, changed and written by two threads of rank 0
OF_A_RUN = (
    *("recipe.yaml", "ds_config.json", "run_state.json", "results.json"),
    *("metrics.jsonl", "events.jsonl", "quarantine.jsonl", "flight.bin"),
    *("checkpoints", "deepspeed", "tensorboard", "tracker", "weights.safetensors", "report.html", "profile", "endings"),
)
SIGNS = ("run_state.json", "checkpoints", "metrics.jsonl", "events.jsonl", "flight.bin")  # of these one tells a run
MAY_LIE_THERE = (
    *OF_A_RUN,
    *("LOCK", "HEARTBEAT", "STOP", "previous-*", "stacks-rank*.txt", "made-by-demo", "phantoms*"),
    *(".*", "*.log", "*.out", "*.err", "slurm-*"),  # where launchers and job scripts write
)
OF_A_SET = ("MANIFEST.json", "INDEX.bin", "tokenizer.json", "NOTICE.txt", "journal", "*.tar", "*.idx")
_SHOWN = 3  # names of what is in the way


class RunDir:
    """RUN/: recipe.yaml, ds_config.json, run_state.json, metrics.jsonl, events.jsonl, flight.bin, checkpoints/,
    report.html.

    While it runs, LOCK and HEARTBEAT too.
    ``run_state.json`` is the truth about a run: the launcher's exit code is not (it is 0 when the launcher was killed).
    Only rank 0 writes, quarantine.jsonl apart; other ranks construct it with ``writes=False``.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path = path
        self.writes = writes
        self._waiting: dict[str, deque[str]] = {}  # lines that the disk refused, by file
        self._facts: dict[str, Any] = {}  # of run_state.json, likewise
        self._told: set[str] = set()
        self._created = False  # whether the folder is of this object's making

    def create(self) -> None:
        """Make the folder for its owner alone, if it is not there; writing makes it too.  Raises OSError."""
        try:
            self.path.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            if not self.path.is_dir():
                raise
        else:
            self._created = True

    def remove_unused(self) -> None:
        """Take away again the folder that ``create`` made, where nothing came into it."""
        if self._created:
            with suppress(OSError):
                self.path.rmdir()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def stop_file(self) -> Path:
        """Its presence asks the run to save and stop at the next step."""
        return self.path / "STOP"

    def stop_asked(self) -> int | None:
        """When a stop was last asked for, nanoseconds; None where none is."""
        try:
            return self.stop_file.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def forget_stop(self, asked: int | None) -> None:
        """Take back the request of that time, which was meant for an earlier run; a later one stays."""
        if asked is not None and self.stop_asked() == asked:
            self.stop_file.unlink(missing_ok=True)

    def state(self) -> dict[str, Any]:
        """run_state.json, empty where there is none yet. Raises DataError when it cannot be read."""
        file = self.path / "run_state.json"
        if not file.exists():
            return {}
        try:
            found = parse_record(file.read_bytes())
            if not isinstance(found, dict):
                raise ValueError("no object")
            return found
        except (OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read ({type(error).__name__})", "delete it: checkpoints stay") from None

    def set_state(self, **facts: Any) -> None:
        """Merge ``facts`` into run_state.json, atomically; where the disk refuses, the next call brings them too."""
        if not self.writes:
            return
        with WRITING:
            self._facts |= facts
            try:
                self.create()
                write_json(self.path / "run_state.json", self.state() | self._facts)
            except (OSError, StorageError) as error:
                self._refused("run_state.json", error)
            else:
                self._facts = {}

    def event(self, kind: str, **facts: Any) -> None:
        """Append a line to events.jsonl: saves, rejected checkpoints, signals, skipped steps."""
        self._append("events.jsonl", {"event": kind, **facts, "time": round(time.time(), 3)})

    def metric(self, record: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        self._append("metrics.jsonl", record)

    def quarantined(self, record: dict[str, Any]) -> None:
        """Append a line to quarantine.jsonl: a damaged sample, and what was read instead. Every rank has its own."""
        self._write("quarantine.jsonl", record | {"time": round(time.time(), 3)})

    def set_aside(self) -> None:
        """Move what an earlier run left here into ``previous-N``: nothing is lost when a run starts over."""
        kept = [self.path / name for name in OF_A_RUN if (self.path / name).exists()]  # a shard set may lie beside them
        if self.writes and kept:
            target = self.path / f"previous-{len(list(self.path.glob('previous-*'))) + 1}"
            target.mkdir()
            for path in kept:
                path.rename(target / path.name)

    def _append(self, name: str, record: dict[str, Any]) -> None:
        if self.writes:
            self._write(name, record)

    def _write(self, name: str, record: dict[str, Any]) -> None:
        """Append a line; those that the disk refused wait in memory, and go before it."""
        waiting = self._waiting.setdefault(name, deque(maxlen=MOST_WAITING))
        waiting.append(dump_json(record) + "\n")
        try:
            self.create()
            reach("write", file=name)
            with open_private(self.path / name, "ab+") as file:
                file.write(_line_end(file) + "".join(waiting).encode())
        except OSError as error:
            self._refused(name, error)
        else:
            waiting.clear()

    def _refused(self, name: str, error: Exception) -> None:
        """A log that cannot be written ends no run; it is told once."""
        if name not in self._told:
            self._told.add(name)
            told = f"warning: {self.path / name} cannot be written, training goes on: {error}"
            print(one_line(told), file=sys.stderr)


def _line_end(file: IO[bytes]) -> bytes:
    """What a line needs before it: a full disk, or a crash, can have cut the one that came before."""
    if file.seek(0, os.SEEK_END) == 0:
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"


def require_own(folder: Path) -> None:
    """Raises ConfigError where a run cannot begin or go on in ``folder``: it is no run, and holds what others made.

    A shard set in it or right below it is no hindrance, nor are logs. StorageError where it cannot be looked into.
    """
    if not folder.is_dir():
        return
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise StorageError(f"--out {folder}: {error.strerror}", "choose another, or fix its permissions") from None
    if any(name in SIGNS for name in names):
        return
    known = MAY_LIE_THERE + (OF_A_SET if "MANIFEST.json" in names else ())
    others = [
        name
        for name in names
        if not any(fnmatchcase(name, pattern) for pattern in known) and not (folder / name / "MANIFEST.json").exists()
    ]
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        held = ", ".join(others[:_SHOWN]) + more
        raise ConfigError(f"--out {folder} is no run, and not empty: it holds {held}", "name a new folder, or a run's")


def require_run(run: Path) -> None:
    """Raises ConfigError where a run is to be read and ``run`` is no folder."""
    if fault := missing_folder(run):
        raise ConfigError(fault, "name the folder given as --out")


def read_records(path: Path) -> list[dict[str, Any]]:
    """The objects of a .jsonl file; a line that is none is left out, as the last one is where a crash tore it.

    What was not finite is a NaN.
    """
    if not path.exists():
        return []
    records = []
    for line in path.read_bytes().splitlines():
        try:
            record = parse_record(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def read_metrics(run: Path, split: str = "train") -> list[dict[str, Any]]:
    """metrics.jsonl of one split in step order; a step that was redone after a resume counts once, as redone."""
    records = (r for r in read_records(run / "metrics.jsonl") if r.get("split", "train") == split)
    by_step = {r["step"]: r for r in records if type(r.get("step")) is int}
    return [by_step[step] for step in sorted(by_step)]
