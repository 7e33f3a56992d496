"""Lines for a person: names in them come from outside, so none of them can break its line or hide a secret."""

import click

from ecamp_fast.printable import one_line


def tell(*lines: object, err: bool = False) -> None:
    """Print each on a line of its own.  err: on stderr"""
    for line in lines:
        click.echo(one_line(str(line)), err=err)
