"""The recipes that come along as tables: what each is, every key with its value, and docs/recipes.md."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecamp_fast.config.keys import Key, keys_of, plain, spelt
from ecamp_fast.config.load import RECIPES, load_recipe, recipe_names
from ecamp_fast.config.recipe import Recipe, flatten

BASE = "paper"  # whose values are the defaults of all others
OF_ATTEND = tuple(f"attend/{path.stem}" for path in sorted((RECIPES / "attend").glob("*.yaml")))
_HEAD = """\
# Every key of a recipe

Written by `make reference`, which a test repeats: change the meaning of a key in
`ecamp_fast/config/sections.py`, not here. `ecamp-fast recipes` lists the recipes, `ecamp-fast recipes show NAME` prints
one with these columns, `ecamp-fast train --dry-run` what a run would make of it. `--set KEY=VALUE` changes one key.

*Default* is the recipe `paper`. *Place* is the section, table or equation of the paper; "released code": the paper does
not say it, its code does; "GLoRIA": of that paper; "ours": of this implementation.
"""


@dataclass(frozen=True, slots=True)
class RecipeEntry:
    """A recipe that comes along.  about: what it is, in a sentence   base: whose keys it has where it names none"""

    name: str
    about: str
    base: str | None
    command: str


def recipe_entries() -> list[RecipeEntry]:
    """Those of `train`, then those of `attend train`."""
    names = sorted(recipe_names(), key=lambda name: (name != BASE, name))
    own = [
        RecipeEntry(name, _about(RECIPES / f"{name}.yaml"), None if name == BASE else BASE, "train") for name in names
    ]
    attend = [
        RecipeEntry(name.partition("/")[2], _about(RECIPES / f"{name}.yaml"), BASE, "attend train")
        for name in OF_ATTEND
    ]
    return own + attend


def _about(path: Path) -> str:
    """The first sentence of the comment that a recipe begins with."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    found = re.match(r"(.+?)\.(?=\s|$)", " ".join(lines))
    return found[1] if found else " ".join(lines)


def open_named(name: str) -> Recipe:
    """A recipe by name, those of `attend train` among them, or by file.  Raises ConfigError."""
    of_attend = f"attend/{name.removeprefix('attend/')}"
    if name not in recipe_names() and of_attend in OF_ATTEND:
        return load_recipe(RECIPES / f"{of_attend}.yaml")
    return load_recipe(name)


def rows(recipe: Recipe) -> list[tuple[Key, Any]]:
    """Every key with its value in a recipe, in the order of the sections; those at the top come first."""
    values = flatten(recipe.model_dump(mode="json"))
    found = [(key, plain(values[key.name])) for key in keys_of(Recipe)]
    return sorted(found, key=lambda row: "." in row[0].name)


def differences(recipe: Recipe) -> list[tuple[Key, Any]]:
    """The keys that have not their default, without the name."""
    return [(key, value) for key, value in rows(recipe) if value != key.default and key.name != "name"]


def page() -> str:
    """docs/recipes.md."""
    lines, section = [_HEAD], None
    for key, _ in rows(Recipe()):
        name = key.name.rpartition(".")[0]
        if name != section:
            section = name
            lines += [f"## {f'`{name}`' if name else 'At the top'}", "", key.section, ""]
            lines += ["| key | default | values | meaning | place |", "| --- | --- | --- | --- | --- |"]
        cells = f"`{key.name}`", f"`{spelt(key.default)}`", key.values, key.meaning, key.place
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(_spaced(lines)) + "\n" + _recipes()


def _recipes() -> str:
    lines = ["\n# The recipes\n", "The keys in which each differs from `paper`.\n"]
    for entry in recipe_entries():
        lines.append(f"## `{entry.name}`{' (attend train)' if entry.command != 'train' else ''}\n\n{entry.about}.\n")
        name = entry.name if entry.command == "train" else f"attend/{entry.name}"
        if changed := differences(open_named(name)):
            lines += ["| key | value | default |", "| --- | --- | --- |"]
            lines += [f"| `{key.name}` | `{spelt(value)}` | `{spelt(key.default)}` |" for key, value in changed]
            lines.append("")
        else:
            lines.append("Every key has its default.\n")
    return "\n".join(lines).rstrip("\n") + "\n"


def _spaced(lines: list[str]) -> list[str]:
    """A blank line before every heading."""
    return [f"\n{line}" if line.startswith("## ") and number > 1 else line for number, line in enumerate(lines)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
