"""Tensors of a verified checkpoint, whole or by range: whoever reads need not be laid out as those that wrote."""

import math
from collections.abc import Iterator, KeysView
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from ecamp_fast.errors import DataError
from ecamp_fast.run.checkpoint.manifest import Position, StoredRange, TensorEntry, Unreadable, read_manifest


def load(path: Path) -> tuple[dict[str, Tensor], Position]:
    """Every tensor of a checkpoint whole, by name, and its position.  Raises DataError."""
    checkpoint = Checkpoint(path)
    return {name: checkpoint.read(name) for name in checkpoint.names}, checkpoint.position


class Checkpoint:
    """A checkpoint that ``damage`` has found complete, open for reading; files are mapped, not read ahead.

    Raises DataError where this rank cannot read its manifest.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._manifest = read_manifest(path)
        except Unreadable as fault:
            raise DataError(f"checkpoint {path}: {fault}", "use another checkpoint") from None
        self._files: dict[int, Any] = {}

    @property
    def position(self) -> Position:
        return self._manifest.position

    @property
    def names(self) -> KeysView[str]:
        return self._manifest.tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._entry(name).shape)

    def read(self, name: str) -> Tensor:
        """A tensor, whole.  Raises DataError where there is none of that name, or its parts do not make a whole."""
        shape = self.shape(name)
        return self.read_range(name, 0, math.prod(shape)).view(shape)

    def read_range(self, name: str, start: int, stop: int) -> Tensor:
        """1-d: the numbers [start, stop) of the flattened tensor.  Raises DataError as ``read`` does."""
        found = [piece for part in self._parts(name) if len(piece := self._overlap(part, start, stop))]
        if sum(map(len, found)) != stop - start:
            raise DataError(f"{self.path}: {name} is incomplete", "use another checkpoint")
        if not found:
            return torch.empty(0)
        return found[0] if len(found) == 1 else torch.cat(found)

    def _parts(self, name: str) -> Iterator[StoredRange]:
        """In order, without gaps; DataError otherwise."""
        entry = self._entry(name)
        if (gap := entry.gap()) is not None:
            raise DataError(f"{self.path}: {name} has gaps or overlaps at {gap}", "use another checkpoint")
        yield from sorted(entry.parts, key=lambda part: part.start)

    def _entry(self, name: str) -> TensorEntry:
        try:
            return self._manifest.tensors[name]
        except KeyError:
            raise DataError(f"{self.path} holds no {name}", "resume with the recipe it was written by") from None

    def _overlap(self, part: StoredRange, start: int, stop: int) -> Tensor:
        start, stop = max(start, part.start), min(stop, part.stop)
        if start >= stop:
            return torch.empty(0)
        try:
            whole = self._file(part.file).get_tensor(part.key).view(-1)
        except (safetensors.SafetensorError, OSError, IndexError, ValueError) as error:
            raise DataError(f"{self.path}: {part.key} cannot be read ({type(error).__name__})", "") from None
        if len(whole) != part.stop - part.start:
            raise DataError(f"{self.path}: {part.key} has {len(whole)} numbers", "use another checkpoint")
        return whole[start - part.start : stop - part.start]

    def _file(self, number: int) -> Any:
        if number not in self._files:
            path = self.path / self._manifest.files[number].name
            self._files[number] = safetensors.safe_open(path, framework="pt")
        return self._files[number]
