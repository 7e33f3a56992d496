"""trackio and wandb behind one interface; of all our files this one alone imports them.

Both send what they find of machine, user and program where they are not told otherwise: here they are.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ecamp_fast.run.tracking.choice import TrackerChoice
from ecamp_fast.run.tracking.settings import Setting

INIT_TIMEOUT = 60.0  # seconds that wandb may take to answer
_WANDB = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "sagemaker_disable": True,  # which names a run after its job
    "save_code": False,
    "silent": True,
    "show_info": False,
    "host": "",
    "program": "",
    "username": "",
    "email": "",
    "init_timeout": INIT_TIMEOUT,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


class Tracker(Protocol):
    """A run at a tracker. Each call may take for ever, and raise whatever the library raises."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...
    def finish(self) -> None: ...


def open_tracker(choice: TrackerChoice, name: str, settings: Mapping[str, Setting], folder: Path) -> Tracker:
    """Begin a run at a tracker, or go on with it.

    name: of the run, its id   folder: for what wandb writes on this disk
    """
    return (_Trackio if choice.library == "trackio" else _Wandb)(choice.project, name, settings, folder)


class _Trackio:
    def __init__(self, project: str, name: str, settings: Mapping[str, Setting], folder: Path) -> None:
        # Without a place elsewhere it writes to this disk; it would still ask the Hub who the user is.
        if not any(os.environ.get(one) for one in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "SPACE_ID")):
            os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "1"
        import trackio

        self._library: Any = trackio
        own = dict(settings)
        trackio.init(
            project, name=name, resume="allow", config=own, embed=False, auto_log_gpu=False, auto_log_cpu=False
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._library.log(dict(values), step=step)

    def finish(self) -> None:
        self._library.finish()


class _Wandb:
    def __init__(self, project: str, name: str, settings: Mapping[str, Setting], folder: Path) -> None:
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # its own fault reports
        import wandb

        self._library: Any = wandb
        known = {key: value for key, value in _WANDB.items() if key in wandb.Settings.model_fields}
        self._run: Any = wandb.init(
            project=project,
            id=name,
            name=name,
            resume="allow",
            dir=str(folder),
            config=dict(settings),
            settings=wandb.Settings(**known),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")  # its own count goes up with every call

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({**values, "step": step})

    def finish(self) -> None:
        self._run.finish()
        self._library.teardown()  # its second process
