"""Computing a grid: cell by cell, each once, the learning rate of an encoder being chosen on validation data.

OUT/cells/TASK/ENCODER/... holds a folder a cell. One with a ``result.json`` of the same identity is never computed
again; one that was cut off goes on from what its fit has saved.
"""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecamp_fast.downstream.result import TaskResult, read_result
from ecamp_fast.downstream.tables.cells import Cell, Group, groups, inputs
from ecamp_fast.downstream.tables.grid import GridPlan
from ecamp_fast.downstream.tables.identity import identity, short_digest
from ecamp_fast.downstream.tables.registry import BEST, TaskKind
from ecamp_fast.errors import DataError, NumericsError
from ecamp_fast.files import only_one, require_folder, write_json

CELLS, CELL, DIVERGED = "cells", "cell.json", "diverged.json"


@dataclass(frozen=True)
class GroupResult:
    """The results behind one number of the table.

    results  of (pre-training, seed), None where the fit diverged
    factor   of the learning rate, that was chosen; 1 where there is none to choose
    trials   factor -> score on validation data, NaN where the fit diverged
    """

    group: Group
    results: dict[tuple[str, int], TaskResult | None]
    factor: float
    trials: dict[float, float]


def evaluate(
    plan: GridPlan, out: Path, kinds: Mapping[str, TaskKind], say: Callable[[str], None] = lambda line: None
) -> list[GroupResult]:
    """Compute what is missing of a grid in the folder ``out``.

    kinds: of tasks, by name   say: gets a line a cell

    Raises StorageError where another process computes there, and whatever a cell raises; cells that are done stay.
    """
    require_folder(out)
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    with only_one(out, "evaluates"):
        worker = _Worker(plan, out, kinds, say)
        return [worker.group(group) for group in groups(plan, kinds)]


def choose(trials: Mapping[float, float]) -> float:
    """The factor whose score on validation data is highest; of equal ones the smallest. NaN counts as lowest."""
    known = {factor: score for factor, score in trials.items() if not math.isnan(score)}
    return min(known, key=lambda factor: (-known[factor], factor)) if known else min(trials)


@dataclass
class _Worker:
    plan: GridPlan
    out: Path
    kinds: Mapping[str, TaskKind]
    say: Callable[[str], None]

    def group(self, group: Group) -> GroupResult:
        """The rate is chosen with the first pre-training and seed, and kept for the others."""
        task, kind = self.plan.tasks[group.task], self.kinds[group.kind]
        pairs = [(source, seed) for source in group.sources for seed in task.seeds]
        factors = task.lr_factors
        results: dict[tuple[str, int], TaskResult | None] = {}
        if not kind.tuned or len(factors) == 1:
            factor = factors[0] if kind.tuned else 1.0
            trials: dict[float, float] = {}
        else:
            tried = {factor: self.cell(Cell(group, *pairs[0], factor)) for factor in sorted(factors)}
            trials = {factor: _validation(group, one) for factor, one in tried.items()}
            factor = choose(trials)
            results[pairs[0]] = tried[factor]
        for pair in pairs:
            if pair not in results:
                results[pair] = self.cell(Cell(group, *pair, factor))
        return GroupResult(group, results, factor, trials)

    def cell(self, cell: Cell) -> TaskResult | None:
        """Its result, computed if need be; None where it diverged."""
        given = inputs(cell, self.plan, self.kinds)
        described = identity(cell.group.kind, given)
        name = f"{cell.group.fraction:g}%-seed{cell.seed}-x{cell.factor:g}-{short_digest(described)}"
        folder = self.out / CELLS / cell.group.task / cell.group.encoder / name
        if (folder / DIVERGED).exists():
            return None
        if (found := read_result(folder)) is None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_json(folder / CELL, described)
            found = self._compute(cell, given, folder)
            told = f"{found.metric} {found.score:.4f}" if found else "diverged"
            self.say(f"{cell}: {told}")
        return found

    def _compute(self, cell: Cell, given: Any, folder: Path) -> TaskResult | None:
        try:
            self.kinds[cell.group.kind].run(given, folder)
        except NumericsError as error:  # a rate that is too high is a finding, not a fault
            write_json(folder / DIVERGED, {"what": error.what})
            return None
        if (found := read_result(folder)) is None:
            raise DataError(f"{folder}: the task has left no result", "run the same command again")
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # gigabytes a cell, which nothing reads again
        return found


def _validation(group: Group, result: TaskResult | None) -> float:
    if result is None:
        return math.nan
    kept = result.extra.get(BEST)
    return float(kept[1]) if kept and kept[1] is not None else math.nan
