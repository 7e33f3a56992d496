"""The folder a builder writes into: locked against a second builder, for its owner alone, complete or absent."""

import contextlib
import fcntl
import os
import re
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from ecamp_fast.errors import ConfigError, StorageError
from ecamp_fast.files import sync

_LOCK = "BUILDER"
_SET = "set"
_HOLDER = re.compile(rb"process \d+ on |\Z")  # what stands in the lock file; nothing yet, if its build was killed


class Output:
    """Use as a context: ``folder`` is where to write; ``commit`` gives it its final name.

    The set is built in ``NAME.building/set`` beside its final place; ``workspace``, ``NAME.building``, may hold what
    the builder needs to go on after a kill. Leaving without ``commit`` removes it, unless ``keep`` was set. What an
    earlier build left is still there on entering: go on with it, or ``clear`` it.
    Raises ConfigError where OUT exists and is not empty, or ``NAME.building`` is a folder that no build made; both are
    left as they are. Raises StorageError where the disk refuses or another build is on.
    """

    def __init__(self, out: str | Path) -> None:
        self.out = Path(os.path.realpath(out))
        self.workspace = self.out.with_name(f"{self.out.name}.building")
        self.folder = self.workspace / _SET
        self.keep = False
        self._lock = -1

    def __enter__(self) -> "Output":
        try:
            check_free(self.out)
        except ConfigError:
            self.sweep()
            raise
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            while self._lock < 0:
                self.workspace.mkdir(mode=0o700, exist_ok=True)
                if not _of_a_build(self.workspace):
                    raise ConfigError(
                        f"{self.workspace} is in the way: a build works there, and no build made it",
                        "move it elsewhere, or choose another OUT",
                    )
                self._lock = self._try_lock()
            check_free(self.out)  # another builder may have finished while we came here
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            self._remove()
            raise _refused(self.workspace, error) from error
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.keep:
            self._release()
        else:
            self._remove()

    def clear(self) -> None:
        """Remove what an earlier build left.  Raises StorageError."""
        try:
            self._clear()
            self.folder.mkdir(mode=0o700)
        except OSError as error:
            raise _refused(self.workspace, error) from error

    def commit(self) -> None:
        """The folder is complete: bring its entries to the disk and give it its name."""
        try:
            sync(self.folder)
            os.rename(self.folder, self.out)  # takes the place of an empty folder, fails on any other
            sync(self.out.parent)
        except OSError as error:
            raise _refused(self.out, error) from error
        self._remove()

    def sweep(self) -> None:
        """Remove the workspace of a build that was killed between giving the set its name and tidying up."""
        with contextlib.suppress(OSError, StorageError):
            if self.workspace.is_dir() and not self.folder.exists() and _of_a_build(self.workspace):
                self._lock = self._try_lock()
                self._remove()

    def _try_lock(self) -> int:
        """Lock the file BUILDER, or return -1 if its folder was finished or removed meanwhile."""
        path = self.workspace / _LOCK
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return -1
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise StorageError(
                f"{self.out}: another build is writing it ({holder})", "wait for it, or choose another folder"
            ) from None
        except OSError:
            os.close(descriptor)
            raise
        if not _same_file(descriptor, path):
            os.close(descriptor)
            return -1
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        return descriptor

    def _clear(self) -> None:
        for entry in self.workspace.iterdir():
            if entry.name != _LOCK:
                remove(entry)

    def _remove(self) -> None:
        """Remove the workspace if it is ours; the lock goes last, so that nobody moves in while files are deleted."""
        if self._lock < 0:
            return
        with contextlib.suppress(OSError):
            self._clear()
            (self.workspace / _LOCK).unlink()
            self.workspace.rmdir()
        self._release()

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def check_free(out: Path) -> None:
    """Raises ConfigError unless ``out`` does not exist or is an empty folder."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if os.path.lexists(out):
        raise ConfigError(f"{out} exists already", "name a folder that does not exist, or remove this one")


def require_apart(read: Iterable[str | Path], out: Path) -> None:
    """Raises ConfigError where a new set would lie in one of those that are read, or be it."""
    new = Path(os.path.realpath(out))
    for folder in read:
        own = Path(os.path.realpath(folder))
        if new == own or own in new.parents:
            what = f"{out} is the set {folder} itself, or lies in it: it is only read"
            raise ConfigError(what, "name a folder elsewhere")


def refuse_other(out: Path, difference: str) -> None:
    """Raises ConfigError unless ``difference``, what the finished set in ``out`` has otherwise, is ''.

    What a build left that was killed at its very end is removed.
    """
    Output(out).sweep()
    if difference:
        raise ConfigError(
            f"{out} exists already, a finished set of something else: it differs in {difference}",
            "name a folder that does not exist, or remove this one",
        )


def _of_a_build(workspace: Path) -> bool:
    """Whether a folder is empty, or holds the lock file of a build: only then may its content be deleted."""
    with contextlib.suppress(FileNotFoundError):  # its build ended just now
        names = os.listdir(workspace)
        return not names or (_LOCK in names and _HOLDER.match((workspace / _LOCK).read_bytes()) is not None)
    return True


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _refused(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write {path}: {error.strerror}", "free space, check permissions, or name another folder"
    )
