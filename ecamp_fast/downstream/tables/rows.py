"""Rows of the comparison: ours with what they gain over random initialisation, and the paper's beside them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ecamp_fast.downstream.result import TaskResult
from ecamp_fast.downstream.tables.cells import UNTRAINED
from ecamp_fast.downstream.tables.evaluate import GroupResult
from ecamp_fast.downstream.tables.grid import GridPlan
from ecamp_fast.downstream.tables.published import PublishedCell, beside, published
from ecamp_fast.downstream.tables.registry import TaskKind

METRICS = {"auroc": "AUC", "accuracy": "ACC", "dice": "Dice", "map": "mAP"}  # of results -> of the paper
NOT_SAME = "other images, lists or versions than ours may stand behind it"


@dataclass(frozen=True)
class ScoreRow:
    """One number of the comparison, in points (0 to 100).

    task      its name in the grid   kind: what was done
    data      the paper's name of the data set; '' where its tables have no such column
    method    the encoder, or the paper's row with its backbone
    origin    ours, or "Table 1"
    low       and high: 95 % interval over patients, the mean over pre-trainings and seeds; None for the paper's
    smallest  and largest: over pre-trainings and seeds; None where there is one
    gain      over random initialisation, paired by pre-training and seed; None where there is no such pair
    gain_smallest, gain_largest   of the pairs
    fits      numbers that the mean is over   diverged: fits that are not in it
    factor    of the learning rate, where it was chosen
    baseline  whether it is there for comparison
    note      what is wrong with it
    """

    task: str
    kind: str
    data: str
    metric: str
    fraction: float
    method: str
    origin: str
    score: float | None
    low: float | None = None
    high: float | None = None
    smallest: float | None = None
    largest: float | None = None
    gain: float | None = None
    gain_smallest: float | None = None
    gain_largest: float | None = None
    fits: int = 1
    diverged: int = 0
    factor: float | None = None
    baseline: bool = False
    note: str = ""


def compare(
    plan: GridPlan,
    kinds: Mapping[str, TaskKind],
    results: Sequence[GroupResult],
    published_cells: Callable[[str, str, float], list[PublishedCell]] = beside,
) -> list[ScoreRow]:
    """Ours and the paper's, by task and percentage: the paper's rows, then baselines, then ours.

    published_cells: what the paper has of a kind of task, a data set and a percentage
    """
    found = []
    for name, task in plan.tasks.items():
        for fraction in task.fractions:
            own = [one for one in results if (one.group.task, one.group.fraction) == (name, fraction)]
            rows = [_ours(one, _reference(one, own), task.paper or "") for one in own]
            metrics = {row.metric for row in rows if row.metric}
            if task.paper and (published_as := kinds[task.task].published):
                cells = published_cells(published_as, task.paper, fraction)
                found += [_theirs(name, cell) for cell in cells if cell.metric in metrics]
            found += [row for row in rows if row.baseline] + [row for row in rows if not row.baseline]
    return found


def notes(rows: Sequence[ScoreRow]) -> list[str]:
    """What must be known of the tables of the paper that are in it, each once."""
    tables = dict.fromkeys(row.origin.removeprefix("Table ") for row in rows if row.origin != "ours")
    told = [f"Table {name}: {note}" for name in tables for note in published(name).notes]
    return ([f"The paper's numbers are of its own runs: {NOT_SAME}."] if tables else []) + told


def _reference(one: GroupResult, others: Sequence[GroupResult]) -> GroupResult | None:
    """The random initialisation that a row stands against: of its own architecture where there are several."""
    named = (f"{UNTRAINED}, as {one.group.encoder}", UNTRAINED)
    for name in named:
        for other in others:
            if other.group.encoder == name and other is not one and other.group.kind == one.group.kind:
                return other
    return None


def _ours(one: GroupResult, reference: GroupResult | None, data: str) -> ScoreRow:
    group, known = one.group, [result for result in one.results.values() if result is not None]
    scores = [100 * result.score for result in known]
    gains = _gains(one, reference) if reference else []
    several = len(scores) > 1
    return ScoreRow(
        group.task,
        group.kind,
        data,
        METRICS.get(known[0].metric, known[0].metric) if known else "",
        group.fraction,
        group.encoder,
        "ours",
        fmean(scores) if scores else None,
        low=_mean([100 * result.low for result in known]),
        high=_mean([100 * result.high for result in known]),
        smallest=min(scores) if several else None,
        largest=max(scores) if several else None,
        gain=_mean(gains),
        gain_smallest=min(gains) if len(gains) > 1 else None,
        gain_largest=max(gains) if len(gains) > 1 else None,
        fits=len(scores),
        diverged=len(one.results) - len(known),
        factor=one.factor if one.trials else None,
        baseline=group.baseline or group.encoder == UNTRAINED,
        note=_spread_note(one),
    )


def _gains(one: GroupResult, reference: GroupResult) -> list[float]:
    """Differences of scores, in points: number of pre-training and seed are the same in both."""
    ours, theirs = _by_number(one), _by_number(reference)
    return [100 * (ours[pair].score - theirs[pair].score) for pair in ours if pair in theirs]


def _by_number(one: GroupResult) -> dict[tuple[int, int], TaskResult]:
    numbers = {source: number for number, source in enumerate(one.group.sources)}
    return {(numbers[source], seed): found for (source, seed), found in one.results.items() if found is not None}


def _spread_note(one: GroupResult) -> str:
    chosen = one.trials and one.factor in (min(one.trials), max(one.trials)) and len(one.trials) > 2
    return "the learning rate chosen is the last of those tried" if chosen else ""


def _theirs(task: str, cell: PublishedCell) -> ScoreRow:
    row = cell.row
    marks = [row.note] if row.note else []
    marks += ["uses labels of diseases"] if row.disease_labels else []
    marks += ["pre-trained on more data"] if row.extra_data else []
    name = f"{row.method} ({row.backbone})" if row.backbone else row.method
    origin = f"Table {cell.table}"
    return ScoreRow(
        task, cell.kind, cell.data, cell.metric, cell.fraction, name, origin, cell.value, note="; ".join(marks)
    )


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
