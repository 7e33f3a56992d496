"""Options that the commands of all tasks share, and how those commands begin and end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError
from ecamp_fast.usage import complete
from ecamp_fast.usage import options as shared

if TYPE_CHECKING:
    import torch

    from ecamp_fast.downstream.result import TaskResult
    from ecamp_fast.downstream.tasks.splits import Subset
    from ecamp_fast.downstream.training.settings import Settings
    from ecamp_fast.shards.load.read import ShardSet

Command = TypeVar("Command", bound=Callable[..., Any])

ENCODER_HELP = """
    ENCODER is a run, the folder `ours` of an export, a folder of timm or of transformers' ViT, a file of weights that
    is a ViT's or a ResNet-50's under timm's names, or `untrained:RUN`.
"""


@dataclass(frozen=True)
class TaskChoices:
    """What every task is asked: ENCODER, SHARDS, OUT, and which part of SHARDS is used.

    percent: None, and count: 0: not given; both at once cannot be meant, ConfigError
    """

    encoder: str
    address: str
    out: Path
    percent: float | None
    count: int
    official: bool
    seed: int
    size: int | None
    test_split: str | None
    device: str | None
    as_json: bool

    def __post_init__(self) -> None:
        if self.percent is not None and self.count:
            raise ConfigError(f"--percent {self.percent:g} and --count {self.count}", "ask for one of the two")

    def subset(self) -> "Subset":
        from ecamp_fast.downstream.tasks.splits import Subset

        return Subset(100.0 if self.percent is None else self.percent, self.official, self.count, self.seed)

    def open_set(self) -> "ShardSet":
        """Raises as ``require_set_at`` and ``ShardSet`` do."""
        from ecamp_fast.shards.load.read import ShardSet
        from ecamp_fast.shards.storage.store import require_set_at

        require_set_at(self.address)
        return ShardSet(self.address)


@dataclass(frozen=True)
class FitChoices:
    """How it is fitted: a named row, changes to it, where to go on from."""

    row: str | None
    overrides: tuple[str, ...]
    resume: str

    def settings(self, task: str, seed: int) -> "Settings":
        """Raises ConfigError as ``load_settings`` does."""
        from ecamp_fast.downstream.training.settings import load_settings

        return load_settings(task, self.row, [f"seed={seed}", *self.overrides])


@dataclass(frozen=True)
class ClassChoices:
    """Which classes, and what uncertain labels count as."""

    names: tuple[str, ...]
    uncertain: tuple[str, ...]

    def counts(self) -> tuple[tuple[str, int], ...]:
        """Raises ConfigError as ``parse_counts`` does."""
        from ecamp_fast.downstream.data.labels import parse_counts

        return tuple(parse_counts(self.uncertain).items())


def _writable(ctx: click.Context, parameter: click.Parameter, value: Path) -> Path:
    """OUT, before anything heavy is loaded.  Raises StorageError."""
    from ecamp_fast.files import require_folder

    require_folder(value, "OUT")
    return value


def task_arguments(function: Command) -> Command:
    """The command gets ``given: TaskChoices``."""
    options: list[Callable[..., Any]] = [
        click.argument("encoder", shell_complete=complete.runs),
        shared.shards_argument("address"),
        click.argument("out", type=click.Path(path_type=Path), callback=_writable),
        click.option(
            "--percent", type=shared.FiniteRange(0, 100), help="Percentage of the training patients. Default: 100."
        ),
        click.option(
            "--count",
            default=0,
            show_default=False,
            type=click.IntRange(0),
            metavar="N",
            help="Training images instead of a share. Default: the share.",
        ),
        click.option("--official", is_flag=True, help="The set's own list of 1, 10 or 100 %."),
        shared.seed_option("Of the subset and the fit."),
        click.option("--size", type=click.IntRange(8), help="Pixels per side. Default: the encoder's own."),
        click.option("--test", "test_split", metavar="SPLIT", help="Judged on it. Default: test, or val."),
        shared.device_option(),
        shared.json_option(),
    ]
    return _gathered(function, "given", TaskChoices, options)


def fit_arguments(function: Command) -> Command:
    """The command gets ``how: FitChoices``."""
    options = [
        click.option("--settings", "row", metavar="NAME|FILE", help="Named settings, such as nih-1, or a YAML file."),
        shared.set_option("settings"),
        shared.resume_option(),
    ]
    return _gathered(function, "how", FitChoices, options)


def class_arguments(function: Command) -> Command:
    """The command gets ``classes: ClassChoices``."""
    options = [
        shared.classes_option(),
        click.option(
            "--uncertain",
            multiple=True,
            metavar="CLASS=0|1",
            help="What uncertain labels of it count as; may be repeated. Default: CheXpert's rule.",
        ),
    ]
    return _gathered(function, "classes", ClassChoices, options)


def _gathered(function: Command, name: str, kind: Callable[..., Any], options: Sequence[Callable[..., Any]]) -> Command:
    """The command with ``options``, whose values it gets as one argument."""

    @wraps(function)
    def command(**values: Any) -> Any:
        own = {field: values.pop(field) for field in kind.__dataclass_fields__}  # type: ignore[attr-defined]
        return function(**{name: kind(**own)}, **values)

    gathered: Any = command
    for option in reversed(options):
        gathered = option(gathered)
    return cast("Command", gathered)


def open_device(device: str | None) -> "torch.device":
    """A GPU where there is one, if none is named.  Raises as ``downstream.device`` does."""
    from ecamp_fast.downstream.device import open_device as opened

    return opened(device)


def tell_progress(line: str) -> None:
    tell(line, err=True)


def conclude(result: "TaskResult", out: Path, as_json: bool) -> None:
    """The result on stdout: one line for a person, or the content of OUT/result.json."""
    from ecamp_fast.downstream.result import summary
    from ecamp_fast.strict_json import dump_json

    if as_json:
        click.echo(dump_json(result.as_dict()))
        return
    tell(f"{out}: {summary(result)}")
    for name, found in result.extra.get("baselines", {}).items():
        gap = result.extra["differences"][name]
        tell(
            f"  {name}: {found['value']:.4f}; the encoder is better by {gap['value']:+.4f} "
            f"(95 % {gap['low']:+.4f} to {gap['high']:+.4f})"
        )
