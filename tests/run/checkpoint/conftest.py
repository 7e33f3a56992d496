"""A small state cut among ranks, checkpoints of it, and ranks: threads of this process, or forked ones that may die."""

import hashlib
import json
import os
import select
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from ecamp_fast import fault_points
from ecamp_fast.run.checkpoint import commit
from ecamp_fast.run.checkpoint.agreement import Ranks, StoreRanks
from ecamp_fast.run.checkpoint.find import find
from ecamp_fast.run.checkpoint.manifest import Position
from ecamp_fast.run.checkpoint.read import load
from ecamp_fast.run.checkpoint.tensor_file import Piece

SETTINGS = {"recipe": {"seed": 1}, "deepspeed": {"gradient_clipping": 0.0}, "layout": {"ranks": 2}}
Job = Callable[[Ranks, Callable[[Any], None]], Any]


def whole(step: int) -> dict[str, Tensor]:
    """The state after a step."""
    return {
        "weight/a": torch.arange(30.0).view(6, 5) + step,
        "weight/b": (torch.arange(7.0) * step).bfloat16(),
        "exp_avg/a": torch.arange(30.0).view(6, 5) / (step + 1),
        "steps/a": torch.tensor(float(step)),
        "buffer/c": torch.tensor([step, -step]),
    }


def share(step: int, rank: int, world: int) -> dict[str, Tensor | Piece]:
    """What one of the ranks has of it: a range of the floats, the first alone the rest."""
    found: dict[str, Tensor | Piece] = {}
    for name, tensor in whole(step).items():
        if tensor.dim() and tensor.is_floating_point():
            start, stop = len(tensor.view(-1)) * rank // world, len(tensor.view(-1)) * (rank + 1) // world
            found[name] = Piece(tensor.view(-1)[start:stop], tuple(tensor.shape), start)
        elif rank == 0:
            found[name] = tensor
    return found


