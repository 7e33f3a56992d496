"""Tensors and ranges of tensors in safetensors files."""

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ecamp_fast.run.checkpoint.tensor_file import DTYPES, Piece, pieces_of, write_pieces


def test_any_reader_of_safetensors_reads_them(tmp_path: Path) -> None:
    """Also where lengths leave the next tensor at an odd place."""
    tensors = {f"{i}/{dtype}": torch.arange(3 * i).to(dtype).view(3, i) for i, dtype in enumerate(DTYPES) if i}
    tensors |= {"scalar": torch.tensor(7), "none": torch.empty(0, 4), "transposed": torch.arange(6.0).view(2, 3).T}
    write_pieces(tmp_path / "file", pieces_of(tensors))
    read = load_file(tmp_path / "file")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and read[name].equal(tensor), name


def test_a_range_is_named_by_its_place(tmp_path: Path) -> None:
    tensor = torch.arange(12.0).view(3, 4)
    pieces = {"a": Piece(tensor.view(-1)[3:8], (3, 4), 3), "b": Piece(tensor.view(-1), (3, 4))}
    write_pieces(tmp_path / "file", pieces)
    read = load_file(tmp_path / "file")
    assert read["a[3:8]"].tolist() == [3, 4, 5, 6, 7] and read["b"].equal(tensor)
    assert not pieces["a"].is_whole and pieces["b"].is_whole and pieces["a"].stop == 8


def test_the_entry_is_that_of_the_bytes(tmp_path: Path) -> None:
    entry = write_pieces(tmp_path / "file", pieces_of({"a": torch.arange(5.0)}))
    data = (tmp_path / "file").read_bytes()
    assert entry == {"name": "file", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0 and json.loads(data[8 : 8 + length])["a"]["data_offsets"] == [0, 20]


def test_nobody_else_reads_it_and_no_link_is_followed(tmp_path: Path) -> None:
    write_pieces(tmp_path / "file", pieces_of({"a": torch.ones(2)}))
    assert (tmp_path / "file").stat().st_mode & 0o077 == 0
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        write_pieces(tmp_path / "link", pieces_of({"a": torch.ones(2)}))
    assert not (tmp_path / "elsewhere").exists()
