"""Saving behind a running loop: a snapshot into memory that is kept, then the disk, while training goes on."""

import threading
import time
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ecamp_fast.errors import StorageError
from ecamp_fast.run.checkpoint.agreement import Ranks
from ecamp_fast.run.checkpoint.commit import save
from ecamp_fast.run.checkpoint.manifest import Position, name_of
from ecamp_fast.run.checkpoint.retention import Retention, note_best
from ecamp_fast.run.checkpoint.tensor_file import Piece, pieces_of


@dataclass(frozen=True)
class Request:
    """A checkpoint to be saved, and what stays beside it.

    best        its held-out loss, where none before was lower
    milestones  steps whose checkpoints stay
    before      steps: of each, the newest checkpoint at or before it stays
    """

    position: Position
    best: float | None = None
    milestones: Collection[int] = ()
    before: Collection[int] = ()


@dataclass(frozen=True)
class Outcome:
    """How a save went.

    path     of the checkpoint; where ``fault`` is set, what it would have been
    stall    seconds that training stood still for it
    seconds  until it was on the disk
    untidy   what the disk refused afterwards: to note the best, to purge
    """

    request: Request
    path: Path
    stall: float
    seconds: float
    fault: Exception | None = None
    untidy: str = ""


class Saver:
    """Saves the checkpoints of a run, one at a time; every rank has one and calls it at the same steps.

    folder      of the checkpoints
    ranks       of the run
    keep        how many of the newest stay
    background  whether ``save`` returns once the tensors are copied; False: when they are on the disk
    """

    def __init__(self, folder: Path, ranks: Ranks, keep: int, background: bool = True) -> None:
        self._folder, self._ranks, self._background = folder, ranks, background
        self._retention = Retention(folder, keep)
        self._buffers: dict[str, Tensor] = {}
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._done: deque[Outcome] = deque()

    def save(self, tensors: Mapping[str, Tensor | Piece], request: Request) -> None:
        """Begin a save; waits for the one before it. How it went, ``finished`` says."""
        began = time.perf_counter()
        self._await()
        pieces = pieces_of(tensors)
        if not self._background:
            self._run(pieces, request, began, None)
            return
        kept = self._snapshot(pieces)
        stall = time.perf_counter() - began
        self._thread = threading.Thread(target=self._run, args=(kept, request, began, stall), daemon=True)
        self._thread.start()

    def finished(self) -> list[Outcome]:
        """How the saves went that have ended since the last call; does not wait."""
        return [self._done.popleft() for _ in range(len(self._done))]

    def wait(self) -> None:
        """Until none is under way. No attempt is put off meanwhile: somebody waits."""
        self._stopping.set()
        self._await()
        self._stopping.clear()

    def _await(self) -> None:
        if self._thread:
            self._thread.join()
            self._thread = None

    def _run(self, pieces: dict[str, Piece], request: Request, began: float, stall: float | None) -> None:
        path, fault, untidy = self._folder / name_of(request.position.step), None, ""
        try:
            save(self._folder, pieces, request.position, self._ranks, self._stopping.wait)
            untidy = self._tidy(path, request) if self._ranks.rank == 0 else ""
        except Exception as error:  # for the loop to judge: this may be a thread of its own
            fault = error
        seconds = time.perf_counter() - began
        self._done.append(Outcome(request, path, seconds if stall is None else stall, seconds, fault, untidy))

    def _tidy(self, path: Path, request: Request) -> str:
        """Note the best, purge; what the disk refused, in words: the checkpoint stands all the same."""
        try:
            if request.best is not None:
                note_best(path, request.best)
            self._retention.purge(request.milestones, request.before)
        except (OSError, StorageError) as error:
            return str(error)
        return ""

    def _snapshot(self, pieces: Mapping[str, Piece]) -> dict[str, Piece]:
        """The pieces in memory of the host that is kept from save to save."""
        for name, piece in pieces.items():
            values, buffer = piece.values, self._buffers.get(name)
            if buffer is None or buffer.shape != values.shape or buffer.dtype != values.dtype:
                self._buffers[name] = torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda)
            self._buffers[name].copy_(values, non_blocking=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return {name: replace(piece, values=self._buffers[name]) for name, piece in pieces.items()}
