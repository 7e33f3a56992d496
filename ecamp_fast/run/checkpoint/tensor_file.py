"""Tensors in safetensors files, whole or in pieces: a rank writes its range of a tensor, any other rank reads it."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecamp_fast.files import write_new

DTYPES = {  # as safetensors calls them
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
ALIGNMENT = 8  # bytes, of the first tensor in a file


@dataclass(frozen=True)
class Piece:
    """The range [start, start + len(values)) of a flattened tensor.

    values  1-d
    shape   of the whole tensor
    """

    values: Tensor
    shape: tuple[int, ...]
    start: int = 0

    @property
    def stop(self) -> int:
        return self.start + len(self.values)

    @property
    def is_whole(self) -> bool:
        return len(self.values) == math.prod(self.shape)

    def key(self, name: str) -> str:
        """Its name in a file."""
        return name if self.is_whole else f"{name}[{self.start}:{self.stop}]"


def pieces_of(tensors: Mapping[str, Tensor | Piece]) -> dict[str, Piece]:
    """Each as a piece; a tensor is a whole one."""
    return {
        name: value if isinstance(value, Piece) else Piece(value.detach().reshape(-1), tuple(value.shape))
        for name, value in tensors.items()
    }


def write_pieces(path: Path, pieces: Mapping[str, Piece]) -> dict[str, Any]:
    """Write a new file and sync it. Returns its entry of a manifest: name, bytes, sha256.

    Raises OSError where the disk refuses.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, piece in pieces.items():
        begin, end = end, end + piece.values.nbytes
        shape = piece.shape if piece.is_whole else (len(piece.values),)
        about = {"dtype": DTYPES[piece.values.dtype], "shape": list(shape), "data_offsets": [begin, end]}
        header[piece.key(name)] = about
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % ALIGNMENT)
    digest = write_new(path, _chunks(len(head).to_bytes(8, "little") + head, pieces.values()))
    return {"name": path.name, "bytes": 8 + len(head) + end, "sha256": digest}


def _chunks(head: bytes, pieces: Iterable[Piece]) -> Iterator[memoryview]:
    yield memoryview(head)
    for piece in pieces:
        if len(piece.values):
            yield piece.values.cpu().contiguous().view(torch.uint8).numpy().data
