"""Options that several benches share, so that each means the same and has the same default everywhere."""

from pathlib import Path
from typing import Any

import click

from ecamp_fast.usage.options import Decorator, FiniteRange, all_of, recipe_option, set_option

VOCABULARY = 30_000  # words of the released tokenizer
TOKENS, SPREAD = 110.0, 0.4  # of a text: mean length, its deviation over its mean


def recipe_options(purpose: str = "Of the step.") -> Decorator:
    """``--recipe`` and ``--set``, as ``name`` and ``overrides``.  purpose: what of the recipe counts, for ``--help``"""
    return all_of(recipe_option("paper", purpose, "name"), set_option())


def text_options() -> Decorator:
    """``--tokens``, ``--spread`` and ``--vocabulary`` of texts made of noise."""
    spread: dict[str, Any] = {"default": SPREAD, "show_default": True, "type": FiniteRange(0)}
    words: dict[str, Any] = {"default": VOCABULARY, "show_default": True, "type": click.IntRange(8)}
    return all_of(
        tokens_option(),
        click.option("--spread", **spread, help="Its deviation over its mean."),
        click.option("--vocabulary", **words, help="Words of it."),
    )


def tokens_option() -> Decorator:
    """``--tokens`` of a text made of noise."""
    length = FiniteRange(2)
    return click.option("--tokens", default=TOKENS, show_default=True, type=length, help="Mean length of a text.")


def results_option(default: Path, purpose: str) -> Decorator:
    """``--results``: the folder of results that are read."""
    settings: dict[str, Any] = {"type": click.Path(path_type=Path), "default": default, "show_default": True}
    return click.option("--results", metavar="FOLDER", help=purpose, **settings)


def note_renamed(former: str, current: str) -> None:
    """One line on stderr where a spelling of before was given, which is accepted for one more release."""
    click.echo(f"note: {former} is now {current}; the old name goes with the next release", err=True)
