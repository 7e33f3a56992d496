"""What a run directory says about its run, gathered for the report: facts, metrics, events, results."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecamp_fast.config import Recipe, dump_recipe
from ecamp_fast.errors import DataError
from ecamp_fast.files import write_json
from ecamp_fast.report import kinds
from ecamp_fast.run.rundir import RunDir, read_metrics, read_records
from ecamp_fast.run.trained import read_recipe
from ecamp_fast.strict_json import parse_record

RESULTS = "results.json"  # what was measured on the trained model, so that a report can be rebuilt


@dataclass(frozen=True)
class Facts:
    """Everything but pictures that a report shows.

    train, held  lines of metrics.jsonl by step   events  lines of events.jsonl   results  content of results.json
    redone       logged steps that were trained again after a resume
    redone_alike whether they gave the very same losses
    """

    name: str
    recipe: Recipe
    recipe_text: str
    state: dict[str, Any]
    train: list[dict[str, Any]]
    held: list[dict[str, Any]]
    events: list[dict[str, Any]]
    redone: int = 0
    redone_alike: bool = True
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def resumes(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("event") == "resumed"]

    @property
    def seconds(self) -> float:
        """Time spent on training steps, in seconds; saving, evaluation and standing still are left out."""
        before, total = 0, 0.0
        for record in self.train:
            total += (record["samples"] - before) / max(record.get("images_per_second") or 0.0, 1e-9)
            before = record["samples"]
        return total

    @property
    def rate(self) -> float:
        """Images per second over the whole training, in steps that count."""
        return self.train[-1]["samples"] / self.seconds if self.train and self.seconds else 0.0

    @property
    def span(self) -> tuple[float, float] | None:
        """Unix time of the first and the last line of metrics."""
        times = [r["time"] for r in (*self.train, *self.held) if "time" in r]
        return (min(times), max(times)) if times else None


def gather(run: Path) -> Facts:
    """Read a run directory.

    Raises ConfigError where ``run`` is none, DataError where a file in it cannot be read.
    """
    recipe = read_recipe(run)
    metrics, events = run / "metrics.jsonl", run / "events.jsonl"
    for record in read_records(metrics):
        kinds.check_metric(record, metrics)
    for record in read_records(events):
        kinds.check_event(record, events)
    state = RunDir(run, writes=False).state()
    kinds.check_state(state, run / "run_state.json")
    redone, alike = _redone(read_records(metrics))
    return Facts(
        name=run.resolve().name,
        recipe=recipe,
        recipe_text=dump_recipe(recipe),
        state=state,
        train=read_metrics(run),
        held=read_metrics(run, "val"),
        events=read_records(events),
        redone=redone,
        redone_alike=alike,
        results=read_results(run),
    )


def read_results(run: Path) -> dict[str, Any]:
    """results.json of a run, empty where there is none.  Raises DataError when it cannot be read."""
    file = run / RESULTS
    if not file.exists():
        return {}
    try:
        found = parse_record(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file} cannot be read ({type(error).__name__})", "delete it: it can be measured again"
        ) from None
    kinds.check_results(found, file)
    return found


def save_results(run: Path, **results: Any) -> None:
    """Merge measurements into results.json. The report shows these names:

    images  ``evidence.images.ImageEvidence.as_dict()`` and its ``check``
    checks  a list of ``evidence.check.Check.as_dict()``
    """
    write_json(run / RESULTS, read_results(run) | results)


def _redone(records: list[dict[str, Any]]) -> tuple[int, bool]:
    """Steps in lines of metrics that were written twice, and whether both had the same losses to the last bit."""
    first: dict[int, dict[str, Any]] = {}
    again: set[int] = set()
    alike = True
    for record in records:
        if record.get("split", "train") == "train":
            before = first.setdefault(record["step"], record)
            if before is not record:
                again.add(record["step"])
                alike &= all(
                    str(before.get(name)) == str(record.get(name)) for name in ("loss", "mim", "sr", "mlm", "align")
                )
    lines = sorted(first)
    since = dict(zip(lines, [0, *lines], strict=False))  # a line stands for the steps since the one before
    return sum(step - since[step] for step in again), alike
