"""From metrics.jsonl to a tracker, until the run has ended and all of it is handed over."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from ecamp_fast.errors import EcampError, StorageError
from ecamp_fast.files import only_one
from ecamp_fast.run.tracking.choice import TrackerChoice
from ecamp_fast.run.tracking.libraries import Tracker, open_tracker
from ecamp_fast.run.tracking.lines import GrowingLines, numbers, position
from ecamp_fast.run.tracking.sent import FOLDER, SentSteps, read_sent, write_sent
from ecamp_fast.run.tracking.settings import Setting, recipe_settings

LOOK = 1.0  # seconds between two looks at the file
FORMER = 30.0  # seconds for the sender of the leg before to end


def send(run: Path, choice: TrackerChoice, names: Sequence[str], is_over: Callable[[float], bool]) -> None:
    """Hand over every line that has not been, and those that come.

    names    of what may be sent
    is_over  waits for so many seconds; whether the run has ended

    Raises whatever the library raises, and StorageError where another sender of this run does not end.
    """
    with ExitStack() as stack:
        _enter_alone(stack, run / FOLDER)
        sent = read_sent(run, str(choice))
        write_sent(run, str(choice), sent)  # the id, before it is known elsewhere
        tracker = open_tracker(choice, sent.id, _settings(run), run / FOLDER)
        lines, over = GrowingLines(run / "metrics.jsonl"), False
        while not over:
            over = is_over(LOOK)  # before the file is read: what came before the end is in it
            if _hand_over(lines, tracker, sent, names):
                write_sent(run, str(choice), sent)
        tracker.finish()


def _hand_over(lines: GrowingLines, tracker: Tracker, sent: SentSteps, names: Sequence[str]) -> bool:
    """Whether anything was."""
    before = dict(sent.steps)
    for record in lines.new():
        where = position(record)
        if where is None or not sent.is_new(*where):
            continue
        split, step = where
        if values := numbers(record, split, names):
            tracker.log(step, values)
        sent.steps[split] = step
    return sent.steps != before


def _enter_alone(stack: ExitStack, folder: Path) -> None:
    """Two senders would send twice."""
    began = time.monotonic()
    while True:
        try:
            stack.enter_context(only_one(folder, "sends to a tracker"))
            return
        except StorageError:
            if time.monotonic() - began > FORMER:
                raise
        time.sleep(0.2)


def _settings(run: Path) -> dict[str, Setting]:
    from ecamp_fast.config import load_recipe

    try:
        return recipe_settings(load_recipe(run / "recipe.yaml"))
    except EcampError:
        return {}
