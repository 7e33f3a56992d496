"""Groups of commands: they say what was meant by a wrong name, and import a command only when it is called."""

import importlib

import click


class HelpfulGroup(click.Group):
    """To a name that it does not know it says the nearest, or all of them."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] in known or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        raise click.UsageError(f"No such command '{args[0]}'.{_did_you_mean(args[0], known)}", ctx)


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])


def _did_you_mean(word: str, known: list[str]) -> str:
    from difflib import get_close_matches  # costs a few ms, so only here

    close = get_close_matches(word, known, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else f" There are: {', '.join(known)}."
