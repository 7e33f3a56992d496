"""Options that several benches share, so that each means the same and has the same default everywhere."""

from collections.abc import Callable
from typing import Any

import click

VOCABULARY = 30_000  # words of the released tokenizer
TOKENS, SPREAD = 110.0, 0.4  # of a text: mean length, its deviation over its mean

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def recipe_options(purpose: str | None = None) -> Decorator:
    """``--recipe`` and ``--set``, as ``name`` and ``overrides``.  purpose: what of the recipe counts, for ``--help``"""
    name: dict[str, Any] = {"default": "paper", "show_default": True, "metavar": "NAME|FILE", "help": purpose}
    change: dict[str, Any] = {"multiple": True, "metavar": "KEY=VALUE", "help": "Change one key of the recipe."}
    return _all(click.option("--recipe", "name", **name), click.option("--set", "overrides", **change))


def text_options() -> Decorator:
    """``--tokens``, ``--spread`` and ``--vocabulary`` of texts made of noise."""
    spread: dict[str, Any] = {"default": SPREAD, "show_default": True, "type": click.FloatRange(0)}
    words: dict[str, Any] = {"default": VOCABULARY, "show_default": True, "type": click.IntRange(8)}
    return _all(
        tokens_option(),
        click.option("--spread", **spread, help="Its deviation over its mean."),
        click.option("--vocabulary", **words, help="Words of it."),
    )


def tokens_option() -> Decorator:
    """``--tokens`` of a text made of noise."""
    length = click.FloatRange(2)
    return click.option("--tokens", default=TOKENS, show_default=True, type=length, help="Mean length of a text.")


def json_option() -> Decorator:
    """``--json``, as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def _all(*options: Decorator) -> Decorator:
    """Several options, listed by ``--help`` in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def note_renamed(former: str, current: str) -> None:
    """One line on stderr where a spelling of before was given, which is accepted for one more release."""
    click.echo(f"note: {former} is now {current}; the old name goes with the next release", err=True)
