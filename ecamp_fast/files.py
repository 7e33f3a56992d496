"""Writing files so that a crash leaves the old one or the new one, never half of either."""

import hashlib
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

from ecamp_fast.errors import StorageError
from ecamp_fast.fault_points import reach

NOT_FINITE = "not_finite"  # key of the list of where null stands for a NaN or an infinity


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: temporary file beside it, fsync, rename, fsync of the folder.

    Raises StorageError when the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.tmp-{uuid4().hex}")  # threads, and containers, share process ids
    try:
        with open(temporary, "wb") as file:
            reach("write", file=path.name)
            file.write(data)
            file.flush()
            reach("fsync", file=path.name)
            os.fsync(file.fileno())
        reach("rename", file=path.name)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}", "free space, or check permissions") from error


def write_json(path: Path, value: Any) -> None:
    """``value`` as indented JSON, atomically."""
    write_atomically(path, (strict_json(value, indent=1) + "\n").encode())


def strict_json(value: Any, indent: int | None = None) -> str:
    """JSON as its standard has it, which knows no NaN and no infinity: null stands for them.

    Where ``value`` is an object, its key ``not_finite`` then lists where, keys joined by dots.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        found: list[str] = []
        value = _finite(value, "", found)
        if isinstance(value, dict):
            value |= {NOT_FINITE: found}
        return json.dumps(value, indent=indent, allow_nan=False)


def parse_json(text: str) -> Any:
    """What ``strict_json`` was given, NaN for all that was not finite.  Raises ValueError where it is no JSON."""
    value = json.loads(text)
    try:
        for path in value.pop(NOT_FINITE, ()) if isinstance(value, dict) else ():
            *above, last = path.split(".")
            part = value
            for key in above:
                part = part[int(key) if isinstance(part, list) else key]
            part[int(last) if isinstance(part, list) else last] = math.nan
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"{NOT_FINITE} does not list what is there ({type(error).__name__})") from None
    return value


def _finite(value: Any, path: str, found: list[str]) -> Any:
    """``value`` with None for what is not finite; ``found`` receives where that was."""
    if isinstance(value, dict):
        return {key: _finite(part, f"{path}.{key}".lstrip("."), found) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part, f"{path}.{i}".lstrip("."), found) for i, part in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        found.append(path)
        return None
    return value


def write_new(path: Path, chunks: Iterable[bytes | memoryview]) -> str:
    """Write a file that nobody else may read, in place of one of its name, and sync it.

    returns its sha256. Raises OSError where the disk refuses.
    """
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb", buffering=0) as file:
        for chunk in chunks:
            reach("write", file=path.name)
            rest = memoryview(chunk)
            while len(rest):
                rest = rest[file.write(rest) or 0 :]
            digest.update(chunk)
        reach("fsync", file=path.name)
        os.fsync(descriptor)
    return digest.hexdigest()


def rename(source: Path, target: Path) -> None:
    """Rename a file or folder; its parent is synced.  Raises OSError."""
    reach("rename", file=target.name)
    os.replace(source, target)
    sync(target.parent)


def sync(path: Path) -> None:
    """fsync a file or a folder that is already written."""
    reach("fsync", file=path.name)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
