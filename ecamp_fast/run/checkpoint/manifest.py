"""What a checkpoint holds: its files, where each tensor lies in them, where the run stood; and the proof of it.

The digest at the end of MANIFEST.json is that of every byte before it, so the file is judged before it is parsed.
"""

import errno
import hashlib
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ecamp_fast import __version__
from ecamp_fast.files import write_new

FORMAT = 2
STATE_BYTES = 12  # of a checkpoint, per parameter: float32 weight and two moments
ROOM = 1.2  # free space that a save asks for, in its own size
MANIFEST = "MANIFEST.json"
LARGEST = 2**28  # bytes of a manifest
SHOWN = 60  # characters of a value in a message
_SEAL = re.compile(rb',\n"digest": "([0-9a-f]{64})"}\n')
_SEAL_BYTES = len(b',\n"digest": ""}\n') + 64


class StrictModel(BaseModel):
    """Part of a manifest: no key and no kind but its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Position(StrictModel):
    """Where a run stands, and what it must not be mixed with.

    step      optimizer steps done
    data      digest of the shard set's manifest
    settings  what computes the numbers, by kind ("recipe", "deepspeed", "layout"): dotted keys and their values
    left_out  steps whose updates are to be left out when they come
    """

    step: int = Field(ge=0, lt=10**18)
    data: str = ""
    settings: dict[str, dict[str, Any]] = {}
    left_out: list[int] = []


class FileEntry(StrictModel):
    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class StoredRange(StrictModel):
    """The range [start, stop) of a flattened tensor, under ``key`` in file number ``file``."""

    file: int = Field(ge=0)
    key: str
    start: int = Field(ge=0)
    stop: int = Field(ge=0)


class TensorEntry(StrictModel):
    shape: list[Annotated[int, Field(ge=0)]]
    parts: list[StoredRange]

    def gap(self) -> int | None:
        """Where its parts leave a gap or overlap; None where they make a whole."""
        end = 0
        for part in sorted(self.parts, key=lambda part: (part.start, part.stop)):
            if part.start != end or part.stop < part.start:
                return end
            end = part.stop
        return None if end == math.prod(self.shape) else end


class CheckpointManifest(StrictModel):
    format: int
    position: Position
    files: list[FileEntry]
    tensors: dict[str, TensorEntry]
    versions: dict[str, str]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(entry.bytes for entry in self.files)


class Unreadable(ValueError):
    """Why a folder is no checkpoint."""


def name_of(step: int) -> str:
    """The folder of a step's checkpoint."""
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step in the name of a checkpoint's folder; None for any other name."""
    found = re.fullmatch(r"step-(\d{8,18})", name)
    return int(found[1]) if found and name == name_of(int(found[1])) else None


def write_manifest(
    folder: Path, position: Position, files: list[dict[str, Any]], tensors: dict[str, dict[str, Any]]
) -> None:
    """Seal a checkpoint's folder; synced.  Raises OSError."""
    import torch

    body = {
        "format": FORMAT,
        "position": position.model_dump(mode="json"),
        "files": files,
        "tensors": tensors,
        "versions": {"ecamp_fast": __version__, "torch": torch.__version__},
    }
    text = json.dumps(body, indent=0, allow_nan=False).removesuffix("\n}").encode()
    seal = hashlib.sha256(text).hexdigest()
    write_new(folder / MANIFEST, [text, f',\n"digest": "{seal}"}}\n'.encode()])


def read_manifest(folder: Path) -> CheckpointManifest:
    """The manifest of a checkpoint, proven by its digest.  Raises Unreadable that says why there is none."""
    try:
        data = _bytes(folder)
    except OSError as error:
        raise Unreadable(f"no readable {MANIFEST} ({error.strerror})") from None
    text, seal = data[:-_SEAL_BYTES], _SEAL.fullmatch(data[-_SEAL_BYTES:])
    if seal is None:
        raise Unreadable(_without_seal(data))
    if hashlib.sha256(text).hexdigest().encode() != seal[1]:
        raise Unreadable(f"{MANIFEST} is damaged (digest differs)")
    try:
        tree = json.loads(text + b"}")
        if tree.get("format") != FORMAT:
            raise Unreadable(f"format {str(tree.get('format'))[:SHOWN]}, this version reads {FORMAT}")
        return CheckpointManifest.model_validate(tree)
    except Unreadable:
        raise
    except (ValueError, RecursionError, AttributeError, ValidationError) as error:
        raise Unreadable(f"{MANIFEST} is none of this version ({type(error).__name__})") from None


def is_former(folder: Path) -> bool:
    """Whether a checkpoint has the format of versions up to 0.1: DeepSpeed's pickles behind a manifest of ours."""
    try:
        return _is_former(_bytes(folder))
    except OSError:
        return False


def _bytes(folder: Path) -> bytes:
    """Of the manifest.  Raises OSError, also where it is no plain file: opening a pipe would wait."""
    descriptor = os.open(folder / MANIFEST, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no plain file")
        return file.read(LARGEST + 1)


def _is_former(data: bytes) -> bool:
    return re.match(rb'\s*\{\s*"format":\s*1\s*,', data) is not None


def _without_seal(data: bytes) -> str:
    return "format 1, of versions up to 0.1" if _is_former(data) else f"{MANIFEST} is damaged (its end is missing)"
