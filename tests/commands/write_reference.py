"""Writes docs/reference.md, every command and option, docs/recipes.md, and the keys that a shell may complete.

``make reference``. All is read from the commands themselves and from their schemas; ``test_reference.py`` and
``tests/config/test_tables.py`` hold them current.
"""

import json
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import BaseModel

from ecamp_fast import cli
from ecamp_fast.config import Recipe
from ecamp_fast.config.tables import page as recipes_page
from ecamp_fast.downstream.training.settings import Settings
from ecamp_fast.train import main as rank
from ecamp_fast.usage.complete import KEYS
from ecamp_fast.usage.groups import HelpfulGroup

ROOT = Path(__file__).absolute().parents[2]
PAGE = ROOT / "docs" / "reference.md"
RECIPES = ROOT / "docs" / "recipes.md"
SCHEMAS = ROOT / "ecamp_fast" / "commands" / "schemas"
PROGRAM = "deepspeed ecamp_fast/train.py"
EXAMPLE = "\n\n\b\nExample:\n"
# Codes that not every command leaves with, where its help does not name them
FURTHER = {
    "ecamp-fast demo": (1, 6),
    "ecamp-fast worth": (1, 6, 75),
    "ecamp-fast train": (6, 75),
    PROGRAM: (6, 75),
    "ecamp-fast attend train": (6, 75),
    "ecamp-fast ablate": (6, 75),
    "ecamp-fast evaluate": (6,),
    "ecamp-fast finetune classify": (6,),
    "ecamp-fast finetune segment": (6,),
    "ecamp-fast finetune detect": (6,),
    "ecamp-fast probe": (6,),
    "ecamp-fast import": (6,),
    "ecamp-fast distill run": (7, 75),
    "ecamp-fast distill train-student": (6,),
}
_SHORT = {"INTEGER RANGE": "N", "FLOAT RANGE": "X"}  # what stands beside says the range
EVERYWHERE = (0, 2, 3, 4, 5, 8, 130)

HEAD = f"""# Commands and options

Every command with all its options, as `--help` tells them. `make reference` writes this page.

Results go to stdout, with `--json` as one JSON object; progress and faults to stderr. What `--json` prints is
described by a JSON schema of the package, in `ecamp_fast/commands/schemas`; each object names its version as `schema`.
A command that fails prints `{{"schema": 2, "error": {{"kind", "what", "hint", "exit_code"}}}}` instead.

## Exit codes

Every command may leave with {", ".join(map(str, EVERYWHERE))}; others are named where they occur.

| code | what it says |
|---|---|
"""


@dataclass(frozen=True)
class Told:
    """A command of the tree.  name: as it is typed   context: that its help is written in"""

    name: str
    command: click.Command
    context: click.Context
    depth: int


def walk(
    command: click.Command = cli.command, name: str = "ecamp-fast", above: click.Context | None = None, depth: int = 0
) -> Iterator[Told]:
    """All commands and groups, each before its own."""
    context = click.Context(command, info_name=name, parent=above, **command.context_settings)
    yield Told(context.command_path, command, context, depth)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from walk(found, child, context, depth + 1)


def programs() -> list[Told]:
    """The tree of ``ecamp-fast``, and the program that deepspeed starts."""
    context = click.Context(rank, info_name=PROGRAM, **rank.context_settings)
    return [*walk(), Told(PROGRAM, rank, context, 1)]


def helped(told: Told) -> tuple[str, str]:
    """What the help says of a command, and its example.  Raises ValueError where it has none, or not at its end."""
    text, found, example = cleandoc(told.command.help or "").rpartition(EXAMPLE)
    if not found or "\n" in example.strip():
        raise ValueError(f"{told.name}: its help does not end with one example")
    return text, example.strip()


def visible(told: Told) -> list[click.Option]:
    """Its options. That of its help is made anew: click keeps the first one of a command, of whatever group it was."""
    own = [one for one in told.command.params if isinstance(one, click.Option) and not one.hidden]
    names = told.command.get_help_option_names(told.context)
    return [*own, click.Option(names, is_flag=True, help="Show this message and exit.")] if names else own


def exit_codes() -> dict[int, str]:
    """Code and meaning, as the help of ``ecamp-fast`` has them."""
    text = " ".join((cli.command.help or "").split())
    listed = text.split("Exit codes: ")[1].split(". ")[0].split(" \b")[0].rstrip(".")
    return {int(number): meaning for number, meaning in re.findall(r"(\d+) ([^,]+)", listed)}


