"""Grids as YAML: what they stand for, and how faults are told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.config import dump_recipe, load_recipe
from ecamp_fast.downstream.tables.cells import Cell, check_plan, fits, groups, inputs
from ecamp_fast.downstream.tables.grid import LR_FACTORS, read_plan
from ecamp_fast.downstream.tables.registry import TASKS, TaskKind, named
from ecamp_fast.errors import ConfigError

NAMED = ["classify", "plain"]
Kinds = dict[str, TaskKind]


def test_a_grid_is_read_and_its_gaps_are_filled(write_grid: Callable[..., Path], tmp_path: Path) -> None:
    task = {"task": "plain", "data": "set", "fractions": [5]}
    other = task | {"lr_factors": [2], "seeds": [7, 8, 9]}
    plan = read_plan(write_grid(tasks={"a": task, "b": other}, fractions=[1, 10]), NAMED)
    assert plan.encoders["ours"] == (str(tmp_path / "good-1"), str(tmp_path / "good-2"))
    assert plan.tasks["a"].fractions == (5.0,) and plan.tasks["a"].lr_factors == (0.1, 0.3, 1.0)
    assert plan.tasks["a"].seeds == (1, 2) and plan.tasks["b"].seeds == (7, 8, 9)
    assert plan.tasks["b"].lr_factors == (2.0,) and LR_FACTORS == (0.3, 1.0, 3.0)


def test_every_row_stands_beside_random_initialisation_and_pixels(
    write_grid: Callable[..., Path], counter: Any
) -> None:
    kinds: Kinds = counter.kinds
    plan = read_plan(write_grid(), NAMED)
    found = [(one.encoder, len(one.sources), one.kind, one.baseline) for one in groups(plan, kinds)]
    width = load_recipe("demo").model.vision.width
    assert found[:5] == found[5:] == [
        ("ours", 2, "classify", False), ("better", 1, "classify", False), ("untrained", 2, "classify", True),
        ("pixels 16 x 16", 1, "pixels", True), (f"pixels PCA {width}", 1, "pixels-pca", True),
    ]  # fmt: skip
    untrained = groups(plan, kinds)[2].sources
    assert [one.rpartition(":")[2] for one in untrained] == ["0", "1"] and untrained[0].startswith("untrained:")
    assert [one.encoder for one in groups(read_plan(write_grid(baselines=False), NAMED), kinds)] == [
        "ours",
        "better",
    ] * 2


def test_random_initialisation_is_of_each_architecture(
    write_grid: Callable[..., Path], counter: Any, tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    wide = make_run(tmp_path / "better-2", width=48)
    encoders = {"ours": str(tmp_path / "good-1"), "same": str(tmp_path / "good-2"), "small": str(wide)}
    plan = read_plan(write_grid(encoders=encoders, fractions=[1]), NAMED)
    found = {one.encoder: one.sources for one in groups(plan, counter.kinds) if one.baseline}
    assert list(found) == [
        "untrained, as ours",
        "untrained, as small",
        "pixels 16 x 16",
        "pixels PCA 96",
        "pixels PCA 48",
    ]
    assert found["untrained, as small"] == (f"untrained:{wide}:0",)


def test_a_cell_gets_its_own_seed_and_rate(write_grid: Callable[..., Path], counter: Any) -> None:
    kinds: Kinds = counter.kinds
    task = {"task": "classify", "data": "set", "row": "nih-{fraction}", "settings": {"precision": "fp32"}}
    plan = read_plan(write_grid(tasks={"nih": task}), NAMED)
    check_plan(plan, kinds)
    one, ten = (group for group in groups(plan, kinds) if group.encoder == "ours")
    given = inputs(Cell(one, one.sources[0], 7, 0.5), plan, kinds)
    assert (given.settings.seed, given.settings.lr, given.settings.batch) == (7, 1.5e-2, 96)
    assert given.settings.precision == "fp32" and given.fraction == 1
    assert inputs(Cell(ten, ten.sources[0], 7, 1.0), plan, kinds).settings.batch == 768
    assert [fits(group, plan, kinds) for group in groups(plan, kinds)[:4]] == [6, 4, 6, 2]
    more = read_plan(write_grid(tasks={"nih": task | {"seeds": [1, 2, 3]}}), NAMED)
    assert [fits(group, more, kinds) for group in groups(more, kinds)[:4]] == [8, 5, 8, 3]


@pytest.mark.parametrize(("changes", "told"), [
    ({"encodrs": {}}, "did you mean 'encoders'"),
    ({"tasks": {"a": {"task": "classfy", "data": "s"}}}, "did you mean 'classify'"),
    ({"tasks": {"a": {"task": "pixels", "data": "s"}}}, "no task 'pixels'"),
    ({"tasks": {"a": {"task": "classify", "data": "s", "fraction": [1]}}},
     r"tasks.a: line 1: unknown key 'fraction'; did you mean 'fractions'"),
    ({"tasks": {"a": {"task": "classify"}}}, "data"),
    ({"tasks": {"a": 3}}, "must hold `task:`"),
    ({"tasks": {}}, "there are none"),
    ({"tasks": {"../a": {"task": "classify", "data": "s"}}}, "no name of a row"),
    ({"encoders": {"a/b": "x"}}, "no name of a row"),
    ({"encoders": {"a": []}}, "a path, or a list"),
    ({"encoders": {"a": ["x", "x"]}}, "names one twice"),
    ({"fractions": [0]}, "above 0"), ({"fractions": [101]}, "up to 100"), ({"fractions": [1, 1]}, "none twice"),
    ({"seeds": [1.5]}, "whole numbers"), ({"seeds": []}, "at least one"), ({"lr_factors": [-1]}, "factors above 0"),
    ({"device": "gpu"}, "device"),
    ({"tasks": {"a": {"task": "plain", "data": "s", "seeds": [1, 1]}}}, "none twice"),
    ({"tasks": {"a": {"task": "plain", "data": "s", "seeds": [1.5]}}}, "whole numbers"),
])  # fmt: skip
def test_faults_are_told_with_what_was_meant(changes: dict, told: str, write_grid: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=told):
        read_plan(write_grid(**changes), NAMED)


def test_several_faults_are_told_at_once(write_grid: Callable[..., Path]) -> None:
    tasks = {"a": {"task": "nothing", "data": "s"}, "b": {"task": "plain", "dta": "s", "data": "s"}}
    with pytest.raises(ConfigError) as caught:
        read_plan(write_grid(tasks=tasks, encoders={"x": 3}), NAMED)
    assert all(part in str(caught.value) for part in ("tasks.b: ", "did you mean 'data'", "encoders.x", "tasks.a.task"))


@pytest.mark.parametrize(("task", "told"), [
    ({"settings": {"stps": 3}}, "did you mean 'steps'"), ({"settings": {"seed": 3}}, "seeds are the grid's"),
    ({"row": "nih-{fraction}", "fractions": [5]}, "no settings 'nih-5'"),
    ({"options": {"clases": ["Mass"]}}, "did you mean 'classes'"), ({"options": {"size": 4}}, "size"),
    ({"task": "plain", "settings": {"steps": 3}}, "neither row nor settings"),
])  # fmt: skip
def test_what_a_task_does_not_know_is_refused_before_anything_is_computed(
    task: dict, told: str, write_grid: Callable[..., Path], counter: Any
) -> None:
    plan = read_plan(write_grid(tasks={"nih": {"task": "classify", "data": "set"} | task}), NAMED)
    with pytest.raises(ConfigError, match=told):
        check_plan(plan, counter.kinds)


def test_an_encoder_that_is_not_there_is_refused(write_grid: Callable[..., Path], counter: Any) -> None:
    plan = read_plan(write_grid(encoders={"a": "no/such"}), NAMED)
    with pytest.raises(ConfigError, match=r"encoders.a: there is no no/such"):
        check_plan(plan, counter.kinds)


def test_a_data_set_that_the_paper_has_not_is_refused(write_grid: Callable[..., Path], counter: Any) -> None:
    """Else its rows are missing beside ours, and nothing says why."""
    task = {"task": "plain", "data": "set", "paper": "CXR-14"}
    with pytest.raises(ConfigError, match=r"tasks.a.paper: no table has CXR-14\n.*CXR14, CXP, RSNA, COVIDx, SIIM"):
        check_plan(read_plan(write_grid(tasks={"a": task}), NAMED), counter.kinds)


def test_prompts_ask_for_runs_with_losses_align(write_grid: Callable[..., Path], tmp_path: Path) -> None:
    """Before hours of other cells are computed, and not after them."""
    encoders = {}
    for name, changes in (("with", ["losses.align=true"]), ("without", [])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(dump_recipe(load_recipe("demo", changes)))
        encoders[name] = str(tmp_path / name)
    tasks = {"prompts": {"task": "zero-shot", "data": "set"}}
    check_plan(read_plan(write_grid(encoders={"with": encoders["with"]}, tasks=tasks), named(TASKS)), TASKS)
    with pytest.raises(ConfigError, match=r"encoders\.without: .* losses\.align"):
        check_plan(read_plan(write_grid(encoders=encoders, tasks=tasks), named(TASKS)), TASKS)


def test_the_registry_names_files_of_settings_and_kinds_of_pixels_that_there_are() -> None:
    from ecamp_fast.downstream.training.settings import load_settings

    for kind in TASKS.values():
        assert kind.settings is None or load_settings(kind.settings).steps > 0
        assert not set(kind.plain) & set(named(TASKS)) and set(kind.plain) <= set(TASKS)
        assert kind.settings is not None or not kind.tuned
