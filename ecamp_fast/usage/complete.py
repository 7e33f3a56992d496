"""What a shell may complete. Looks at names of files alone and imports nothing that takes long.

Names of folders come from others, and what is completed stands in a command line: only those that a shell reads as
they are are offered.
"""

import json
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

KEYS = Path(__file__).with_name("keys.json")
RECIPES = Path(__file__).parents[1] / "recipes"
RUN, SHARDS = "run_state.json", "MANIFEST.json"  # what a folder has that is a run, or a shard set
HOMES = ("", "runs", "data", "shards")  # folders that are looked into, where none is named
LOOKED_AT = 400  # folders at most


def recipes(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Recipes of the package, or of ``attend``, and files."""
    folder = RECIPES / "attend" if (ctx.command_path or "").endswith("attend train") else RECIPES
    return [*_files(), *_plain((file.stem for file in sorted(folder.glob("*.yaml"))), incomplete)]


def all_recipes(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Recipes of the package, those of ``attend`` too, and files."""
    found = [*sorted(RECIPES.glob("*.yaml")), *sorted((RECIPES / "attend").glob("*.yaml"))]
    return [*_files(), *_plain(dict.fromkeys(file.stem for file in found), incomplete)]


def deepspeed_files(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    return [*_files(), *_plain((file.stem for file in sorted(RECIPES.glob("*.json"), reverse=True)), incomplete)]


def recipe_keys(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """``KEY=``, and behind it the words that the key takes."""
    return _assignments("recipe", incomplete)


def settings_keys(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    return _assignments("settings", incomplete)


def bare_keys(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    return _plain(_known("recipe"), incomplete)


def resumes(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    return [*_folders(), *_plain(("auto", "must", "never"), incomplete)]


def devices(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    return _plain(("cpu", "cuda"), incomplete)


def files(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Files, and folders on the way to them."""
    return _files()


def folders(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    return _folders()


def runs(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    return [*_folders(), *_plain(_with(RUN, incomplete), incomplete)]


def shard_sets(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    return [*_folders(), *_plain(_with(SHARDS, incomplete), incomplete)]


def _known(of: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(KEYS.read_text(encoding="utf-8"))[of]
    return found


def _assignments(of: str, incomplete: str) -> "list[CompletionItem]":
    known = _known(of)
    key, equals, _ = incomplete.partition("=")
    if equals:
        return _plain((f"{key}={word}" for word in known.get(key, ())), incomplete)
    return _plain((f"{name}=" for name in known), incomplete)


def _with(marker: str, incomplete: str) -> list[str]:
    """Folders that hold ``marker``, two levels below where ``incomplete`` points."""
    named = os.path.dirname(incomplete)
    found, left = dict[str, None](), LOOKED_AT
    for home in (named,) if named else HOMES:
        for folder in _below(home):
            for one in (folder, *(_below(folder) if not os.path.exists(os.path.join(folder, marker)) else ())):
                left -= 1
                if left < 0:
                    return list(found)
                if os.path.exists(os.path.join(one, marker)):
                    found[one] = None
    return list(found)


def _below(folder: str) -> Iterator[str]:
    """Folders in a folder by name, but for hidden ones; none where it cannot be read."""
    try:
        with os.scandir(folder or ".") as entries:
            names = sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())
    except OSError:
        return
    yield from (os.path.join(folder, name) for name in names)


def _plain(words: Iterable[str], incomplete: str) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    return [CompletionItem(word) for word in words if word.startswith(incomplete) and shlex.quote(word) == word]


def _files() -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    return [CompletionItem("", type="file")]


def _folders() -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    return [CompletionItem("", type="dir")]
