"""The figures of a result that can be better or worse than another run's: name, value, direction."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

HIGHER = ("images_per_second", "images_per_core_second", "images_per_second_per_rank")
LOWER = ("host_core_milliseconds", "saved_bytes_per_sample", "peak_memory_bytes", "extra_bytes")
TIMES = ("seconds", "step_seconds", "ms_per_sample", "times")  # below them, or as them, times; of these the median
LABELS = ("operation", "implementation", "stage", "ranks")  # keys that name a row of a list
# Not ours to judge: the released implementation, other libraries, projections; parts watched once, largest tensors
LEFT_OUT = ("peer", "projected", "sensitivity", "measured", "component_seconds", "saved_largest", "correctness")
OURS = "triton"
# What two results must agree on for their ratio to mean anything
SETTINGS = (
    *("recipe", "precision", "dtype", "on", "batch", "accumulation", "tokens", "spread", "vocabulary", "threads"),
    *("zero_stage", "size", "short_side", "loader_threads"),
)
TOLERANCE = 0.02  # of settings that are means of what was drawn: tokens


@dataclass(frozen=True, slots=True)
class Metric:
    """higher: is better"""

    value: float
    higher: bool


def metrics(result: dict[str, Any]) -> dict[str, Metric]:
    """Every figure of one result by its path in the JSON; the rows of a list are named by what they describe."""
    return dict(_walk(result, "", timed=False))


def _walk(node: Any, path: str, timed: bool) -> Iterator[tuple[str, Metric]]:
    if isinstance(node, list):
        for row in node:
            labels = [str(row[label]) for label in LABELS if label in row] if isinstance(row, dict) else []
            if labels and row.get("implementation", OURS) == OURS:
                yield from _walk(row, f"{path}[{' '.join(labels)}]", timed)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key not in LEFT_OUT:
                yield from _walk(value, f"{path}.{key}" if path else key, timed or key in TIMES)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        key = path.rsplit(".", 1)[-1]
        if key in HIGHER:
            yield path, Metric(float(node), higher=True)
        elif key in LOWER or (timed and key in ("median", "step_seconds")):
            yield path, Metric(float(node), higher=False)


def differing_settings(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What the two were not measured alike in, as text; a key that one of them does not tell is passed over."""
    return [
        f"{key} was {old[key]}, is {new[key]}"
        for key in SETTINGS
        if key in old and key in new and not _alike(old[key], new[key])
    ]


def _alike(old: Any, new: Any) -> bool:
    numbers = isinstance(old, float) and isinstance(new, int | float)
    return bool(abs(new - old) <= TOLERANCE * abs(old)) if numbers else bool(old == new)
