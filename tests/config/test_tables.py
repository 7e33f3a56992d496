"""Every key of a recipe: what it means and where it is in the paper, told once, and printed alike everywhere."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import BaseModel

from ecamp_fast.cli import main
from ecamp_fast.commands import recipes
from ecamp_fast.config import Recipe, load_recipe, recipe_names
from ecamp_fast.config.keys import keys_of, spelt
from ecamp_fast.config.load import key_origins
from ecamp_fast.config.tables import differences, open_named, page, recipe_entries, rows
from ecamp_fast.config.yaml import parse_value

ROOT = Path(__file__).resolve().parents[2]
PLACES = re.compile(r"(§\d\.\d|Eq\. \d|Table 4 (CD|DM|RF|SR|MSCF)|GLoRIA|released code|ours)([;,] |$)")
# Written down again from the paper: where some keys are, and what is not in it
IN_THE_PAPER = {
    "lambda_neg": "Eq. 3",
    "losses.mim": "Eq. 2",
    "losses.mlm": "Eq. 4",
    "losses.sr": "Eq. 5",
    "masking.descriptors": "Table 4 DM",
    "text.distilled_probability": "Table 4 CD",
    "fusion.use_local": "§3.4",
    "optim.lr": "§4.4",
    "image.low_size": "§4.4",
}


def leaves(section: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        inner = field.annotation
        nested = isinstance(inner, type) and issubclass(inner, BaseModel)
        found |= leaves(inner, f"{prefix}{name}.") if nested else {prefix + name: field.default}  # type: ignore[arg-type]
    return found


def test_every_key_has_a_meaning_and_a_place() -> None:
    keys = list(keys_of(Recipe))
    assert [key.name for key in keys] == list(leaves(Recipe)) and len(keys) > 110
    for key in keys:
        assert key.meaning and key.values and key.section, key
        assert not PLACES.sub("", key.place) and key.place, key
    assert len({key.meaning for key in keys}) > 0.9 * len(keys)  # two heads mean the same
    told = {key.name: key.place for key in keys}
    assert all(place in told[name] for name, place in IN_THE_PAPER.items())
    assert told["loader.threads"] == told["align.width"] == "ours"


def test_a_default_is_read_back_as_it_is_spelt() -> None:
    for key in keys_of(Recipe):
        read = parse_value(spelt(key.default), "it")
        assert read == (pytest.approx(key.default, rel=1e-5) if isinstance(key.default, float | list) else key.default)


def test_docs_have_every_key_and_are_as_they_would_be_written_again() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert text == page(), "make reference"
    table = text.split("# The recipes")[0]
    assert re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE) == sorted(leaves(Recipe), key=lambda key: "." in key)
    assert all(f"## `{name}`" in text for name in recipe_names())


def test_a_recipe_differs_in_what_its_file_says() -> None:
    changed = {key.name: value for key, value in differences(load_recipe("paper_literal"))}
    assert changed["model.vision.depth"] == 8 and changed["rebalance_cap"] is None
    assert "schedule.epochs" not in changed  # named there, with the value that it has anyway
    assert differences(load_recipe("paper")) == []


def shown(*arguments: str) -> str:
    done = CliRunner().invoke(recipes.command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(shown("--json"))["recipes"]
    assert {row["name"] for row in told} == {*recipe_names(), "gloria", "phantom"}
    assert told[0]["name"] == "paper" and told[0]["base"] is None and told[1]["base"] == "paper"
    assert shown() == shown("overview") and max(map(len, shown().splitlines())) <= 80
    assert [entry.about for entry in recipe_entries() if not entry.about] == []
    with pytest.raises(SystemExit) as left:
        main(["recipes", "show", "papr"])
    assert left.value.code == 2 and "did you mean 'paper'?" in capsys.readouterr().err


def test_all_of_one(tmp_path: Path) -> None:
    told = json.loads(shown("show", "demo", "--json"))
    by_key = {row["key"]: row for row in told["keys"]}
    assert by_key["optim.lr"]["value"] == 3e-3 and by_key["optim.lr"]["default"] == 1.5e-4
    text = shown("show", "demo")
    assert "  lr: 0.003 (default: 0.00015)\n      peak learning rate" in text
    assert max(map(len, text.splitlines())) <= 80
    assert len(rows(open_named("gloria"))) == len(rows(Recipe()))
    (tmp_path / "own.yaml").write_text("seed: 7\n")
    assert "  seed: 7 (default: 42)" in shown("show", str(tmp_path / "own.yaml"))


def test_where_a_value_is_from(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("# mine\nseed: 7\nmodel:\n  vision: {depth: 2,\n    width: 96}\noptim: {lr: 1e-3}\n")
    found = key_origins(path, ["optim.lr=2e-3", "image={high_size: 128, low_size: 64}", "model.vision.heads=3"])
    assert found == {
        "name": "own.yaml",
        "seed": "own.yaml, line 2",
        "model.vision.depth": "own.yaml, line 4",
        "model.vision.width": "own.yaml, line 5",
        "model.vision.heads": "--set model.vision.heads=3",
        "optim.lr": "--set optim.lr=2e-3",
        "image.high_size": "--set image={high_size: 128, low_size: 64}",
        "image.low_size": "--set image={high_size: 128, low_size: 64}",
    }