def codes_of(told: Told) -> list[int]:
    """Beside those of every command."""
    text = " ".join((told.command.help or "").split())
    named = re.findall(
        r"(?:[Ee]xit code|(?<!launcher )[Ll]eaves with|giving up with|one was found;|difference;) (\d+)", text
    )
    return sorted({*map(int, named), *FURTHER.get(told.name, ())} - set(EVERYWHERE))


def page() -> str:
    lines = [HEAD + "\n".join(f"| {code} | {meaning} |" for code, meaning in exit_codes().items()), ""]
    for told in programs():
        lines += section(told)
    return "\n".join(lines).rstrip() + "\n"


def section(told: Told) -> list[str]:
    text, example = helped(told)
    usage = " ".join(told.command.collect_usage_pieces(told.context))
    lines = [f"{'#' * (2 + max(told.depth - 1, 0))} {told.name}", "", "```text", f"{told.name} {usage}", "```", ""]
    lines += [paragraph(one) + "\n" for one in text.strip().split("\n\n")]
    if isinstance(told.command, HelpfulGroup):
        lines += ["| command | what it does |", "|---|---|"]
        lines += [f"| `{name}` | {cell(line)} |" for name, line in told.command.summaries(told.context)]
        lines.append("")
    lines += ["| option | default | what it says |", "|---|---|---|"]
    lines += [row(option, told.context) for option in visible(told)]
    lines.append("")
    if epilog := told.command.epilog:
        lines += [paragraph(one) + "\n" for one in epilog.strip().split("\n\n")]
    if codes := codes_of(told):
        lines += [f"Further exit codes: {', '.join(map(str, codes))}.", ""]
    lines += fields(told)
    return [*lines, "Example:", "", "```text", example, "```", ""]


def row(option: click.Option, context: click.Context) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    value = "" if option.is_flag else _SHORT.get(option.make_metavar(context), option.make_metavar(context))
    extra = option.get_help_extra(context)
    default = f"`{extra['default']}`" if "default" in extra else "required" if option.required else ""
    told = cell(option.help or "") + (f" `{extra['range']}`" if "range" in extra else "")
    return f"| `{cell(names)}`{f' `{cell(value)}`' if value else ''} | {cell(default)} | {told} |"


def fields(told: Told) -> list[str]:
    """What ``--json`` prints, of a command that has it."""
    file = SCHEMAS / f"{told.name.removeprefix('ecamp-fast ').replace(' ', '-')}.json"
    if not file.exists():
        return []
    schema = json.loads(file.read_text(encoding="utf-8"))
    lines = [f"JSON (`{file.name}`): {schema['description']}", ""]
    for one in schema.get("oneOf", [schema]):
        version = one["properties"]["schema"]["const"]
        names = ", ".join(f"`{name}`" for name in one["properties"] if name != "schema")
        lines += [f"- `schema` {version}: {names}"]
    return [*lines, ""]


def paragraph(text: str) -> str:
    """One of a help page; what follows a backspace stays as it is."""
    if text.startswith("\b"):
        return f"```text\n{text.removeprefix(chr(8)).strip(chr(10))}\n```"
    return " ".join(text.split())


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def keys() -> dict[str, dict[str, list[str]]]:
    return {"recipe": dict(_keys(Recipe)), "settings": dict(_keys(Settings))}


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Dotted keys of a model with the words that each takes."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{prefix}{name}.")
        else:
            yield prefix + name, list(dict.fromkeys(_words(kind)))


def _words(kind: Any) -> Iterator[str]:
    if get_origin(kind) is Literal:
        yield from (str(word) for word in get_args(kind))
    elif kind is bool:
        yield from ("true", "false")
    elif isinstance(kind, types.UnionType) or "Union" in str(get_origin(kind)):
        for one in get_args(kind):
            yield from _words(one)


def keys_text() -> str:
    return json.dumps(keys(), indent=1) + "\n"


def main() -> None:
    """With ``--check`` nothing is written: 1 where a file is not current."""
    wrong = []
    for path, text in ((PAGE, page()), (RECIPES, recipes_page()), (KEYS, keys_text())):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        wrong.append(path)
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(ROOT)}: written")
    if "--check" in sys.argv and wrong:
        sys.exit(f"not current, make reference: {', '.join(str(path) for path in wrong)}")


if __name__ == "__main__":
    main()
