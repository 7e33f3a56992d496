"""Whether a folder is a complete checkpoint: everything in it is judged, and nothing of it is believed before."""

import hashlib
import math
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import safetensors

from ecamp_fast.run.checkpoint.manifest import (
    MANIFEST,
    CheckpointManifest,
    FileEntry,
    Unreadable,
    read_manifest,
    step_of,
)


def damage(path: Path) -> str:
    """Why ``path`` is not a complete checkpoint; an empty string when it is one."""
    if fault := fault_of(path, _listed):
        return fault
    try:
        _match_tensors(path, read_manifest(path))
    except Unreadable as unreadable:
        return str(unreadable)
    return ""


def fault_of(path: Path, listed: Callable[[Path], tuple[int, Sequence[FileEntry]]]) -> str:
    """Why a folder is not what its manifest says; an empty string when it is.

    listed: reads step and files from the manifest; may raise Unreadable, OSError
    """
    try:
        _refuse_strangers(path)
        _match(path, *listed(path))
    except Unreadable as fault:
        return str(fault)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""


def _listed(path: Path) -> tuple[int, Sequence[FileEntry]]:
    manifest = read_manifest(path)
    return manifest.position.step, manifest.files


def _match(path: Path, step: int, files: Sequence[FileEntry]) -> None:
    """The folder holds the files of the manifest, byte for byte, and nothing else."""
    if step_of(path.name) not in (None, step):
        raise Unreadable(f"{MANIFEST} is that of step {step}")
    listed = {entry.name: entry for entry in files}
    found = {item.name for item in os.scandir(path)} - {MANIFEST}
    for name in sorted(listed.keys() - found):
        raise Unreadable(f"{name} is missing")
    for name in sorted(found - listed.keys()):
        raise Unreadable(f"{name!a} does not belong to it")
    for name, entry in listed.items():
        if (size := (path / name).stat().st_size) != entry.bytes:
            raise Unreadable(f"{name} has {size} bytes, not {entry.bytes}")
    for name, entry in listed.items():
        with open(path / name, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                raise Unreadable(f"{name} is damaged (digest differs)")


def _match_tensors(path: Path, manifest: CheckpointManifest) -> None:
    """Every tensor is a whole of parts that the files hold; by chance nothing else has a true digest."""
    lengths = [_lengths(path / entry.name) for entry in manifest.files]
    for name, entry in manifest.tensors.items():
        if (gap := entry.gap()) is not None:
            raise Unreadable(f"{name!a} has gaps or overlaps at {gap}")
        for part in entry.parts:
            if part.file >= len(lengths) or lengths[part.file].get(part.key) != part.stop - part.start:
                raise Unreadable(f"{name!a}: no file holds {part.key!a}")


def _lengths(path: Path) -> dict[str, int]:
    """Key -> numbers of the tensor in a safetensors file."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {key: math.prod(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise Unreadable(f"{path.name} is no safetensors file ({error})") from None


def _refuse_strangers(path: Path) -> None:
    """Only plain files of this user, which nobody else may write to."""
    if not stat.S_ISDIR(path.stat().st_mode):
        raise Unreadable("it is no folder")
    for item in (path, *path.iterdir()):
        found = item.stat() if item == path else item.lstat()
        if item != path and not stat.S_ISREG(found.st_mode):
            raise Unreadable(f"{item.name!a} is no plain file")
        if found.st_uid != os.geteuid() or found.st_mode & stat.S_IWOTH:
            raise Unreadable(f"{item.name!a} is not yours alone: it belongs to another user or anybody may write to it")
