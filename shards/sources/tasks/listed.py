"""Images and the lists of a protocol, without an owner's tables: every list of SPEC 7."""

from pathlib import Path

from ecamp_fast.errors import ConfigError
from ecamp_fast.shards.sources.base import Listing, Record
from ecamp_fast.shards.sources.selection.choice import ALL, Selection
from ecamp_fast.shards.sources.tasks.base import DEFAULT, Splits, TaskSource
from ecamp_fast.shards.sources.tasks.protocol import CANVAS, TASKS


class ListSource(TaskSource):
    """``folder``: that paths of the lists refer to; the lists lie there too, where ``splits`` names no other folder.

    task: whose classes text lists have, a name in ``TASKS``; tables with masks or boxes say themselves what they are
    Raises ConfigError for a task that there is not.
    """

    kind = "list"
    canvas = CANVAS

    def __init__(
        self, folder: str | Path, task: str = "", splits: Splits = DEFAULT, *, selection: Selection = ALL
    ) -> None:
        if task and task not in TASKS:
            raise ConfigError(f"--task {task}: no such data set", f"it is one of {', '.join(TASKS)}")
        super().__init__(
            folder, Splits(splits.lists or Path(folder), splits.official, splits.seed), selection=selection
        )
        self._name = task
        self.classes = self.task.classes
        if task:
            self.description["task"] = task

    @property
    def name(self) -> str:
        """The task."""
        return self._name

    def rows(self, listing: Listing) -> dict[str, Record]:
        """There are none but those of the lists."""
        return {}