def at(step: int, **other: Any) -> Position:
    return Position(**({"step": step, "data": "d", "settings": SETTINGS} | other))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once; no fault of an earlier test is counted."""
    monkeypatch.setattr(commit, "PAUSE", 0.001)
    monkeypatch.setattr(fault_points, "_seen", fault_points.Counter())


def in_threads(job: Callable[[Ranks], Any], world: int = 2, patience: float = 20.0) -> list[Any]:
    """What each rank's job gives or raises, by rank."""
    store, answers = dist.HashStore(), [None] * world

    def run(rank: int) -> None:
        try:
            answers[rank] = job(StoreRanks(store, rank, world, patience))
        except Exception as error:
            answers[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def saved(folder: Path, *steps: int, world: int = 2) -> list[Path]:
    """Checkpoints, committed by ranks together."""

    def job(ranks: Ranks) -> list[Path]:
        return [commit.save(folder, share(step, ranks.rank, world), at(step), ranks) for step in steps]

    found = in_threads(job, world)[0]
    if isinstance(found, Exception):
        raise found
    return found


def found_in(folder: Path, mode: str = "auto", **options: Any) -> tuple[Path | None, list[tuple[str, str]]]:
    """The checkpoint to go on from, and (name, reason) of those rejected."""
    notes: list[tuple[str, str]] = []
    return find(folder, mode, lambda name, reason: notes.append((name, reason)), **options), notes


def is_as_saved(path: Path) -> bool:
    """Whether every number is that of the step in its position."""
    tensors, position = load(path)
    truth = whole(position.step)
    return tensors.keys() == truth.keys() and all(tensors[name].equal(truth[name]) for name in truth)


def left_overs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*tmp*"))


def resealed(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the manifest of a checkpoint, and give it a true digest."""
    file = path / "MANIFEST.json"
    tree = json.loads(file.read_text())
    del tree["digest"]
    change(tree)
    text = json.dumps(tree, indent=0).removesuffix("\n}").encode()
    file.write_bytes(text + f',\n"digest": "{hashlib.sha256(text).hexdigest()}"}}\n'.encode())


@dataclass
class Team:
    """Forked ranks at work."""

    pids: list[int]
    pipes: list[int]
    heard: list[str] = field(default_factory=list)

    def kill(self, *ranks: int) -> None:
        for rank in ranks or range(len(self.pids)):
            if self.pids[rank]:
                os.kill(self.pids[rank], signal.SIGKILL)

    def listen(self, seconds: float) -> None:
        """Hear what they tell, for so long or until all have left."""
        end, open_pipes = time.monotonic() + seconds, [pipe for pipe in self.pipes if pipe >= 0]
        while open_pipes and (rest := end - time.monotonic()) > 0:
            for pipe in select.select(open_pipes, [], [], rest)[0]:
                rank = self.pipes.index(pipe)
                if data := os.read(pipe, 2**16):
                    self.heard[rank] += data.decode()
                else:
                    open_pipes.remove(pipe)
                    os.close(pipe)
                    self.pipes[rank] = -1

    def wait_for(self, rank: int, limit: float = 60.0) -> None:
        """Until a rank has left."""
        end = time.monotonic() + limit
        while self.pipes[rank] >= 0 and time.monotonic() < end:
            self.listen(0.02)

    def reap(self) -> list[int]:
        """Wait for all. Their exit statuses, -9 for those that were killed."""
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.pids]
        self.pids = [0] * len(self.pids)
        return statuses

    def answers(self, limit: float = 60.0) -> list[list[Any]]:
        """What each rank told, by rank. A rank that has not left after ``limit`` seconds fails the test."""
        self.listen(limit)
        late = [rank for rank, pipe in enumerate(self.pipes) if pipe >= 0]
        self.kill()
        self.reap()
        assert not late, f"ranks {late} hang; heard so far: {self.heard}"
        return self.told()

    def told(self) -> list[list[Any]]:
        return [
            [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"] for text in self.heard
        ]


class Crew:
    """Forks ranks that meet in a store of this process, as those of a run do in their launcher's."""

    def __init__(self) -> None:
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._runs = 0
        self._teams: list[Team] = []

    def start(self, job: Job, world: int = 2, fault: str = "", patience: float = 60.0) -> Team:
        """Ranks that do ``job(ranks, tell)``; the fault is that of ECAMP_FAULT.

        None begins before all are forked: the store's thread looks up the name of each that connects, and who is forked
        meanwhile inherits a lock of the C library that nobody opens.
        """
        self._runs += 1
        pids, pipes, (gate, opens) = [], [], os.pipe()
        for rank in range(world):
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(opens)
                os.read(gate, 1)  # until the last that could write is gone
                self._be(job, rank, world, fault, patience, write)
            os.close(write)
            pids.append(pid)
            pipes.append(read)
        os.close(opens)
        os.close(gate)
        self._teams.append(Team(pids, pipes, [""] * world))
        return self._teams[-1]

    def close(self) -> None:
        for team in self._teams:
            team.kill()
            for pid in team.pids:
                if pid:
                    os.waitpid(pid, 0)
            for pipe in team.pipes:
                if pipe >= 0:
                    os.close(pipe)

    def _be(self, job: Job, rank: int, world: int, fault: str, patience: float, pipe: int) -> None:
        def tell(what: Any) -> None:
            os.write(pipe, json.dumps(what).encode() + b"\n")

        try:
            os.environ |= {"RANK": str(rank), "ECAMP_FAULT": fault}
            seconds = timedelta(seconds=60)
            client = dist.TCPStore("127.0.0.1", self._store.port, timeout=seconds, wait_for_workers=False)
            ranks = StoreRanks(dist.PrefixStore(f"run-{self._runs}", client), rank, world, patience)
            try:
                job(ranks, tell)
            except Exception as error:
                tell(f"{type(error).__name__}: {error}")
        finally:
            os._exit(0)


@pytest.fixture
def crew() -> Iterator[Crew]:
    made = Crew()
    yield made
    made.close()


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of checkpoints of steps 1 and 2, by two ranks each; not to be changed."""
    folder = tmp_path_factory.mktemp("two") / "checkpoints"
    saved(folder, 1, 2)
    return folder


@pytest.fixture
def pair(two: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of those: (older, newer)."""
    copy = shutil.copytree(two, tmp_path / "checkpoints")
    return copy / "step-00000001", copy / "step-00000002"


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """The functions above, for tests."""
    shared = (whole, share, at, in_threads, saved, found_in, is_as_saved, left_overs, resealed)
    return SimpleNamespace(**{function.__name__: function for function in shared})
