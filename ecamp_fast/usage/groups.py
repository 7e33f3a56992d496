"""Groups of commands: they say what was meant by a wrong name, and import a command only when it is called."""

import importlib
from typing import TYPE_CHECKING

import click

from ecamp_fast.usage.options import meant

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class HelpfulGroup(click.Group):
    """To a name that it does not know it says the nearest, or all of them. Summaries are listed whole."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] in known or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        raise click.UsageError(f"No such command '{args[0]}'.{meant(args[0], known)}", ctx)

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Name and summary of each command, in the order of the help."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return [(name, one.short_help or "") for name, one in commands if one is not None and not one.hidden]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self.summaries(ctx))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=told) for name, told in self.summaries(ctx) if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


class LazyGroup(HelpfulGroup):
    """``table``: command name -> (module that holds it as ``command``, its line in ``--help``)."""

    def __init__(self, *args: object, table: dict[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        found: click.Command = importlib.import_module(self.table[cmd_name][0]).command
        return found

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        return [(name, line) for name, (_, line) in self.table.items()]
