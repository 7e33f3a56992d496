"""The checkpoint to go on from: the newest that is complete, and never a silent start from nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from ecamp_fast.errors import DataError
from ecamp_fast.run.checkpoint.manifest import is_former, step_of
from ecamp_fast.run.checkpoint.verify import damage

FORMER, CONVERTED = "former-", "converted"  # how folders of the former format begin once converted; on the way there


def committed(folder: Path) -> list[Path]:
    """Folders that bear the name of a checkpoint, newest first; anything else that lies there is passed over."""
    if not folder.is_dir():
        return []
    steps = [(step, path) for path in folder.iterdir() if (step := step_of(path.name)) is not None]
    return [path for _, path in sorted(steps, reverse=True)]


def find(folder: Path, mode: str, note: Callable[[str, str], None], known: int | None = None) -> Path | None:
    """The checkpoint to resume from, verified; None to start afresh.

    folder  of the run's checkpoints
    mode    ``auto`` (newest that verifies; none at all: afresh), ``must`` (none is an error), ``never``, or a path
    note    called with (name, reason) for each that is rejected
    known   step of the last checkpoint that the run says it committed; None: of none

    Raises DataError where a checkpoint was asked for, or there were some, and none verifies.
    """
    if mode == "never":
        return None
    if mode not in ("auto", "must"):
        path = Path(mode)
        if fault := damage(path):
            raise _refused([path], f"checkpoint {path}: {fault}", "name a complete checkpoint, or use --resume auto")
        return path
    candidates = committed(folder)
    for candidate in candidates:
        if not (fault := damage(candidate)):
            return candidate
        note(candidate.name, fault)
    if candidates and all(is_former(candidate) for candidate in candidates):
        raise _refused(candidates, f"the checkpoints in {folder} are of versions up to 0.1", "")
    if candidates:
        found = f"cannot resume: none of {len(candidates)} checkpoints in {folder} verifies; events.jsonl says why"
        raise _refused(candidates, found, "restore the files, or start afresh with --resume never")
    if any(committed(folder / CONVERTED)):
        raise DataError(f"the checkpoints in {folder} are half converted", _convert_hint(folder))
    if known is not None:
        found = f"cannot resume: step {known} was saved in {folder}, and no checkpoint is left there"
        raise DataError(found, "restore the folder, or start afresh with --resume never")
    if mode == "must":
        raise DataError(f"cannot resume: there is no checkpoint in {folder}", "start with --resume auto")
    return None


def _refused(paths: list[Path], what: str, hint: str) -> DataError:
    """The error for checkpoints none of which verifies; those of versions up to 0.1 can be converted."""
    if any(is_former(path) for path in paths):
        hint = _convert_hint(paths[0].parent)
    return DataError(what, hint)


def _convert_hint(folder: Path) -> str:
    return f"checkpoints of versions up to 0.1 are converted by `ecamp-fast import --checkpoint {folder.parent}`"


def find_together(folder: Path, mode: str, note: Callable[[str, str], None], known: int | None = None) -> Path | None:
    """``find`` on rank 0, whose answer or error every rank gets; every rank calls it."""
    found: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            found[0] = find(folder, mode, note, known)
        except Exception as error:
            found[1] = error
    dist.broadcast_object_list(found)
    path, fault = found
    if fault is not None:
        raise fault
    return path
