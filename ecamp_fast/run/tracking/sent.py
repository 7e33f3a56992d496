"""What was handed to a tracker, and under which id: RUN/tracker/state.json."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecamp_fast.errors import StorageError
from ecamp_fast.files import write_json
from ecamp_fast.strict_json import parse_object

FOLDER = "tracker"  # of a run: state.json, tracker.log, and what wandb writes
STATE = "state.json"


@dataclass
class SentSteps:
    """Of one run at one tracker.

    id     under which the tracker knows the run: random, of nothing that the run or the machine is called
    steps  by split: the last that was handed over
    """

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    steps: dict[str, int] = field(default_factory=dict)

    def is_new(self, split: str, step: int) -> bool:
        """Whether a line has not been handed over: one that a resumed run writes again has."""
        return step > self.steps.get(split, -1)


def read_sent(run: Path, tracker: str) -> SentSteps:
    """tracker: as ``TrackerChoice`` says itself. Nothing was handed over where the file cannot be read."""
    found: Any = _all(run).get(tracker)
    try:
        name, steps = str(found["id"]), {str(split): int(step) for split, step in found["steps"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return SentSteps()
    return SentSteps(name, steps) if name.isalnum() else SentSteps()


def write_sent(run: Path, tracker: str, sent: SentSteps) -> None:
    """Where the disk refuses, the next call brings it."""
    trackers = _all(run) | {tracker: {"id": sent.id, "steps": sent.steps}}
    try:
        write_json(run / FOLDER / STATE, {"schema": 1, "trackers": trackers})
    except (OSError, StorageError):
        return


def _all(run: Path) -> dict[str, Any]:
    try:
        found = parse_object((run / FOLDER / STATE).read_bytes()).get("trackers")
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
