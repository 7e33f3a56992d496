"""docs/reference.md and the keys for completion are what the commands say."""

import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ecamp_fast import errors
from ecamp_fast.cli import INTERRUPTED
from ecamp_fast.config import load_recipe
from ecamp_fast.config.recipe import flatten

SCRIPT = Path(__file__).with_name("write_reference.py")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_page", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference_page"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


reference = _load()
PROGRAMS = reference.programs()
PAGE = reference.PAGE.read_text(encoding="utf-8")


def section(name: str) -> str:
    """What the page says of a command, without its own commands."""
    (found,) = re.findall(rf"^#+ {re.escape(name)}\n(.*?)(?=^#|\Z)", PAGE, re.M | re.S)
    return str(found)


def test_the_page_and_the_keys_are_current() -> None:
    assert reference.page() == PAGE, "make reference"
    assert reference.keys_text() == reference.KEYS.read_text(encoding="utf-8"), "make reference"


@pytest.mark.parametrize("told", PROGRAMS, ids=lambda told: told.name)
def test_every_option_of_every_command_is_there_once(told: Any) -> None:
    rows = re.findall(r"^\| `(-[^`]*)`", section(told.name), re.M)
    names = Counter(name for row in rows for name in row.split(", "))
    every = [name for option in reference.visible(told) for name in [*option.opts, *option.secondary_opts]]
    assert names == Counter(every) and set(names.values()) == {1}


def test_no_other_page_lists_options() -> None:
    others = (path for path in reference.PAGE.parent.rglob("*.md") if path != reference.PAGE)
    assert not [path for path in others if re.search(r"^\| `--help`|^\| `-h, --help`", path.read_text(), re.M)]
    assert len(re.findall(r"^#+ (?:ecamp-fast|deepspeed)", PAGE, re.M)) == len(PROGRAMS)


def test_every_command_has_usage_summary_schema_and_example() -> None:
    for told in PROGRAMS:
        text = section(told.name)
        assert text.startswith(f"\n```text\n{told.name} "), told.name
        assert text.rstrip().endswith(f"Example:\n\n```text\n{reference.helped(told)[1]}\n```"), told.name
        names = {name for option in told.command.params for name in option.opts}
        if "--json" in names and told.name.count(" ") and told.name != "ecamp-fast bench":
            assert re.search(r"^- `schema` \d: `", text, re.M), told.name


def test_exit_codes_are_those_of_the_program() -> None:
    codes = reference.exit_codes()
    faults = {one.exit_code for one in vars(errors).values() if isinstance(one, type)}
    assert set(codes) == {0, *faults, errors.STOPPED, INTERRUPTED}
    assert set(codes) >= {code for told in PROGRAMS for code in reference.codes_of(told)}
    assert codes[8] == "refused on principle"
    of = {told.name: reference.codes_of(told) for told in PROGRAMS}
    assert of["ecamp-fast compare-runs"] == [1] and of["ecamp-fast distill run"] == [7, 75]
    assert of["ecamp-fast shard verify"] == of["ecamp-fast stop"] == []


def test_keys_are_those_of_a_recipe() -> None:
    keys = reference.keys()["recipe"]
    recipe = load_recipe()
    values = flatten(recipe.model_dump(mode="json"))
    assert set(keys) == set(values)
    for key, words in keys.items():
        value = values[key]
        if words and isinstance(value, (str, bool)):
            assert str(value).lower() in words, key
        assert not (isinstance(value, bool) and words != ["true", "false"]), key


def test_a_help_without_an_example_is_refused() -> None:
    import click

    bare = click.Command("bare", help="Do.")
    with pytest.raises(ValueError, match="bare: its help does not end with one example"):
        reference.helped(reference.Told("bare", bare, click.Context(bare), 1))
