"""`ecamp-fast evaluate` and `ablate` with tasks and trainings that are known functions; --json goes by its schemas."""

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from ecamp_fast.commands import trainings
from ecamp_fast.commands.downstream import ablate, evaluate
from ecamp_fast.config import dump_recipe, load_recipe
from ecamp_fast.downstream.tables import identity, registry
from ecamp_fast.errors import ConfigError

FAKES = Path(__file__).parents[1] / "downstream" / "tables" / "conftest.py"


@pytest.fixture(scope="module")
def fakes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fakes_of_tables", FAKES)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ecamp_fast.shards.builder.build import Options, build_phantoms

    out = tmp_path_factory.mktemp("evaluate") / "set"
    build_phantoms(2, out, size=64, options=Options(workers=1, vocab_size=200))
    return out


@pytest.fixture
def counter(fakes: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    found = fakes.Counter()
    probe = replace(found.kinds["classify"], published="probe")
    monkeypatch.setattr(registry, "TASKS", found.kinds | {"probe": probe})
    identity.encoder_digest.cache_clear()
    return found


@pytest.fixture
def write_grid(fakes: Any, tmp_path: Path, shards: Path) -> Callable[..., Path]:
    found: Callable[..., Path] = fakes.grids_in(tmp_path, shards)
    return found


def invoke(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=True)


def test_a_grid_becomes_tables_and_a_page(write_grid: Callable[..., Path], counter: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = invoke(evaluate.command, write_grid(), "--out", out)
    assert done.exit_code == 0, done.output
    names = ["table.csv", "table.md", "table.tex", "report.html", "diseases.csv"]
    assert done.stdout.splitlines() == [str(out / name) for name in names]
    assert "nih, ours" in done.stderr and len(done.stderr.splitlines()) == len(counter.fits) == 40
    assert all((out / name).stat().st_size > 100 for name in names)
    again = json.loads(invoke(evaluate.command, write_grid(), "--out", out, "--json").stdout)
    assert len(counter.fits) == 40 and len(again["rows"]) == 2 * (13 + 5)


def test_what_would_be_fitted_is_told_and_nothing_computed(write_grid: Callable[..., Path], counter: Any) -> None:
    told = json.loads(invoke(evaluate.command, write_grid(), "--dry-run", "--json").stdout)
    assert told["fits"] == 40 and len(told["rows"]) == 10 and not counter.fits
    assert "40 fits" in invoke(evaluate.command, write_grid(), "--dry-run").stdout


@pytest.mark.parametrize("arguments", [
    [], ["grid.yaml"], ["grid.yaml", "--out", "a", "--data", "b"], ["--label-free", "run"],
    ["grid.yaml", "--out", "a", "--label-free", "run"], ["--label-free", "run", "--data", "a", "--dry-run"],
])  # fmt: skip
def test_what_cannot_be_meant_is_a_fault_of_usage(arguments: list[str]) -> None:
    assert invoke(evaluate.command, *arguments).exit_code == 2


def test_an_unknown_key_is_told_with_the_nearest(write_grid: Callable[..., Path], counter: Any, tmp_path: Path) -> None:
    done = invoke(evaluate.command, write_grid(sedes=[1]), "--out", tmp_path / "out")
    assert isinstance(done.exception, ConfigError) and "did you mean 'seeds'" in done.exception.what
    assert isinstance(invoke(evaluate.command, write_grid(encoders={}), "--dry-run").exception, ConfigError)
    assert not (tmp_path / "out").exists()


def test_report_cards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    number = {"value": 0.5, "low": 0.4, "high": 0.6}
    measure = {
        "title": "T",
        "lower_is_better": False,
        **number,
        "opponents": {"chance": {"value": 0.1, "better": number}},
    }
    card = {"split": "val", "samples": 8, "patients": 4, "measures": {"m": measure}, "absent": {"views": "one each"}}
    asked: list[Any] = []

    def report_card(runs: Any, data: str, **options: Any) -> dict[str, Any]:
        asked.append((runs, data, options["split"], options["out"]))
        return {"cards": {"a": card}, "better": {"m": number}, "files": ["x.html"]}

    module = ModuleType("ecamp_fast.commands.downstream.label_free")
    module.report_card = report_card  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    given = ("--label-free", "a", "--label-free", "b", "--data", "set", "--split", "val", "--out", "c")
    done = invoke(evaluate.command, *given)
    assert done.exit_code == 0 and "m: 0.500 (0.400 to 0.600); chance 0.100" in done.stdout
    assert "views: not measured: one each" in done.stdout and done.stdout.endswith("x.html\n")
    assert json.loads(invoke(evaluate.command, *given, "--json").stdout)["cards"]["a"] == card
    assert asked[0] == ((Path("a"), Path("b")), "set", "val", Path("c"))


# ablate


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[Path, trainings.Training]:
    """Runs that were asked for; each is complete at once."""
    found: dict[Path, trainings.Training] = {}

    def train_all(runs: dict[Path, trainings.Training], at_once: int, ranks: int = 1, threads: int | None = 1) -> None:
        for run, training in runs.items():
            found[run] = training
            run.mkdir(parents=True)
            (run / "recipe.yaml").write_text(dump_recipe(load_recipe(training.recipe, training.overrides)))
            (run / "weights.safetensors").write_text(f"better {run.name}")
            (run / "run_state.json").write_text(json.dumps({"status": "complete"}))

    monkeypatch.setattr(trainings, "train_all", train_all)
    monkeypatch.setattr("ecamp_fast.machine.cuda_devices", lambda: 0)
    return found


def small_grid(write_grid: Callable[..., Path], shards: Path, **changes: object) -> Path:
    task = {"task": "probe", "data": str(shards), "paper": "COVIDx"}
    tasks = {"covidx": task, "nih": task | {"task": "classify", "paper": "CXR14"}}
    return write_grid(**({"encoders": {}, "tasks": tasks, "seeds": [1], "lr_factors": [1.0]} | changes))


def test_the_recipe_of_each_row_is_printed_without_data_and_without_a_grid() -> None:
    done = invoke(ablate.command, "--dry-run")
    assert done.exit_code == 0 and "no-cd-dm-rf-sr (Table 4)" in done.stdout
    assert "full (Table 4 and 5)" in done.stdout and "  --set losses.sr=false" in done.stdout
    told = json.loads(invoke(ablate.command, "--dry-run", "--json", "--recipe", "worth", "--data", "set").stdout)
    rows = {row["name"]: row for row in told["rows"]}
    assert len(rows) == 16 and rows["lambda-0.1"]["changes"]["lambda_neg"] == 0.1
    assert rows["no-sr"]["data"] == "set" and rows["no-sr"]["missing"] == ""
    assert "--raw-data" in rows["no-cd"]["missing"] and "--gloria" in rows["gloria-vit"]["missing"]
    for row in rows.values():  # what is printed is what load_recipe takes
        base, own = load_recipe("worth"), load_recipe("worth", row["overrides"])
        assert (own.digest == base.digest) == (not row["changes"])


def test_each_row_is_trained_once_and_scored_beside_the_papers(
    write_grid: Callable[..., Path], counter: Any, trained: Any, shards: Path, tmp_path: Path
) -> None:
    grid, out = small_grid(write_grid, shards, fractions=[1]), tmp_path / "ablation"
    names = ("full", "no-cd", "lambda-0.1", "mae")
    given = ("--data", "set", "--raw-data", "raw", "--out", out, "--recipe", "demo", "--set", "seed=3")
    given = (*given, *(word for name in names for word in ("--row", name)))
    told = json.loads(invoke(ablate.command, grid, *given, "--json").stdout)
    assert {run.name: training.data for run, training in trained.items()} == {
        "full": "set", "no-cd": "raw", "lambda-0.1": "set", "mae": "set"
    }  # fmt: skip
    assert all(training.overrides[0] == "seed=3" and training.ds_config == "zero0" for training in trained.values())
    assert told["runs"]["full"] == str(out / "runs" / "full")
    ours = {(row["task"], row["method"]) for row in told["rows"] if row["origin"] == "ours"}
    assert {("nih", name) for name in (*names, "untrained", "pixels 16 x 16")} <= ours
    theirs = {
        row["method"]: row["score"] for row in told["rows"] if row["origin"] == "Table 5" and row["task"] == "nih"
    }
    assert theirs["lambda-0.1"] == 81.8 and theirs["full"] == 81.9
    before = len(counter.fits)
    trained.clear()
    assert invoke(ablate.command, grid, *given).exit_code == 0
    assert not trained and len(counter.fits) == before
    assert (out / "table-4" / "report.html").exists() and (out / "table-5" / "table.tex").exists()


def test_fractions_are_the_tables_unless_the_grid_names_some(
    write_grid: Callable[..., Path], counter: Any, trained: Any, shards: Path, tmp_path: Path
) -> None:
    grid = small_grid(write_grid, shards)
    tree = json.loads(grid.read_text())
    del tree["fractions"]
    grid.write_text(json.dumps(tree))
    given = ("--data", "set", "--out", tmp_path / "out", "--recipe", "demo", "--row", "full", "--json")
    rows = json.loads(invoke(ablate.command, grid, *given).stdout)["rows"]
    found = {(row["origin"], row["fraction"]) for row in rows if row["method"] == "full"}
    assert found == {("ours", 1.0), ("ours", 10.0), ("Table 4", 1.0), ("Table 5", 1.0), ("Table 5", 10.0)}


@pytest.mark.parametrize(("arguments", "told"), [
    (["--row", "ful"], "did you mean 'full'"), (["--set", "lambda_neg=0.1"], "lambda_neg"),
    (["--recipe", "papr"], "did you mean 'paper'"), (["--set", "optim.lrr=1"], "did you mean 'optim.lr'"),
])  # fmt: skip
def test_what_is_asked_for_wrongly_is_told(arguments: list[str], told: str) -> None:
    done = invoke(ablate.command, "--dry-run", *arguments)
    assert isinstance(done.exception, ConfigError) and told in str(done.exception)


def test_nothing_is_trained_where_something_is_missing(
    write_grid: Callable[..., Path], counter: Any, trained: Any, shards: Path, tmp_path: Path
) -> None:
    grid, given = small_grid(write_grid, shards), ("--out", tmp_path / "out", "--recipe", "demo", "--data", "set")
    other = tmp_path / "other.yaml"
    other.write_text(json.dumps({"tasks": {"a": {"task": "plain", "data": str(shards)}}}))
    whole = tmp_path / "whole.yaml"
    whole.write_text(json.dumps({"encoders": {"a": "b"}, "tasks": {"a": {"task": "probe", "data": str(shards)}}}))
    for arguments, told in (
        ((grid,), "no-cd: without distillation"),
        ((whole, "--row", "full"), "leave `encoders` out"),
        ((other, "--row", "full"), "no task that Tables 4 and 5 have"),
    ):
        done = invoke(ablate.command, *arguments, *given)
        assert isinstance(done.exception, ConfigError) and told in str(done.exception)
    done = invoke(ablate.command, grid, "--out", tmp_path / "out", "--row", "full")
    assert isinstance(done.exception, ConfigError) and "full: --data SHARDS" in str(done.exception)
    assert not trained and invoke(ablate.command, grid).exit_code == 2


def test_a_run_of_another_recipe_is_not_taken_for_a_row(
    write_grid: Callable[..., Path], counter: Any, trained: Any, shards: Path, tmp_path: Path
) -> None:
    given = ("--data", "set", "--out", tmp_path / "out", "--recipe", "demo", "--row", "full")
    assert invoke(ablate.command, small_grid(write_grid, shards), *given).exit_code == 0
    done = invoke(ablate.command, small_grid(write_grid, shards), *given, "--set", "optim.lr=1e-5")
    assert isinstance(done.exception, ConfigError)
    assert "another recipe: optim.lr was 0.003, is 1e-05" in done.exception.what
