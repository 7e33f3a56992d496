"""What the paper's tables say: every row of Tables 1 to 5, S4 and S5 as data, with what is wrong with it.

The numbers are in points (0 to 100), as printed. Of S4 and S5 there are two readings: under the headings that stand
there, and, for rows that were written down in the data set's own order, under the names that belong to them.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ecamp_fast.config import parse_yaml
from ecamp_fast.config.sections import Section
from ecamp_fast.errors import ConfigError

FOLDER = Path(__file__).resolve().parent
TABLES = ("1", "2", "3", "4", "5")
BY_DISEASE = ("S4", "S5")
Kind = Literal["classify", "probe", "segment", "detect"]
Metric = Literal["AUC", "ACC", "Dice", "mAP"]
Points = Annotated[float, Field(ge=0, le=100)]
# ChestX-ray14's own order (SPEC 7.1), in which its lists have the classes; the headings of S4 and S5 are alphabetical.
CXR14 = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural Thickening", "Hernia"),
)


class PublishedRow(Section):
    """A row of a table.

    method, printed  its name, and how that is spelt there where it differs
    cites            the paper's reference for it
    reproduced       marked with a dagger: measured by the authors with released weights, or trained by them
    disease_labels   marked with "#": uses labels of diseases
    extra_data       pre-trained on more than MIMIC-CXR
    values           points, null where the cell is empty
    note             what is wrong with it, or must be known
    """

    method: str
    printed: str | None = None
    cites: int | None = None
    backbone: Literal["CNN", "ViT"] | None = None
    reproduced: bool = False
    disease_labels: bool = False
    extra_data: bool = False
    values: tuple[Points | None, ...]
    note: str = ""


@dataclass(frozen=True)
class PublishedCell:
    """A number of the paper, with all that says what it is of.  fraction: percent of the training data"""

    table: str
    kind: Kind
    data: str
    metric: Metric
    fraction: float
    row: PublishedRow
    value: float


class PublishedColumns(Section):
    """Neighbouring columns of one data set and metric, one for each percentage of the training data."""

    data: str
    metric: Metric
    kind: Kind | None = None
    fractions: tuple[float, ...]


class PublishedTable(Section):
    """One of Tables 1 to 5.  kind: what was done, where all columns share it"""

    table: str
    title: str
    place: str
    kind: Kind | None = None
    columns: tuple[PublishedColumns, ...]
    notes: tuple[str, ...]
    rows: tuple[PublishedRow, ...]

    @model_validator(mode="after")
    def _rows_fit(self) -> "PublishedTable":
        count = sum(len(columns.fractions) for columns in self.columns)
        names = [(row.method, row.backbone) for row in self.rows]
        faults = [f"{row.method} has {len(row.values)} values" for row in self.rows if len(row.values) != count]
        faults += [f"{name} stands twice" for name in set(names) if names.count(name) > 1]
        faults += [f"{columns.data} has no kind" for columns in self.columns if not (columns.kind or self.kind)]
        if faults:
            raise ValueError(f"table {self.table} of {count} columns: {'; '.join(faults)}")
        return self

    def cells(self) -> list[PublishedCell]:
        """All that have a number, row by row."""
        heads = [(one, fraction) for one in self.columns for fraction in one.fractions]
        found = []
        for row in self.rows:
            for (one, fraction), value in zip(heads, row.values, strict=True):
                kind = one.kind or self.kind
                if value is not None and kind is not None:
                    found.append(PublishedCell(self.table, kind, one.data, one.metric, fraction, row, value))
        return found


class DiseaseRow(PublishedRow):
    """A row of S4 or S5.

    order    headings: as the columns are called; dataset: in ``CXR14``'s order, whatever they are called
    average  the first column
    """

    fraction: float
    order: Literal["headings", "dataset"] = "headings"
    average: Points
    values: tuple[Points, ...]


class DiseaseTable(Section):
    """S4 or S5: areas under the curve of 14 diseases."""

    table: str
    title: str
    place: str
    kind: Kind
    data: str
    metric: Metric
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    rows: tuple[DiseaseRow, ...]

    @model_validator(mode="after")
    def _rows_fit(self) -> "DiseaseTable":
        faults = [f"{row.method} has {len(row.values)} values" for row in self.rows if len(row.values) != len(CXR14)]
        if sorted(self.classes) != sorted(CXR14):
            faults.append("its classes are not ChestX-ray14's")
        if faults:
            raise ValueError(f"table {self.table}: {'; '.join(faults)}")
        return self

    def reading(self, row: DiseaseRow, printed: bool = False) -> dict[str, float]:
        """Disease to points, in the order of the headings.

        printed: under the headings that stand there; else a row in the data set's order is put right
        """
        names = CXR14 if row.order == "dataset" and not printed else self.classes
        by_name = dict(zip(names, row.values, strict=True))
        return {name: by_name[name] for name in self.classes}


@cache
def published(name: str) -> PublishedTable:
    """One of ``TABLES``.  Raises ConfigError where there is none of this name."""
    return PublishedTable.model_validate_json(_json(name, TABLES))


@cache
def published_by_disease(name: str) -> DiseaseTable:
    """One of ``BY_DISEASE``.  Raises ConfigError where there is none of this name."""
    return DiseaseTable.model_validate_json(_json(name, BY_DISEASE))


def beside(kind: str, data: str, fraction: float) -> list[PublishedCell]:
    """What Tables 1 to 3 say of a task: one cell a method, none where they have no such column."""
    cells = [cell for name in TABLES[:3] for cell in published(name).cells()]
    return [cell for cell in cells if (cell.kind, cell.data, cell.fraction) == (kind, data, fraction)]


def data_sets() -> list[str]:
    """What Tables 1 to 3 call the data sets of tasks, in their order."""
    return list(dict.fromkeys(cell.data for name in TABLES[:3] for cell in published(name).cells()))


def _json(name: str, names: tuple[str, ...]) -> str:
    if name not in names:
        raise ConfigError(f"no table {name}", f"name one of {', '.join(names)}")
    file = FOLDER / f"table_{name.lower()}.yaml"
    return json.dumps(parse_yaml(file.read_text(encoding="utf-8"), file.name))
