"""How a task is trained: every knob with its default, and the rows of SPEC 7 by task, data set and percentage."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ecamp_fast.config import RECIPES, parse_section
from ecamp_fast.config.nearest import did_you_mean
from ecamp_fast.config.overrides import apply_override
from ecamp_fast.config.sections import Section
from ecamp_fast.config.yaml import parse_yaml
from ecamp_fast.errors import ConfigError

ROWS = RECIPES / "tasks"
BASE = "base"  # the row that others of its file change


class Settings(Section):
    """One fit. Epochs are of the training samples that are used; a step is one optimizer step."""

    steps: int = Field(3000, ge=1)  # hard stop: the released code runs on, its cosine rising again
    batch: int = Field(96, ge=1)
    micro: int = Field(0, ge=0)  # samples on the device at a time; 0: the whole batch
    lr: float = Field(3e-2, gt=0)
    warmup: int = Field(50, ge=0)  # steps
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = Field(0.9, ge=0, lt=1)  # of sgd
    betas: tuple[float, float] = (0.9, 0.999)  # of adamw
    weight_decay: float = Field(0.0, ge=0)
    decay_all: bool = False  # the weight decay reaches biases and norms too, as the released code has it
    clip: float = Field(1.0, ge=0)  # of the gradient's norm; 0: none
    layer_decay: float = Field(1.0, gt=0, le=1)  # rate of a layer over that of the layer above
    drop_path: float = Field(0.0, ge=0, lt=1)  # of the last block
    ema: float = Field(0.0, ge=0, lt=1)  # decay of averaged weights, which are then validated and kept; 0: none
    frozen: bool = False  # the trunk stays as it is
    crop_area: tuple[float, float] = (0.08, 1.0)  # of training images, where a task crops
    flip: float = Field(0.5, ge=0, le=1)
    precision: Literal["fp32", "bf16"] = "bf16"
    compile: bool = False
    evaluate_every: int = Field(0, ge=0)  # steps; 0: once an epoch
    first_evaluation: int = Field(0, ge=0)  # no validation before this step
    patience: int = Field(0, ge=0)  # validations without a better one until the fit ends; 0: never ends early
    save_every: int = Field(0, ge=0)  # steps; 0: at validations alone
    seed: int = Field(42, ge=0)

    @model_validator(mode="after")
    def _agrees(self) -> "Settings":
        if self.micro and self.batch % self.micro:
            raise ValueError(f"a batch of {self.batch} is not whole micro-batches of {self.micro}")
        if self.warmup >= self.steps:
            raise ValueError(f"a warm-up of {self.warmup} steps leaves nothing of {self.steps}")
        low, high = self.crop_area
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_area from {low:g} to {high:g}: shares of the image, the smaller first")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas lie from 0 to below 1")
        return self

    @property
    def accumulation(self) -> int:
        """Micro-batches of a step."""
        return self.batch // self.micro if self.micro else 1


def row_names(task: str) -> list[str]:
    """Named rows of a task (``classify``, ``probe``, ``segment``, ``detect``)."""
    return [name for name in _rows(task) if name != BASE]


def load_settings(task: str, row: str | Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """The settings of a row of ``recipes/tasks/TASK.yaml``, or of a YAML file, with ``KEY=VALUE`` changes.

    row: None: the task's own defaults. Raises ConfigError that names every fault.
    """
    rows = _rows(task)
    if row is None:
        tree, origin = {}, f"settings of {task}"
    elif str(row) in rows:
        tree, origin = rows[str(row)], f"settings {row}"
    elif Path(row).is_file():
        tree, origin = parse_yaml(Path(row).read_text(encoding="utf-8"), str(row)), str(row)
    else:
        known = row_names(task)
        hint = f"name one of {', '.join(known)}, or a YAML file"
        raise ConfigError(f"no settings '{row}' of {task}" + did_you_mean(str(row), known), hint)
    tree = rows.get(BASE, {}) | tree
    for override in overrides:
        apply_override(tree, override)
    hint = f"{ROWS.name}/{task}.yaml shows rows, downstream/training/settings.py every key"
    return parse_section(Settings, tree, origin, hint=hint)


def _rows(task: str) -> dict[str, Any]:
    file = ROWS / f"{task}.yaml"
    return parse_yaml(file.read_text(encoding="utf-8"), file.name)
