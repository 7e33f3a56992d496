"""The rows of Tables 4 and 5 as recipes: what is off is off, and nothing else is changed."""

import pytest

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.downstream.tables.ablations import FULL, GLORIA, MAE, PARTS, Ablation, ablations, beside_row
from ecamp_fast.downstream.tables.published import published


def is_on(recipe: Recipe) -> dict[str, bool]:
    """Read from the recipe's own fields, not by the names of keys."""
    return {
        "CD": recipe.text.distilled_probability > 0,
        "DM": recipe.masking.descriptors == "always",
        "RF": recipe.rebalance != "off",
        "SR": recipe.losses.sr,
        "G": recipe.fusion.use_global,
        "L": recipe.fusion.use_local,
    }


ROWS = {one.name: one for one in ablations()}


@pytest.mark.parametrize("base", ["paper", "paper_literal", "worth", "demo"])
def test_every_row_of_table_4_has_its_parts_whatever_the_base_has(base: str) -> None:
    for row in published("4").rows:
        (one,) = (one for one in ROWS.values() if one.tables.get("4") == row.method)
        assert [part for part, on in is_on(one.recipe(base)).items() if on] == [
            p for p in row.method.split() if p != "-"
        ]
        assert one.recipe(base).lambda_neg == 0.05


def test_there_are_fourteen_pre_trainings_and_two_baselines() -> None:
    assert list(ROWS) == [
        "no-cd-dm-rf-sr", "no-dm-rf-sr", "no-rf-sr", "no-sr", "no-cd", "no-dm", "no-rf", "no-local", "no-global",
        "full", "lambda-0.025", "lambda-0.1", "lambda-0.25", "lambda-0.5", "mae", "gloria-vit",
    ]  # fmt: skip
    digests = [one.recipe("paper").digest for one in ROWS.values() if one.trained]
    assert len(set(digests)) == len(digests) == 15
    assert ROWS[FULL].recipe("paper").digest == load_recipe("paper").digest


def test_table_5_changes_lambda_alone() -> None:
    for row in published("5").rows:
        (one,) = (one for one in ROWS.values() if one.tables.get("5") == row.method)
        changes = one.differs("paper")
        assert changes == ({} if row.method == "0.05" else {"lambda_neg": float(row.method)})
        assert one.recipe("paper").lambda_neg == float(row.method)


def test_a_row_changes_what_it_turns_off_and_nothing_else() -> None:
    assert ROWS["no-cd-dm-rf-sr"].differs("paper") == {
        "text.distilled_probability": 0.0, "masking.descriptors": "random", "rebalance": "off", "losses.sr": False,
    }  # fmt: skip
    assert ROWS["no-local"].differs("paper") == {"fusion.use_local": False}
    assert ROWS["no-cd"].differs("worth") == {}  # it reads no distilled text as it is
    assert ROWS["no-sr"].differs("worth") == {"text.distilled_probability": 0.8, "losses.sr": False}


def test_the_images_alone_are_recipe_mae() -> None:
    own = ROWS[MAE].recipe("paper")
    assert own.digest == load_recipe("mae").digest and ROWS[MAE].recipe("worth").model == load_recipe("worth").model


def test_maps_of_raw_reports_are_read_where_distillation_is_off_and_maps_are_used() -> None:
    assert {name for name, one in ROWS.items() if one.trained and one.reads_raw_maps("paper")} == {"no-cd"}
    assert not ROWS["no-cd"].reads_raw_maps("paper", ["sr.maps=centre"])


def test_overrides_of_the_whole_ablation_stay() -> None:
    assert ROWS["no-sr"].recipe("paper", ["model.vision.depth=8"]).model.vision.depth == 8
    assert all(part.key in str(load_recipe("paper")) or "." in part.key for part in PARTS.values())
    assert isinstance(ROWS[GLORIA], Ablation) and not ROWS[GLORIA].trained


def test_the_papers_numbers_stand_beside_our_rows() -> None:
    found = {cell.row.method: cell.value for cell in beside_row("4", "segment", "SIIM", 1)}
    assert len(found) == 10 and found["no-global"] == 67.5 and found["no-cd-dm-rf-sr"] == 65.4
    five = {cell.row.method: cell.value for cell in beside_row("5", "probe", "COVIDx", 10)}
    assert five == {
        "lambda-0.025": 93.3, "full": 95.0, "lambda-0.1": 94.8, "lambda-0.25": 94.0, "lambda-0.5": 91.5,
        "mae": 88.5, "gloria-vit": 87.7,
    }  # fmt: skip
    cells = [(cell.row.method, cell.value) for cell in beside_row("5", "classify", "CXR14", 1)]
    assert len(cells) == 7 and cells[-2:] == [("mae", 74.7), ("gloria-vit", 77.7)]  # the CNN's has 70.7
    assert beside_row("5", "detect", "RSNA", 1) == []
