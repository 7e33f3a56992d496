"""What the files of a run must hold where the report counts, divides or draws: numbers, dates and texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecamp_fast.errors import DataError

NUMBERS = (
    *("loss", "mim", "sr", "mlm", "align", "mlm_per_token", "nats_per_token", "accuracy"),
    *("lr", "grad_norm", "images_per_second", "tokens_per_second", "data_wait", "memory_bytes", "mfu", "time"),
)
_LARGEST = 1e15  # of any number here
_LAST_TIME = 2e11  # Unix time beyond which there is no date
_HINT = "restore the file, or remove what no run has written"


def check_metric(record: Mapping[str, Any], file: Path) -> None:
    """A line of metrics.jsonl: step, samples and epoch are there; what is drawn is a number, or null."""
    held = record.get("split", "train") != "train"
    _require(type(record.get("step")) is int and 0 <= record["step"] < _LARGEST, "a line without a step", file)
    _require(_is_number(record.get("samples")), "a line without its samples", file)
    _require(held or _is_number(record.get("epoch")), "a line without its epoch", file)
    numbers = all(record.get(name) is None or _is_number(record[name]) for name in NUMBERS)
    _require(numbers and _is_time(record.get("time", 0)), "a value that is no number", file)


def check_event(record: Mapping[str, Any], file: Path) -> None:
    """A line of events.jsonl: its time is one, and so is the step of a resume."""
    _require(_is_time(record.get("time", 0)), "an event without a time", file)
    _require(record.get("event") != "resumed" or _is_number(record.get("step")), "a resume without its step", file)


def check_state(state: Mapping[str, Any], file: Path) -> None:
    """run_state.json: steps and ranks are numbers, versions are by name."""
    numbers = [state.get(name) or 0 for name in ("step", "total_steps")]
    _require(all(_is_number(value) for value in numbers), "steps that are no numbers", file)
    ranks = state.get("ranks", 1)
    _require(type(ranks) is int and 0 < ranks < _LARGEST, "ranks that are no number", file)
    _require(isinstance(state.get("versions", {}), dict), "versions without names", file)


def check_results(results: Mapping[str, Any], file: Path) -> None:
    """results.json: checks have a name, what was found, and whether they passed."""
    images = results.get("images", {})
    _require(isinstance(images, dict), "images that are none", file)
    checks, one = results.get("checks", []), images.get("check")
    listed = isinstance(checks, list) and all(map(_is_check, [*checks, *([one] if one else [])]))
    _require(listed, "a check without name or verdict", file)


def _require(holds: bool, what: str, file: Path) -> None:
    if not holds:
        raise DataError(f"{file}: {what}", _HINT)


def _is_number(value: Any) -> bool:
    """NaN too: a loss may be one."""
    return type(value) in (int, float) and not abs(value) > _LARGEST


def _is_time(value: Any) -> bool:
    return _is_number(value) and 0 <= value < _LAST_TIME


def _is_check(tree: Any) -> bool:
    known = isinstance(tree, dict) and {"name", "found", "passed"} <= tree.keys()
    return known and (tree["passed"] is None or isinstance(tree["passed"], bool))
