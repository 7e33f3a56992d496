"""Which checkpoints stay: the newest that are whole, milestones, the best, and the last from before a trouble."""

import contextlib
import json
import math
import shutil
from collections.abc import Collection
from pathlib import Path

from ecamp_fast.fault_points import reach
from ecamp_fast.files import rename, write_json
from ecamp_fast.run.checkpoint.find import committed
from ecamp_fast.run.checkpoint.manifest import step_of
from ecamp_fast.run.checkpoint.verify import damage

BEST = "BEST"


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
                shutil.rmtree(unnamed)
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
    """Remove what killed saves left; a checkpoint that was being replaced is put back.  Raises OSError."""
    for left_over in folder.glob("step-*.tmp-*"):
        name = left_over.name.partition(".")[0]
        if left_over.suffix == ".tmp-old" and step_of(name) is not None and not (folder / name).exists():
            rename(left_over, folder / name)
        else:
            shutil.rmtree(left_over)
    for left_over in folder.glob("step-*.tmp"):  # of versions up to 0.1
        shutil.rmtree(left_over)


def note_best(path: Path, loss: float) -> None:
    """Let ``path`` stay as the best so far.  loss: held out, of this checkpoint. Rank 0 calls it."""
    write_json(path.parent / BEST, {"checkpoint": path.name, "loss": loss})


def best_of(folder: Path) -> tuple[str, float]:
    """Name and held-out loss of the best checkpoint so far; '' and infinity where none is known."""
    try:
        found = json.loads((folder / BEST).read_text())
        return str(found["checkpoint"]), float(found["loss"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "", math.inf


def _signature(path: Path) -> tuple[tuple[str, int, int, int], ...]:
    states = [(item, item.lstat()) for item in sorted(path.iterdir())] if path.is_dir() else []
    return tuple((item.name, found.st_size, found.st_mtime_ns, found.st_ino) for item, found in states)
