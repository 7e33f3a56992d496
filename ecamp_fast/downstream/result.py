"""What a task writes at its end: one score with its interval, and everything that it depends on."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ecamp_fast.downstream.source_digest import weights_digest
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.files import require_folder, write_json
from ecamp_fast.strict_json import parse_record

RESULT = "result.json"
SCHEMA = 1


@dataclass(frozen=True)
class TaskResult:
    """The score of one fit on the test split.

    task       classify, probe, segment, detect, ...
    metric     auroc, accuracy, dice, map
    score      the mean over classes, higher is better
    low, high  95 % interval over patients (bootstrap)
    per_class  score of each class; None where the test split has not both kinds of it, and it cannot be told
    settings   as used
    data       digest of the shard set
    encoder    what ``open_trunk`` was given
    fraction   percent of the training split
    seed       of the fit and of the subset
    samples    by split: train (used), val, test
    extra      further scores and facts of the task
    """

    task: str
    metric: str
    score: float
    low: float
    high: float
    per_class: dict[str, float | None]
    settings: dict[str, Any]
    data: str
    encoder: str
    fraction: float
    seed: int
    samples: dict[str, int]
    extra: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}

    def write(self, out: Path) -> None:
        """OUT/result.json, complete or absent."""
        require_folder(out, "OUT")
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / RESULT, self.as_dict())


def read_result(out: Path) -> TaskResult | None:
    """Of a finished fit; None where there is none.  Raises DataError where the file is not one of ours."""
    file = out / RESULT
    if not file.exists():
        return None
    try:
        tree = parse_record(file.read_bytes())  # a score may be a NaN
        if tree.pop("schema") != SCHEMA:
            raise ValueError("of another version")
        return TaskResult(**tree)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file}: {error}", "delete it, and run the same command again") from None


def identify(task: str, encoder: str, options: Any, settings: Any) -> dict[str, Any]:
    """What a fit depends on beside its data.  options: a dataclass   settings: ``training.settings.Settings``

    Raises ConfigError, DataError where the encoder is a run without weights.
    """
    return {
        "task": task,
        "encoder": encoder,
        "weights": weights_digest(encoder),
        "options": asdict(options),
        "settings": settings.model_dump(mode="json"),
    }


def finished(out: Path, resume: str, identity: Mapping[str, Any], data: str) -> TaskResult | None:
    """The result of the same fit, which is read and not repeated; None where there is none, or it is not asked for.

    identity: what a fit depends on, kept as ``extra["identity"]``   data: digest of the shard set
    Raises ConfigError where ``out`` holds the result of another fit, StorageError where nothing can be written there.
    """
    require_folder(out, "OUT")  # before hours of work
    found = read_result(out) if resume == "auto" else None
    if found is None:
        return None
    now = {**identity, "data": data}
    before = {**found.extra.get("identity", {}), "data": found.data}
    if told := changes(before, now):
        raise ConfigError(f"{out} holds another fit: {told}", "choose another OUT, or --resume never")
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What two fits depend on and do not share, as in "settings.lr was 0.1, is 0.2"; "" where they share all.

    Both as JSON has them: one of them comes from a file.
    """
    then, today = (dict(_leaves(json.loads(json.dumps(tree)))) for tree in (before, now))
    other = sorted(key for key in then.keys() | today.keys() if then.get(key) != today.get(key))
    return ", ".join(f"{key} was {then.get(key)}, is {today.get(key)}" for key in other)


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict):
        yield name, tree
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{name}.{key}" if name else key)


def refuse_fit(out: Path) -> None:
    """For what is quick and always done anew.  Raises ConfigError where ``out`` holds what may have taken hours."""
    found = read_result(out)
    if found and "identity" in found.extra:
        raise ConfigError(f"{out} holds a fit of {found.task}", "choose another OUT, or --resume never")


def summary(result: TaskResult) -> str:
    """One line for a person."""
    interval = f"{result.low:.4f} to {result.high:.4f}"
    absent = [name for name, value in result.per_class.items() if value is None]
    note = f"; not scored, since one kind is absent: {', '.join(absent)}" if absent else ""
    return (
        f"{result.task} {result.metric} {result.score:.4f} (95 % {interval}) on {result.samples['test']} images{note}"
    )
