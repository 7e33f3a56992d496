"""``ecamp-fast recipes``: the recipes that come along, and every key of one with its value, meaning and place."""

import json

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.printable import paragraph
from ecamp_fast.usage import complete
from ecamp_fast.usage.groups import HelpfulGroup
from ecamp_fast.usage.options import json_option


class _OverviewFirst(HelpfulGroup):
    """``recipes`` means ``recipes overview``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # of a line that is being completed: what it has so far
            return super().parse_args(ctx, args)
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = ["overview", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_OverviewFirst)
def command() -> None:
    """List the recipes (overview, the default), or print every key of one (show).

    \b
    Example:
      ecamp-fast recipes show paper
    """


@command.command(short_help="List the recipes, each with what it is.")
@json_option()
def overview(as_json: bool) -> None:
    """One line of each recipe: what it is, and whose keys it has where it names none.

    \b
    Example:
      ecamp-fast recipes overview
    """
    from ecamp_fast.config.tables import recipe_entries

    entries = recipe_entries()
    if as_json:
        rows = [{"name": e.name, "about": e.about, "base": e.base, "command": e.command} for e in entries]
        click.echo(json.dumps({"schema": 1, "recipes": rows}))
        return
    for command_name in dict.fromkeys(entry.command for entry in entries):
        tell(f"ecamp-fast {command_name} --recipe NAME")
        for entry in entries:
            if entry.command == command_name:
                base = f" (base: {entry.base})" if entry.base else ""
                tell(*paragraph(f"{entry.about}{base}", f"  {entry.name:<14}"))
    tell("", "`ecamp-fast recipes show NAME` prints every key of one.")


@command.command(short_help="Print every key of a recipe with its meaning.")
@click.argument("recipe", metavar="NAME|FILE", shell_complete=complete.all_recipes)
@json_option()
def show(recipe: str, as_json: bool) -> None:
    """Every key of a recipe: value, default where it is another, meaning, and place in the paper.

    \b
    Example:
      ecamp-fast recipes show demo
    """
    from ecamp_fast.config.keys import spelt
    from ecamp_fast.config.tables import open_named, rows

    found = open_named(recipe)
    table = rows(found)
    if as_json:
        names = "default", "values", "meaning", "place"
        keys = [{"key": key.name, "value": v} | {name: getattr(key, name) for name in names} for key, v in table]
        click.echo(json.dumps({"schema": 1, "name": found.name, "keys": keys}))
        return
    section = None
    for key, value in table:
        within, _, leaf = key.name.rpartition(".")
        if within != section:
            section = within
            tell(*([] if section == "" else [""]), *paragraph(key.section, f"{within or 'top'}: "))
        default = "" if value == key.default or key.name == "name" else f" (default: {spelt(key.default)})"
        tell(f"  {leaf}: {spelt(value)}{default}", *paragraph(f"{key.meaning} [{key.place}]", "      "))
        tell(*paragraph(f"values: {key.values}", "      "))
