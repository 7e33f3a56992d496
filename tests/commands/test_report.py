"""`ecamp-fast report`: with pictures, without, and what it says when it cannot."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ecamp_fast.commands import report
from ecamp_fast.config import dump_recipe, load_recipe
from ecamp_fast.errors import ConfigError
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.weights.file import save_weights


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(report.command, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    out = tmp_path_factory.mktemp("report") / "phantoms"
    build_phantoms(12, out, size=146, options=Options(holdout=0.5, workers=1, vocab_size=300))
    return ShardSet(out)


@pytest.fixture
def run(tmp_path: Path, shards: ShardSet) -> Path:
    path, recipe = tmp_path / "run", load_recipe("demo")
    RunDir(path).set_state(status="complete", data=str(shards.path), ranks=1)
    (path / "recipe.yaml").write_text(dump_recipe(recipe))
    save_weights(Ecamp(recipe, shards.manifest.vocab_size), path / "weights.safetensors")
    return path


def test_pictures_of_as_many_samples_as_asked_for(run: Path) -> None:
    done = invoke(run, "--samples", 2, "--json")
    assert done.exit_code == 0, done.output
    output = json.loads(done.stdout)
    assert output["schema"] == 1 and "check" in output["results"]["images"]
    page = Path(output["report"]).read_text()
    assert page.count("<article") == 2 and output["bytes"] == len(page.encode())


@pytest.mark.parametrize("options", [("--no-pictures",), ("--samples", 0)])
def test_without_pictures_nothing_of_the_data_is_in_it(run: Path, shards: ShardSet, options: tuple) -> None:
    done = invoke(run, *options)
    assert done.exit_code == 0 and done.stdout.strip() == str(run / "report.html")
    page = (run / "report.html").read_text()
    assert "<article" not in page and "<img" not in page
    assert not any(shards.key("val", index) in page for index in range(shards.count("val")))


def test_a_shard_set_that_moved(run: Path, shards: ShardSet) -> None:
    RunDir(run).set_state(data="/nowhere")
    assert isinstance(invoke(run).exception, ConfigError)
    assert "--data" in str(invoke(run).exception)
    assert invoke(run, "--data", shards.path).exit_code == 0


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    assert isinstance(invoke(tmp_path).exception, ConfigError)
