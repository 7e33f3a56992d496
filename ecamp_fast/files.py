"""Writing files so that a crash leaves the old one or the new one, never half of either; for their owner alone."""

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from ecamp_fast.errors import StorageError
from ecamp_fast.fault_points import reach
from ecamp_fast.strict_json import dump_json

LOCK = "LOCK"  # the file that ``only_one`` locks


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: temporary file beside it, fsync, rename, fsync of the folder.

    A file that was there keeps its permissions; a new one is for its owner alone.
    Raises StorageError when the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.tmp-{uuid4().hex}")  # threads, and containers, share process ids
    try:
        with open_private(temporary, "wb") as file:
            reach("write", file=path.name)
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
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


def open_private(path: Path, mode: str) -> IO[Any]:
    """``open``; a file that it makes is for its owner alone, since it may hold what is known of patients."""
    encoding = None if "b" in mode else "utf-8"
    return open(path, mode, encoding=encoding, opener=lambda name, flags: os.open(name, flags, 0o600))


def write_json(path: Path, value: Any) -> None:
    """``value`` as indented JSON, atomically."""
    write_atomically(path, (dump_json(value, indent=1) + "\n").encode())


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


def sha256_of(path: Path) -> str:
    """Of a file's content, in hexadecimal.  Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rename(source: Path, target: Path) -> None:
    """Rename a file or folder; its parent is synced.  Raises OSError."""
    reach("rename", file=target.name)
    os.replace(source, target)
    sync(target.parent)


@contextmanager
def new_folder(path: Path) -> Generator[Path]:
    """A folder to fill, which is called ``path`` once it is whole; where that fails nothing of it is left.

    Its files and folders are for their owner alone, and are synced. Raises StorageError where the disk refuses.
    """
    require_folder(path.parent, "the folder")
    temporary = path.with_name(f".{path.name}.tmp-{uuid4().hex}")
    try:
        temporary.mkdir(mode=0o700, parents=True)
        yield temporary
        for inside in sorted(temporary.rglob("*"), reverse=True):  # what a folder holds before the folder
            inside.chmod(0o700 if inside.is_dir() else 0o600)
            sync(inside)
        sync(temporary)
        rename(temporary, path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}", "free space, or check permissions") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def folder_fault(place: Path) -> str:
    """Why nothing can be written to the folder ``place``, which need not exist yet; '' if it can. Leaves nothing."""
    folder = place
    try:
        while not folder.exists() and folder != folder.parent:
            if folder.is_symlink():
                return f"{folder} is a link to {os.readlink(folder)}, which is not there"
            folder = folder.parent
        if not folder.is_dir():
            return f"{folder} is a file"
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".ecamp-fast-") as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def missing_folder(folder: Path) -> str:
    """Why there is nothing to read in ``folder``: it is not there, or is a file; '' where it is a folder."""
    if os.path.isdir(folder):
        return ""
    return f"{folder} is a file, no folder" if os.path.exists(folder) else f"no such folder: {folder}"


def require_folder(place: Path, option: str = "--out") -> None:
    """Raises StorageError where nothing can be written to the folder ``place``, which need not exist yet."""
    if fault := folder_fault(place):
        raise StorageError(f"{option} {place}: {fault}", "choose another, or fix its permissions")


def require_file(path: Path) -> None:
    """Raises StorageError where no file ``path`` can be written: its folder is not there, or it is one itself."""
    if path.is_dir():
        raise StorageError(f"{path} is a folder", "name a file")
    if not path.parent.is_dir():
        raise StorageError(f"{path.parent} is no folder", "make it, or choose another path")
    require_folder(path.parent, "the folder")


@contextmanager
def only_one(folder: Path, doing: str) -> Generator[None]:
    """Within it no other process enters for the same folder; one that is killed has left.

    doing: what the other one does, for the error   Raises StorageError.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StorageError(f"cannot lock {folder}: {error.strerror}", "check permissions, or another OUT") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StorageError(f"{folder}: another process {doing} there", "wait for it, or choose another OUT") from None
    except OSError as error:
        os.close(descriptor)
        raise StorageError(f"cannot lock {folder}: {error.strerror}", "choose an OUT on another file system") from None
    try:
        yield
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """fsync a file or a folder that is already written."""
    reach("fsync", file=path.name)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
