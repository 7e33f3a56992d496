"""Which checkpoints stay: the newest that are whole, milestones, the best, and the last from before a trouble."""

import contextlib
import json
import math
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from ecamp_fast.fault_points import reach
from ecamp_fast.files import rename, write_json
from ecamp_fast.run.checkpoint.find import REPLACED, committed, put_back
from ecamp_fast.run.checkpoint.manifest import step_of
from ecamp_fast.run.checkpoint.verify import damage

BEST = "BEST"
_LEFT_OVER = re.compile(rf"step-\d{{8,18}}\.tmp(-\w+)?|\.{BEST}\.tmp-\w+")  # without a nonce: of versions up to 0.1


class Retention:
    """Deletes checkpoints of a run that it needs no more; of rank 0.

    folder  of the checkpoints
    keep    how many of the newest stay; those that do not verify count for nothing, and are left as they lie
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder, self._keep = folder, keep
        self._verified: dict[Path, tuple[tuple[str, int, int, int], ...]] = {}

    def purge(self, milestones: Collection[int] = (), before: Collection[int] = ()) -> list[str]:
        """Delete what need not stay. Returns the names of those deleted.

        milestones  steps whose checkpoints stay
        before      steps: of each, the newest checkpoint at or before it stays
        """
        whole = [path for path in committed(self._folder) if self._is_whole(path)]
        stay = {path for path in whole if step_of(path.name) in milestones}
        stay |= {*whole[: self._keep], self._folder / best_of(self._folder)[0]}
        for limit in before:
            stay |= {*[path for path in whole if (step_of(path.name) or 0) <= limit][:1]}
        gone = [path for path in whole if path not in stay]
        for path in gone:
            reach("checkpoint.purge", file=path.name)
            with contextlib.suppress(OSError):  # a copy too many is no reason to stop
                unnamed = path.with_name(f"{path.name}.tmp-gone")  # half of a checkpoint bears no step's name
                rename(path, unnamed)
                _remove(unnamed)
        return [path.name for path in gone]

    def _is_whole(self, path: Path) -> bool:
        """Whether it verifies; one that has not changed since is not read again."""
        now = _signature(path)
        if self._verified.get(path) != now:
            if damage(path):
                return False
            self._verified[path] = now
        return True


def clean(folder: Path) -> None:
    """Remove what killed saves left; a checkpoint that was being replaced is put back.

    What the disk does not let go stays: every save writes into a folder of its own.
    """
    put_back(folder)
    for left_over in list(folder.iterdir()):
        alone = left_over.suffix == REPLACED and not os.path.lexists(left_over.with_suffix(""))  # could not be put back
        if _LEFT_OVER.fullmatch(left_over.name) and not alone:
            with contextlib.suppress(OSError):
                _remove(left_over)


def set_aside(folder: Path, step: int) -> list[str]:
    """Take later checkpoints out of the way of a run that goes on from ``step``: they are of a future that it left.

    Each stays as ``left-NAME``. Returns their names.  Raises OSError.
    """
    names = []
    for path in committed(folder):
        if (step_of(path.name) or 0) > step:
            aside = path.with_name(f"left-{path.name}")
            if os.path.lexists(aside):  # of a future left before
                _remove(aside)
            rename(path, aside)
            names.append(path.name)
    if best_of(folder)[0] in names:
        (folder / BEST).unlink()
    return names


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def note_best(path: Path, loss: float) -> None:
    """Let ``path`` stay as the best so far.  loss: held out, of this checkpoint. Rank 0 calls it."""
    write_json(path.parent / BEST, {"checkpoint": path.name, "loss": loss})


def best_of(folder: Path) -> tuple[str, float]:
    """Name and held-out loss of the best checkpoint so far; '' and infinity where none is known."""
    try:
        found = json.loads((folder / BEST).read_text())
        loss = float(found["loss"])
        return (str(found["checkpoint"]), loss) if math.isfinite(loss) else ("", math.inf)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return "", math.inf


def _signature(path: Path) -> tuple[tuple[str, int, int, int], ...]:
    states = [(item, item.lstat()) for item in sorted(path.iterdir())] if path.is_dir() else []
    return tuple((item.name, found.st_size, found.st_mtime_ns, found.st_ino) for item, found in states)
