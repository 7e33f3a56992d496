"""ChestX-ray14 by disease: ours beside Tables S4 and S5, their rows in both readings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ecamp_fast.downstream.tables.evaluate import GroupResult
from ecamp_fast.downstream.tables.grid import GridPlan
from ecamp_fast.downstream.tables.published import BY_DISEASE, DiseaseRow, DiseaseTable, published_by_disease
from ecamp_fast.downstream.tables.registry import TaskKind

DATA = "CXR14"
PRINTED, PUT_RIGHT = "as printed", "in the data set's order"


@dataclass(frozen=True)
class DiseaseLine:
    """A row of areas under the curve by disease, in points.

    task      its name in the grid
    origin    ours, or "Table S4"
    reading   of the paper's rows that stand under other diseases' names: which of the two; else ''
    values    disease -> points, None where the test split has one kind alone
    """

    task: str
    fraction: float
    method: str
    origin: str
    reading: str
    values: dict[str, float | None]


def by_disease(plan: GridPlan, kinds: Mapping[str, TaskKind], results: Sequence[GroupResult]) -> list[DiseaseLine]:
    """Of every task of a grid that stands for the paper's ``DATA`` and has a table by disease; else none."""
    found = []
    for name, task in plan.tasks.items():
        tables = [table for table in map(published_by_disease, BY_DISEASE) if table.kind == kinds[task.task].published]
        for table in tables if task.paper == DATA else ():
            for fraction in task.fractions:
                rows = [row for row in table.rows if row.fraction == fraction]
                found += [line for row in rows for line in _theirs(name, table, row)]
                own = [one for one in results if (one.group.task, one.group.fraction) == (name, fraction)]
                found += [_ours(one, table.classes) for one in own]
    return found


def _theirs(task: str, table: DiseaseTable, row: DiseaseRow) -> list[DiseaseLine]:
    readings = {PRINTED: True, PUT_RIGHT: False} if row.order == "dataset" else {"": True}
    name = f"{row.method} ({row.backbone})"
    origin = f"Table {table.table}"
    return [
        DiseaseLine(task, row.fraction, name, origin, reading, dict(table.reading(row, printed)))
        for reading, printed in readings.items()
    ]


def _ours(one: GroupResult, diseases: Sequence[str]) -> DiseaseLine:
    """Means over pre-trainings and seeds; names are compared without case and underscores."""
    known = [result.per_class for result in one.results.values() if result is not None]
    values: dict[str, float | None] = {}
    for disease in diseases:
        scores = [score for classes in known for name, score in classes.items() if _same(name, disease)]
        numbers = [100 * score for score in scores if score is not None]
        values[disease] = fmean(numbers) if numbers else None
    return DiseaseLine(one.group.task, one.group.fraction, one.group.encoder, "ours", "", values)


def _same(one: str, other: str) -> bool:
    return one.replace("_", " ").casefold() == other.casefold()
