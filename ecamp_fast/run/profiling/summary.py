"""Time, share and share of the roofline by component, and what waits: what RUN/profile/summary.json says."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ecamp_fast.model.components import OTHER
from ecamp_fast.run.profiling.attribution import (
    COMMUNICATION,
    DATA,
    GRADIENTS,
    HOST,
    IDLE,
    OPTIMIZER,
    Attribution,
)
from ecamp_fast.run.profiling.ceiling import Ceiling

OPERATORS = 12  # that are named
WAITING = (DATA, COMMUNICATION, HOST, IDLE)
NO_PRODUCTS = "moves bytes, no matrix products"
BYTES = {"fp32": 28, "bf16": 30}  # of a weight that AdamW reads and writes: masters, gradient, two moments; bf16 copies
MEANING = {
    DATA: "the step waits for the loader: more loader threads, a faster disk or store, smaller originals",
    COMMUNICATION: "collectives that nothing hides; they wait for the slowest rank too",
    HOST: "the training thread outside of every component: DeepSpeed, the autograd engine, bookkeeping",
    IDLE: "nothing runs on the GPU, and the data are there: the host launches too slowly, or waits itself",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One component, of one step.  Times in milliseconds.

    forward, backward  None where it has no such passes
    share        of the step
    operations   counted, of matrix products and convolutions; None: none are counted, or not of this model
    moved        bytes, where these bound it
    of_ceiling   what it reaches of the device's rate of operations, or of bytes; None with the reason
    """

    component: str
    forward: float | None
    backward: float | None
    together: float
    share: float
    operations: float | None = None
    moved: float | None = None
    of_ceiling: float | None = None
    reason: str = ""

    @property
    def waits(self) -> bool:
        return self.component in WAITING


@dataclass(frozen=True, slots=True)
class Wait:
    """Milliseconds of a step in which something waits.  within: whether it is part of other rows"""

    what: str
    together: float
    share: float
    meaning: str
    within: bool = False


@dataclass(frozen=True, slots=True)
class Operator:
    """An operation of the host, or a kernel: its own milliseconds of a step, and calls."""

    name: str
    together: float
    share: float
    calls: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One page of a profile.  Times in milliseconds, of a step where nothing else is said.

    steps    first and last that were watched      of_steps   each of them
    before   the step before, which nobody watched; None where the watched ones begin the leg
    facts    of the run, for people                trace      file name
    """

    steps: tuple[int, int]
    of_steps: dict[int, float]
    before: float | None
    rows: list[Row]
    waits: list[Wait]
    operators: list[Operator]
    ceiling: Ceiling
    facts: dict[str, str]
    trace: str

    @property
    def step(self) -> float:
        return sum(self.of_steps.values()) / len(self.of_steps)

    @property
    def told(self) -> str:
        """The steps, for people."""
        first, last = self.steps
        return f"step {first}" if first == last else f"steps {first} to {last}"

    @property
    def images_per_second(self) -> float:
        return float(self.facts["images a step"]) * 1e3 / self.step

    def as_dict(self) -> dict[str, Any]:
        """For summary.json."""
        return {"schema": 1, "step_milliseconds": self.step, "images_per_second": self.images_per_second} | asdict(self)


def summarise(
    found: Attribution,
    work: Mapping[str, float],
    weights: int,
    limit: Ceiling,
    *,
    precision: str,
    before: float | None,
    facts: dict[str, str],
    trace: str,
) -> Summary:
    """work: operations of a step by component   weights: numbers that this rank's AdamW updates"""
    count = len(found.steps)
    total = sum(found.steps.values())

    def milliseconds(time: float) -> float:
        return time / count / 1e6

    rows = []
    for component in dict.fromkeys(name for name, _ in found.parts):
        forward, backward, whole = (found.parts.get((component, way)) for way in ("forward", "backward", ""))
        time = sum(part or 0 for part in (forward, backward, whole))
        passes = None if forward is None and backward is None else (forward or 0, backward or 0)
        row = Row(
            component,
            milliseconds(passes[0]) if passes else None,
            milliseconds(passes[1]) if passes else None,
            milliseconds(time),
            time / total,
        )
        rows.append(_bounded(row, work, BYTES[precision] * weights, limit))
    rows.sort(key=lambda row: -row.together)
    return Summary(
        steps=(min(found.steps), max(found.steps)),
        of_steps={number: time / 1e6 for number, time in sorted(found.steps.items())},
        before=before,
        rows=rows,
        waits=_waits(found, rows),
        operators=_largest(found, count, total),
        ceiling=limit,
        facts=facts,
        trace=trace,
    )


def _bounded(row: Row, work: Mapping[str, float], update: float, limit: Ceiling) -> Row:
    """With what it reaches of the roofline."""
    seconds = row.together / 1e3
    if row.waits:
        return replace(row, reason="waits")
    if row.component == OPTIMIZER:
        reached = update / seconds / limit.bandwidth if limit.bandwidth and seconds else None
        return replace(row, moved=update, of_ceiling=reached, reason="" if reached else limit.source)
    operations = work.get(row.component)
    if not operations:
        known = row.component not in (OTHER, GRADIENTS) and not work
        return replace(row, reason="its operations are not counted" if known else NO_PRODUCTS)
    reached = operations / seconds / limit.operations if limit.operations and seconds else None
    return replace(row, operations=operations, of_ceiling=reached, reason="" if reached else limit.source)


def _waits(found: Attribution, rows: Sequence[Row]) -> list[Wait]:
    waits = [Wait(r.component, r.together, r.share, MEANING[r.component]) for r in rows if r.waits]
    count, total = len(found.steps), sum(found.steps.values())
    on_gpu = any(name == IDLE for name, _ in found.parts)
    if not on_gpu:
        meaning = (
            "no operation computes, in any component: Python, dispatch, hooks; larger micro-batches make it smaller"
        )
        waits.append(Wait("between operations", found.between / count / 1e6, found.between / total, meaning, True))
    if found.collectives:
        shown = found.parts.get((COMMUNICATION, ""), 0)
        hidden = max(found.collectives - shown, 0)
        meaning = "collectives that ran while the GPU computed: they cost nothing but the bandwidth they take"
        waits.append(Wait("communication, hidden", hidden / count / 1e6, hidden / total, meaning, True))
    return sorted(waits, key=lambda wait: -wait.together)


def _largest(found: Attribution, count: int, total: int) -> list[Operator]:
    largest = sorted(found.operators.items(), key=lambda item: (-item[1][0], item[0]))[:OPERATORS]
    return [Operator(name, time / count / 1e6, time / total, calls / count) for name, (time, calls) in largest]
