"""Options that several commands share: one name, one default, one help for each, so that they cannot drift apart.

All are decorators. ``name`` is what the command's function calls the value. A word that cannot be meant is a usage
fault (exit code 2), told while the command line is read: before a launcher starts, and before anything is loaded.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ecamp_fast.usage import complete

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

RESUME = ("auto", "must", "never")
SEED = 42
REJECTED = 0.005  # share of samples


class FiniteRange(click.FloatRange):
    """Numbers of a range, neither infinite nor none: a wait for ever, or a bound that nothing meets, is a slip."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


class Renamed(click.Option):
    """An option that is also taken by ``former`` names, which no help lists."""

    def __init__(self, *args: Any, former: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.former = list(former)

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        shown = self.opts
        self.opts = [*shown, *self.former]
        try:
            super().add_to_parser(parser, ctx)
        finally:
            self.opts = shown


def all_of(*options: Decorator) -> Decorator:
    """Several options, listed by ``--help`` in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def json_option() -> Decorator:
    """``--json``, as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")


def recipe_option(default: str | None, purpose: str, name: str = "recipe_name") -> Decorator:
    """``--recipe``.  default: None where it is computed, which ``purpose`` then says"""
    settings: dict[str, Any] = {"metavar": "NAME|FILE", "shell_complete": complete.recipes}
    return click.option("--recipe", name, default=default, show_default=True, help=purpose, **settings)


def set_option(of: str = "recipe") -> Decorator:
    """``--set``, as ``overrides``.  of: recipe or settings"""
    found = complete.recipe_keys if of == "recipe" else complete.settings_keys
    settings: dict[str, Any] = {"multiple": True, "metavar": "KEY=VALUE", "shell_complete": found}
    return click.option("--set", "overrides", help=f"Change one key of the {of}; may be repeated.", **settings)


def data_option(purpose: str, name: str = "--data", **more: Any) -> Decorator:
    """``--data``, or another option that names a shard set."""
    return click.option(name, metavar="SHARDS", help=purpose, shell_complete=complete.shard_sets, **more)


def sets_option(purpose: str) -> Decorator:
    """``--data``, as often as there are sets, each with its weight."""
    return click.option(
        "--data", multiple=True, metavar="SHARDS[:WEIGHT]", help=purpose, shell_complete=complete.shard_sets
    )


def shards_argument(name: str = "shards", **more: Any) -> Decorator:
    """SHARDS: the folder of a shard set, or its address (s3://, gs://, https://)."""
    return click.argument(name, metavar="SHARDS", shell_complete=complete.shard_sets, **more)


def run_argument(name: str = "run", **more: Any) -> Decorator:
    """RUN: the folder of a run."""
    return click.argument(name, type=click.Path(path_type=Path), shell_complete=complete.runs, **more)


def out_option(purpose: str, metavar: str = "FOLDER", **more: Any) -> Decorator:
    """``--out``, a folder.  metavar: RUN where a run is trained in it"""
    if "default" in more:
        more["show_default"] = True
    more["shell_complete"] = complete.runs if metavar == "RUN" else complete.folders
    return click.option("--out", type=click.Path(path_type=Path), metavar=metavar, help=purpose, **more)


def seed_option(of: str) -> Decorator:
    """``--seed``.  of: what it draws"""
    return click.option("--seed", default=SEED, show_default=True, type=click.IntRange(0), help=of)


def device_option(of: str = "") -> Decorator:
    """``--device``.  of: the option that it belongs to, where it is not the command's"""
    told = f"cpu or cuda{of and f', of {of}'}. Default: cuda where there is one."
    return click.option("--device", metavar="cpu|cuda", help=told, shell_complete=complete.devices)


def workers_option() -> Decorator:
    """``--workers``; 0: one per core."""
    settings: dict[str, Any] = {"default": 0, "show_default": False, "type": click.IntRange(0), "metavar": "N"}
    return click.option("--workers", help="Processes. Default: one per core.", **settings)


def ranks_option(default: int | None = None) -> Decorator:
    """``--ranks``; None: the GPUs, or one."""
    told = "Ranks on this machine." + ("" if default else " Default: the GPUs, or one.")
    return click.option("--ranks", default=default, show_default=True, type=click.IntRange(1), metavar="N", help=told)


def ds_config_option(default: str = "zero2") -> Decorator:
    """``--ds_config``, spelt as DeepSpeed's own programs have it; "" where it is not given, or without a value."""
    settings: dict[str, Any] = {"is_flag": False, "flag_value": "", "default": "", "show_default": False}
    settings |= {"metavar": "[NAME|FILE]", "shell_complete": complete.deepspeed_files}
    told = f"DeepSpeed JSON: zero2, zero1, zero0, or a file. Default, also without a value: {default}."
    return click.option("--ds_config", cls=Renamed, former=["--ds-config"], help=told, **settings)


def resume_option() -> Decorator:
    """``--resume``: one of ``RESUME``, or the path of a checkpoint."""
    settings: dict[str, Any] = {"default": "auto", "show_default": True, "metavar": "auto|must|never|PATH"}
    settings |= {"callback": _resume, "shell_complete": complete.resumes}
    return click.option("--resume", help="Where to go on from.", **settings)


def allow_option() -> Decorator:
    """``--allow-change``, as ``allow``: keys of recipe or DeepSpeed JSON, or sections of them."""
    settings: dict[str, Any] = {"multiple": True, "metavar": "KEY", "callback": _allowed}
    told = "Go on although this key of recipe or DeepSpeed JSON differs from before; may be repeated."
    return click.option("--allow-change", "allow", help=told, shell_complete=complete.bare_keys, **settings)


def split_option(of: str, default: str | None = None, **more: Any) -> Decorator:
    """``--split``."""
    return click.option("--split", default=default, show_default=True, metavar="NAME", help=of, **more)


def splits_option() -> Decorator:
    """``--split``, as ``splits``: several, or all."""
    return click.option("--split", "splits", multiple=True, metavar="NAME", help="May be repeated. Default: all.")


def overwrite_option() -> Decorator:
    """``--overwrite``."""
    return click.option("--overwrite", is_flag=True, help="Replace OUT.")


def tokenizer_option(purpose: str) -> Decorator:
    """``--tokenizer``, a file."""
    return click.option("--tokenizer", type=click.Path(path_type=Path), metavar="FILE", help=purpose)


def vocabulary_option() -> Decorator:
    """``--vocab-size`` of a tokenizer that is trained."""
    size = click.IntRange(64, 2**20)
    return click.option("--vocab-size", default=30000, show_default=True, type=size, help="Entries at most.")


def columns_option(kind: str = "") -> Decorator:
    """``--columns``.  kind: the ``--from`` that it is for"""
    told = f"{kind and f'{kind}: '}what the table calls a column, as report=caption; by commas, or repeated."
    settings: dict[str, Any] = {"multiple": True, "metavar": "NAME=COLUMN"}
    return click.option("--columns", help=told if kind else told[0].upper() + told[1:], **settings)


def pooling_option() -> Decorator:
    """``--pooling`` of features."""
    parts = click.IntRange(1, 64)
    return click.option("--pooling", default=1, show_default=True, type=parts, help="Means over so many parts a side.")


def rejects_option(of: str) -> Decorator:
    """``--reject-budget``."""
    share = FiniteRange(0, 1)
    return click.option("--reject-budget", default=REJECTED, show_default=True, type=share, help=of)


def classes_option() -> Decorator:
    """``--class``, as ``names``."""
    settings: dict[str, Any] = {"multiple": True, "metavar": "NAME"}
    return click.option("--class", "names", help="Only this; may be repeated. Default: all of the set.", **settings)


def _resume(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    """A word that is none of ours and no path is a slip, not a checkpoint that is missing."""
    if value in RESUME or "/" in value or Path(value).exists():
        return value
    told = f"'{value}' is neither {', '.join(RESUME)} nor the path of a checkpoint.{meant(value, RESUME, '')}"
    raise click.BadParameter(told, ctx, parameter)


def _allowed(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Keys that neither a recipe nor DeepSpeed's JSON has would allow nothing."""
    if not value or ctx.resilient_parsing:
        return value
    from ecamp_fast.config.changes import is_known, known_keys
    from ecamp_fast.config.nearest import did_you_mean

    known = known_keys()
    for name in value:
        if not is_known(name, known):
            told = f"no key '{name}' in a recipe or DeepSpeed's JSON{did_you_mean(name, known)}"
            raise click.BadParameter(told, ctx, parameter)
    return value


def meant(word: str, known: Sequence[str], otherwise: str | None = None) -> str:
    """`` Did you mean 'build'?``; where none is near, ``otherwise``: by default all that there are."""
    from difflib import get_close_matches  # costs a few ms, so only here

    close = get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" There are: {', '.join(known)}." if otherwise is None else otherwise
