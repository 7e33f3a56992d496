"""Lines for a person: names in them come from outside, so none of them can break its line or hide a secret."""

import textwrap

import click

from ecamp_fast.printable import one_line

WIDTH = 80  # columns of a terminal that nobody has widened


def tell(*lines: object, err: bool = False) -> None:
    """Print each on a line of its own.  err: on stderr"""
    for line in lines:
        click.echo(one_line(str(line)), err=err)


def paragraph(text: str, head: str, width: int = WIDTH) -> list[str]:
    """Lines of a text behind ``head``, none longer than ``width`` where its words allow; later ones begin below it."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [head.rstrip()]
