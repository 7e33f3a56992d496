"""Whether RUN is there, and from which step it would go on; by the checkpoints' manifests, without their bytes."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ecamp_fast.config import Recipe
from ecamp_fast.config.changes import judge_changes, settings_of
from ecamp_fast.forecast.dataset import DataFacts
from ecamp_fast.run.checkpoint.find import find
from ecamp_fast.run.checkpoint.manifest import Unreadable, read_manifest
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.saving import healthy_until, last_saved, other_data
from ecamp_fast.run.setup import judge_run


def resuming(
    out: Path, resume: str, recipe: Recipe, ds_config: dict[str, Any], data: DataFacts, allow: Collection[str]
) -> dict[str, Any]:
    """path, exists, status, from_step (0: a start), checkpoint (its name; of another run its path), aside, changes, and
    unsure (whether its data are these: they are to be drawn first).

    ds_config  resolved
    allow      keys that may differ from the run as it was

    Raises ConfigError where it would be another run, DataError where no checkpoint is there that must be.
    """
    run = RunDir(out, writes=False)
    changes = judge_run(out, recipe, ds_config, allow) if resume != "never" else []
    path = find(run.checkpoints, resume, lambda *_: None, lambda: last_saved(run), healthy_until(run), _unreadable)
    step, unsure = 0, False
    if path:
        position = read_manifest(path).position
        several = position.settings.get("data", {})
        unsure = data.drawn and not several
        if position.data != data.digest and not unsure:
            raise other_data(path, position, data.digest, data.sets)
        settings = settings_of(recipe, ds_config)
        changes = list(dict.fromkeys([*changes, *judge_changes(position.settings, settings, allow, str(path))]))
        step = position.step
    state = run.state()
    return {
        "path": str(out),
        "exists": bool(state) or run.checkpoints.is_dir(),
        "status": state.get("status"),
        "from_step": step,
        "checkpoint": path and (path.name if path.resolve().parent == run.checkpoints.resolve() else str(path)),
        "aside": resume == "never" and bool(state),
        "changes": changes,
        "unsure": unsure,
    }


def _unreadable(path: Path) -> str:
    try:
        read_manifest(path)
    except Unreadable as fault:
        return str(fault)
    return ""
