"""Cells of a grid: which there are, and what the function of each is given."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ecamp_fast.config import parse_section
from ecamp_fast.downstream.tables.grid import HINT, GridPlan, GridTask
from ecamp_fast.downstream.tables.published import data_sets
from ecamp_fast.downstream.tables.registry import CellInputs, TaskKind
from ecamp_fast.downstream.training.settings import Settings, load_settings
from ecamp_fast.errors import ConfigError
from ecamp_fast.run.trained import read_recipe

UNTRAINED = "untrained"  # the row, and the prefix of its sources

PROMPTED = "zero-shot"  # the kind of task that needs sentences and images to have been held against each other


@dataclass(frozen=True)
class Group:
    """The cells of one number of the table: all pre-trainings and seeds of an encoder at one task and percentage.

    task      its name in the grid
    kind      of task that computes it: plain pixels are probed where encoders are fine-tuned
    encoder   row of the table
    baseline  whether it is there for comparison
    """

    task: str
    kind: str
    encoder: str
    sources: tuple[str, ...]
    fraction: float
    baseline: bool = False


@dataclass(frozen=True)
class Cell:
    """One fit.  factor: of the learning rate"""

    group: Group
    source: str
    seed: int
    factor: float

    def __str__(self) -> str:
        which = f" ({self.source})" if len(self.group.sources) > 1 else ""
        rate = f", rate x {self.factor:g}" if self.factor != 1 else ""
        return f"{self.group.task}, {self.group.encoder}{which}, {self.group.fraction:g} %, seed {self.seed}{rate}"


def groups(plan: GridPlan, kinds: Mapping[str, TaskKind]) -> list[Group]:
    """All of a plan, in the order in which they are computed."""
    found = []
    for name, task in plan.tasks.items():
        kind = kinds[task.task]
        for fraction in task.fractions:
            found += [Group(name, task.task, row, sources, fraction) for row, sources in plan.encoders.items()]
            if plan.grid.baselines and kind.untrained:
                rows = _untrained(plan)
                found += [Group(name, task.task, row, sources, fraction, True) for row, sources in rows.items()]
            for plain in kind.plain if plan.grid.baselines else ():
                rows = _plain(plan, kinds[plain])
                found += [Group(name, plain, row, sources, fraction, True) for row, sources in rows.items()]
    return found


def fits(group: Group, plan: GridPlan, kinds: Mapping[str, TaskKind]) -> int:
    """How many a group takes: the rates that are tried are tried with the first pre-training and seed alone."""
    rates = len(plan.tasks[group.task].lr_factors) if kinds[group.kind].tuned else 1
    return rates - 1 + len(group.sources) * len(plan.tasks[group.task].seeds)


def _untrained(plan: GridPlan) -> dict[str, tuple[str, ...]]:
    """Rows of random initialisation: one for each architecture among the runs, of as many seeds as it has runs."""
    known = _architectures(plan)
    found = {}
    for row, runs in known:
        name = f"{UNTRAINED}, as {row}" if len(known) > 1 else UNTRAINED
        found[name] = tuple(f"{UNTRAINED}:{runs[0]}:{seed}" for seed in range(len(runs)))
    return {name: sources for name, sources in found.items() if name not in plan.encoders}


def _plain(plan: GridPlan, kind: TaskKind) -> dict[str, tuple[str, ...]]:
    """Rows of what needs no learning: once, or once for each width or architecture."""
    if "{" not in kind.row + kind.source:
        return {kind.row: (kind.source,)}
    found: dict[str, tuple[str, ...]] = {}
    for _, runs in _architectures(plan):
        width = read_recipe(Path(runs[0])).model.vision.width
        row, source = (text.format(width=width, run=runs[0]) for text in (kind.row, kind.source))
        found.setdefault(row, (source,))
    return found


def _architectures(plan: GridPlan) -> list[tuple[str, tuple[str, ...]]]:
    """Rows whose sources are runs, the first of each image encoder, and its runs."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for row, sources in plan.encoders.items():
        if all((Path(source) / "recipe.yaml").is_file() for source in sources):
            recipe = read_recipe(Path(sources[0]))
            found.setdefault(recipe.model.vision.model_dump_json() + recipe.image.model_dump_json(), (row, sources))
    return list(found.values())


def check_plan(plan: GridPlan, kinds: Mapping[str, TaskKind]) -> None:
    """Whether settings and encoders of all cells can be read, before the first is computed.  Raises ConfigError."""
    named = data_sets()
    for name, task in plan.tasks.items():
        if task.paper is not None and task.paper not in named:
            raise ConfigError(f"tasks.{name}.paper: no table has {task.paper}", f"it is one of {', '.join(named)}")
        parse_section(kinds[task.task].options, task.options, f"tasks.{name}.options", hint=HINT)
        for fraction in task.fractions:
            _settings(name, task, kinds[task.task], fraction, 0, 1.0)
    for name, sources in plan.encoders.items():
        for source in sources:
            if not source.startswith(f"{UNTRAINED}:") and not Path(source).exists():
                raise ConfigError(f"encoders.{name}: there is no {source}", "paths start where the command is called")
            if any(task.task == PROMPTED for task in plan.tasks.values()) and not _is_aligned(Path(source)):
                raise ConfigError(
                    f"encoders.{name}: {source} is no run with losses.align", f"which {PROMPTED} asks for"
                )


def _is_aligned(run: Path) -> bool:
    return (run / "recipe.yaml").is_file() and read_recipe(run).losses.align


def inputs(cell: Cell, plan: GridPlan, kinds: Mapping[str, TaskKind]) -> CellInputs:
    """What the cell's function gets."""
    task = plan.tasks[cell.group.task]
    kind = kinds[cell.group.kind]
    own = cell.group.kind == task.task  # settings and options of another kind mean nothing to it
    settings = _settings(cell.group.task, task, kind, cell.group.fraction, cell.seed, cell.factor) if own else None
    return CellInputs(
        settings=settings or Settings(seed=cell.seed),
        encoder=cell.source,
        shards=task.data,
        fraction=cell.group.fraction,
        official=task.official,
        options=task.options,
        device=plan.grid.device,
    )


def _settings(name: str, task: GridTask, kind: TaskKind, fraction: float, seed: int, factor: float) -> Settings:
    if kind.settings is None:
        if task.settings or task.row:
            raise ConfigError(f"tasks.{name}: {task.task} takes neither row nor settings", "leave them out")
        return Settings(seed=seed)
    if "seed" in task.settings:
        raise ConfigError(f"tasks.{name}.settings.seed: seeds are the grid's", "write `seeds:` at its top")
    row = task.row.replace("{fraction}", f"{fraction:g}") if task.row else None
    changes = tuple(f"{key}={json.dumps(value)}" for key, value in task.settings.items())
    try:
        settings = _read_settings(kind.settings, row, changes)
    except ConfigError as error:
        raise ConfigError(f"tasks.{name}: {error.what}", error.hint) from None
    return settings.model_copy(update={"seed": seed, "lr": settings.lr * factor})


_read_settings = cache(load_settings)  # a grid asks for the same few thousands of times
