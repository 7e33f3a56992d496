"""Whether RUN is there, and from which step it would go on; by the checkpoints' manifests, without their bytes."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ecamp_fast.config import Recipe
from ecamp_fast.config.changes import judge_changes, settings_of
from ecamp_fast.errors import DataError
from ecamp_fast.run.checkpoint.find import find
from ecamp_fast.run.checkpoint.manifest import Unreadable, read_manifest
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.saving import healthy_until, last_saved
from ecamp_fast.run.setup import judge_run


def resuming(
    out: Path, resume: str, recipe: Recipe, ds_config: dict[str, Any], digest: str, allow: Collection[str]
) -> dict[str, Any]:
    """path, exists, status, step (saved), from_step (0: a start), checkpoint, aside, changes.

    ds_config  resolved
    digest     of the shard set's manifest; '' where that is to be drawn
    allow      keys that may differ from the run as it was

    Raises ConfigError where it would be another run, DataError where no checkpoint is there that must be.
    """
    run = RunDir(out, writes=False)
    changes = judge_run(out, recipe, ds_config, allow) if resume != "never" else []
    path = find(run.checkpoints, resume, lambda *_: None, lambda: last_saved(run), healthy_until(run), _unreadable)
    step = 0
    if path:
        position = read_manifest(path).position
        if position.data != digest:
            raise DataError(f"{path} was trained on another shard set", "pass the same --data, or start a new --out")
        settings = settings_of(recipe, ds_config)
        changes = list(dict.fromkeys([*changes, *judge_changes(position.settings, settings, allow, str(path))]))
        step = position.step
    state = run.state()
    return {
        "path": str(out),
        "exists": bool(state) or run.checkpoints.is_dir(),
        "status": state.get("status"),
        "from_step": step,
        "checkpoint": path.name if path else None,
        "aside": resume == "never" and bool(state),
        "changes": changes,
    }


def _unreadable(path: Path) -> str:
    try:
        read_manifest(path)
    except Unreadable as fault:
        return str(fault)
    return ""
