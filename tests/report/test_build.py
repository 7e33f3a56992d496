"""Which samples a report shows, and what it does where little is there to show."""

from pathlib import Path

import pytest

from ecamp_fast.config import Recipe, dump_recipe, load_recipe
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.report import build
from ecamp_fast.report.facts import read_results
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.read import ShardSet


def phantoms(folder: Path, holdout: float) -> ShardSet:
    build_phantoms(20, folder, size=146, options=Options(holdout=holdout, workers=1, vocab_size=300))
    return ShardSet(folder)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return phantoms(tmp_path_factory.mktemp("build") / "phantoms", holdout=0.6)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("demo")


@pytest.fixture(scope="module")
def model(shards: ShardSet, recipe: Recipe) -> Ecamp:
    return Ecamp(recipe, shards.manifest.vocab_size).eval()


@pytest.fixture
def run(tmp_path: Path, recipe: Recipe) -> Path:
    RunDir(tmp_path / "run").set_state(status="complete")
    (tmp_path / "run" / "recipe.yaml").write_text(dump_recipe(recipe))
    return tmp_path / "run"


def test_samples_with_a_map_come_first(model: Ecamp, shards: ShardSet, recipe: Recipe) -> None:
    drawn = build.choose(model, shards, "val", recipe, shards.count("val"))
    everybody = set(build.patients(shards, "val", shards.count("val")))
    assert len({sample.key for sample in drawn}) == len(everybody) < shards.count("val")  # some have several studies
    bare = [sample.attention is None for sample in drawn]
    assert any(bare) and not all(bare) and bare == sorted(bare)
    assert [s.key for s in build.choose(model, shards, "val", recipe, 2)] == [s.key for s in drawn[:2]]


def test_one_sample_of_a_patient(
    model: Ecamp, shards: ShardSet, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "patients", lambda *_: ["a"] * (shards.count("val") - 1) + ["b"])
    drawn = {sample.key for sample in build.choose(model, shards, "val", recipe, 8)}
    assert drawn == {shards.key("val", 0), shards.key("val", shards.count("val") - 1)}


def test_patients_are_those_of_the_metadata(shards: ShardSet) -> None:
    names = build.patients(shards, "val", 3)
    assert len(names) == 3 and set(names) < set(build.patients(shards, "val", 999))


def test_where_nothing_is_held_out_the_page_says_so(run: Path, tmp_path: Path, model: Ecamp, recipe: Recipe) -> None:
    everything = phantoms(tmp_path / "all", holdout=0.0)
    model = Ecamp(recipe, everything.manifest.vocab_size).eval()
    page = build.report_run(run, model, everything, recipe, samples=1).read_text()
    assert "Training samples (nothing was held out)" in page and "Held-out samples" not in page
    assert read_results(run) == {}


def test_a_recipe_of_words_alone(run: Path, shards: ShardSet) -> None:
    recipe = load_recipe("demo", ["losses.mim=false", "losses.sr=false"])
    (run / "recipe.yaml").write_text(dump_recipe(recipe))
    model = Ecamp(recipe, shards.manifest.vocab_size).eval()
    page = build.report_run(run, model, shards, recipe, samples=1).read_text()
    assert "no image term in this recipe" in page and "masked words right" in page


def test_a_recipe_of_pictures_alone(run: Path, shards: ShardSet) -> None:
    recipe = load_recipe("demo", ["losses.mlm=false"])
    (run / "recipe.yaml").write_text(dump_recipe(recipe))
    model = Ecamp(recipe, shards.manifest.vocab_size).eval()
    page = build.report_run(run, model, shards, recipe, samples=1).read_text()
    assert "over the hidden pixels" in page and "masked words right" not in page
