"""The checkpoint to go on from: the newest that is complete, and never a silent start from nothing."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from ecamp_fast.errors import DataError
from ecamp_fast.files import rename
from ecamp_fast.run.checkpoint.manifest import is_former, step_of
from ecamp_fast.run.checkpoint.verify import damage

FORMER, CONVERTED = "former-", "converted"  # how folders of the former format begin once converted; on the way there
REPLACED = ".tmp-old"  # behind the name of a checkpoint that a new one takes the place of
Note = Callable[[str, str], None]
Known = Callable[[], int | None]


def committed(folder: Path) -> list[Path]:
    """Folders that bear the name of a checkpoint, newest first; anything else that lies there is passed over."""
    if not folder.is_dir():
        return []
    steps = [(step, path) for path in folder.iterdir() if (step := step_of(path.name)) is not None]
    return [path for _, path in sorted(steps, reverse=True)]


def put_back(folder: Path) -> None:
    """Give a checkpoint its name back that was being replaced when the run was killed, or the disk refused."""
    for replaced in folder.glob(f"step-*{REPLACED}"):
        path = replaced.with_suffix("")
        if step_of(path.name) is not None and not os.path.lexists(path):
            with contextlib.suppress(OSError):
                rename(replaced, path)


def find(
    folder: Path,
    mode: str,
    note: Note,
    known: Known = lambda: None,
    healthy_until: int | None = None,
    judge: Callable[[Path], str] = damage,
) -> Path | None:
    """The checkpoint to resume from, verified; None to start afresh.

    folder         of the run's checkpoints
    mode           ``auto`` (newest that verifies; none at all: afresh), ``must`` (none is an error), ``never``, a path
    note           called with (name, reason) for each that is rejected
    known          tells the step of the last checkpoint that the run says it committed, None where of none; asked where
                   none is left
    healthy_until  in ``auto`` and ``must`` no later one is taken; None: the newest
    judge          why a folder is no complete checkpoint; '' where it is one

    Raises DataError where a checkpoint was asked for, or there were some, and none verifies.
    """
    if mode == "never":
        return None
    if mode not in ("auto", "must"):
        path = Path(mode)
        if fault := judge(path):
            raise _refused([path], f"checkpoint {path}: {fault}", "name a complete checkpoint, or use --resume auto")
        return path
    candidates = [path for path in committed(folder) if healthy_until is None or _step(path) <= healthy_until]
    if not candidates and committed(folder):
        found = f"numbers of the run went bad after step {healthy_until}, and no checkpoint in {folder} is from before"
        raise DataError(found, "start afresh with --resume never and a lower optim.lr, or name one with --resume PATH")
    for candidate in candidates:
        if not (fault := judge(candidate)):
            return candidate
        note(candidate.name, fault)
    if candidates and all(is_former(candidate) for candidate in candidates):
        raise _refused(candidates, f"the checkpoints in {folder} are of versions up to 0.1", "")
    if candidates:
        found = f"cannot resume: none of {len(candidates)} checkpoints in {folder} verifies; events.jsonl says why"
        raise _refused(candidates, found, "restore the files, or start afresh with --resume never")
    if any(committed(folder / CONVERTED)):
        raise DataError(f"the checkpoints in {folder} are half converted", _convert_hint(folder))
    if (step := known()) is not None:
        found = f"cannot resume: step {step} was saved in {folder}, and no checkpoint is left there"
        raise DataError(found, "restore the folder, or start afresh with --resume never")
    if mode == "must":
        raise DataError(f"cannot resume: there is no checkpoint in {folder}", "start with --resume auto")
    return None


def _step(path: Path) -> int:
    return step_of(path.name) or 0


def _refused(paths: list[Path], what: str, hint: str) -> DataError:
    """The error for checkpoints none of which verifies; those of versions up to 0.1 can be converted."""
    if any(is_former(path) for path in paths):
        hint = _convert_hint(paths[0].parent)
    return DataError(what, hint)


def _convert_hint(folder: Path) -> str:
    return f"checkpoints of versions up to 0.1 are converted by `ecamp-fast import --checkpoint {folder.parent}`"


def find_together(
    folder: Path,
    mode: str,
    note: Note,
    known: Known = lambda: None,
    healthy_until: Known = lambda: None,
) -> Path | None:
    """``find`` on rank 0, whose answer or error every rank gets; every rank calls it."""
    found: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            put_back(folder)
            found[0] = find(folder, mode, note, known, healthy_until())
        except Exception as error:
            found[1] = error
    dist.broadcast_object_list(found)
    path, fault = found
    if fault is not None:
        raise fault
    return path
