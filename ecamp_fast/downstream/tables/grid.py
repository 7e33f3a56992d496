"""What ``evaluate`` compares: encoders, tasks, percentages of the training data and seeds, as one YAML file.

    encoders:
      ours: [runs/seed-1, runs/seed-2]    # one row of the table; several pre-trainings of one kind are averaged
      timm: weights/vit_base
    tasks:
      nih:
        task: classify                    # classify, probe, segment, detect
        data: shards/nih
        row: nih-{fraction}               # settings of recipes/tasks/classify.yaml; {fraction} is the percentage
        settings: {precision: fp32}       # changes of them
        paper: CXR14                      # its rows of Tables 1 to 3 stand beside ours
    fractions: [1, 10]
    seeds: [42, 43]

Every encoder gets the same learning rates: the row's own times ``lr_factors``. A task may have fractions, seeds and
factors of its own.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from ecamp_fast.config import parse_section
from ecamp_fast.config.nearest import did_you_mean
from ecamp_fast.config.sections import Section
from ecamp_fast.config.yaml import read_document
from ecamp_fast.errors import ConfigError
from ecamp_fast.printable import items

LR_FACTORS = (0.3, 1.0, 3.0)
HINT = "docs/downstream.md shows every key of a grid, and the options of each task"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+=-]{0,63}")  # also the name of a folder


class _Axes(Section):
    """What a grid is spread over, and each of its tasks."""

    fractions: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    lr_factors: tuple[float, ...] = ()

    @field_validator("seeds", mode="before")
    @classmethod
    def _whole_numbers(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple) or not all(type(seed) is int and 0 <= seed < 2**32 for seed in given):
            raise ValueError("must be a list of whole numbers from 0")
        return tuple(given)

    @field_validator("seeds", "fractions", "lr_factors")
    @classmethod
    def _none_twice(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(values)) < len(values):
            raise ValueError("must name none twice")
        return values


class GridTask(_Axes):
    """A task of a grid.

    task      its kind, as ``registry.TASKS`` has it
    data      a shard set
    row       of ``recipes/tasks/TASK.yaml``; ``{fraction}`` in it is the percentage. null: the task's defaults
    settings  keys of ``downstream.training.settings.Settings``
    options   what the task alone knows: classes, masks, head, pooling
    official  subsets are the official lists of the set; false: nested subsets of patients, drawn by seed
    paper     the data set's name in Tables 1 to 3 (CXR14, CXP, RSNA, COVIDx, SIIM)
    fractions, seeds, lr_factors   empty: the grid's
    """

    task: str
    data: str
    row: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    official: bool = False
    paper: str | None = None


class Grid(_Axes):
    """A whole grid.

    encoders   row of the table -> what ``open_trunk`` takes, several where a row is the mean over pre-trainings
    fractions  percent of the training samples
    seeds      of fits and subsets
    baselines  random initialisation and plain pixels get rows of their own
    """

    encoders: dict[str, Any] = Field(default_factory=dict)
    tasks: dict[str, Any] = Field(default_factory=dict)
    fractions: tuple[float, ...] = (100.0,)
    seeds: tuple[int, ...] = (42,)
    lr_factors: tuple[float, ...] = LR_FACTORS
    baselines: bool = True
    device: str | None = Field(None, pattern=r"^(cpu|cuda(:\d+)?)$")

    @field_validator("seeds", "fractions", "lr_factors")
    @classmethod
    def _some(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not values:
            raise ValueError("must name at least one")
        return values


@dataclass(frozen=True)
class GridPlan:
    """A grid that was read and checked.

    encoders  row -> its sources
    tasks     name -> task; ``fractions``, ``seeds`` and ``lr_factors`` are filled in
    """

    grid: Grid
    encoders: dict[str, tuple[str, ...]]
    tasks: dict[str, GridTask]

    def with_encoders(self, encoders: Mapping[str, Sequence[str]]) -> "GridPlan":
        """The same tasks for others."""
        return replace(self, encoders={name: tuple(sources) for name, sources in encoders.items()})


def read_plan(path: Path, kinds: Sequence[str]) -> GridPlan:
    """Read a grid.  kinds: of tasks that there are

    Paths in it are as the shell has them: from the folder that the command is called in.
    Raises ConfigError that names every fault with its line and the nearest legal key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "name a YAML file") from None
    document = read_document(text, str(path))
    lines = document.lines
    grid = parse_section(Grid, document.value, str(path), lines, document.twins, HINT)
    faults: list[str] = []
    tasks = {name: _task(name, tree, grid, str(path), lines, faults) for name, tree in grid.tasks.items()}
    encoders = {name: _sources(name, given, faults) for name, given in grid.encoders.items()}
    for name, task in tasks.items():
        if task and task.task not in kinds:
            told = did_you_mean(task.task, kinds) or f"; there are {', '.join(kinds)}"
            faults.append(f"tasks.{name}.task: no task '{task.task}'{told}")
    faults += [f"{name!r} is no name of a row: letters, digits, blanks and ._+=-" for name in _odd(tasks, encoders)]
    if not tasks:
        faults.append("tasks: there are none")
    if faults:
        raise ConfigError(f"{path}: {faults[0] if len(faults) == 1 else items(faults)}", HINT)
    return GridPlan(grid, encoders, {name: task for name, task in tasks.items() if task})


def _task(
    name: str, tree: Any, grid: Grid, origin: str, lines: Mapping[str, int], faults: list[str]
) -> GridTask | None:
    if not isinstance(tree, dict):
        faults.append(f"tasks.{name}: must hold `task:` and `data:`")
        return None
    prefix = f"tasks.{name}."
    own = {key.removeprefix(prefix): line for key, line in lines.items() if key.startswith(prefix)}
    try:
        task = parse_section(GridTask, tree, "", own, (), HINT)
    except ConfigError as error:
        faults.append(f"tasks.{name}: {error.what.removeprefix(': ')}")
        return None
    own_or_grids = {key: getattr(task, key) or getattr(grid, key) for key in ("fractions", "seeds", "lr_factors")}
    wrong = [f"{one:g}" for one in own_or_grids["fractions"] if not 0 < one <= 100]
    wrong += [f"{one:g} (lr_factors)" for one in own_or_grids["lr_factors"] if not one > 0]
    if wrong:
        faults.append(f"tasks.{name}: {', '.join(wrong)}: percentages lie above 0, up to 100, factors above 0")
    return task.model_copy(update=own_or_grids)


def _sources(name: str, given: Any, faults: list[str]) -> tuple[str, ...]:
    sources = given if isinstance(given, list) else [given]
    if not sources or not all(isinstance(one, str) and one for one in sources):
        faults.append(f"encoders.{name}: must be a path, or a list of paths")
        return ()
    if len(set(sources)) < len(sources):
        faults.append(f"encoders.{name}: names one twice")
    return tuple(sources)


def _odd(*named: Mapping[str, Any]) -> list[str]:
    return [name for names in named for name in names if not _NAME.fullmatch(name) or name.endswith((" ", "."))]
