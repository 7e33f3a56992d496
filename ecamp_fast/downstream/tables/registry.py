"""The tasks that a grid may name, each a function from one cell's inputs to its result.

A function gets the folder of its cell, writes ``result.json`` there (``downstream.result``), and goes on from what an
earlier call left in it. Where a learning rate is chosen, the result's ``extra["validation"]`` is the score on the
validation split that it is chosen by.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecamp_fast.downstream.result import TaskResult
from ecamp_fast.downstream.training.settings import Settings

VALIDATION = "validation"  # key of ``TaskResult.extra``
PIXELS, PCA = "pixels", "pixels-pca:"  # sources that are no encoder: 16 x 16 grey values, and so many components


@dataclass(frozen=True)
class CellInputs:
    """What one fit depends on.

    settings  seed and learning rate are the cell's
    encoder   what ``open_trunk`` takes; of a kind of task that takes pixels ``PIXELS``, or ``PCA`` and a number too
    shards    a shard set
    fraction  percent of the training samples
    official  by the set's own list
    options   of the grid's task, unchecked
    device    None: the task's choice
    """

    settings: Settings
    encoder: str
    shards: str
    fraction: float
    official: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None


TaskFunction = Callable[[CellInputs, Path], TaskResult]


@dataclass(frozen=True)
class TaskKind:
    """A kind of task.

    run      the function
    settings file of ``recipes/tasks/`` that has its rows; None: it takes none
    tuned    whether it has a learning rate, which is chosen on the validation split
    pixels   kind of task that scores plain pixels on the same samples and labels; None: there is no such
    """

    run: TaskFunction
    settings: str | None = None
    tuned: bool = True
    pixels: str | None = None


TASKS: dict[str, TaskKind] = {}
