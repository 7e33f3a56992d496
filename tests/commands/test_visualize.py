"""The page of maps: of phantoms by itself, of patients only when asked; what is refused; an untrained model."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from ecamp_fast import cli
from ecamp_fast.commands.downstream.visualize import _entities, command
from ecamp_fast.config import dump_recipe, load_recipe
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.format import manifest
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.weights.file import save_weights

SMALL = ["model.vision.width=24", "model.vision.depth=1", "model.text.width=32", "batch.micro=8"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    out = tmp_path_factory.mktemp("visualize") / "phantoms"
    build_phantoms(60, out, size=128, options=Options(holdout=0.5, workers=1))
    return ShardSet(out)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, shards: ShardSet) -> Path:
    """A run that was exported untrained."""
    path = tmp_path_factory.mktemp("visualize") / "run"
    recipe = load_recipe("demo", SMALL)
    torch.manual_seed(0)
    model = Ecamp(recipe, shards.manifest.vocab_size)
    directory = RunDir(path)
    directory.create()
    (path / "recipe.yaml").write_text(dump_recipe(recipe))
    save_weights(model, path / "weights.safetensors", dict(model.named_parameters()))
    directory.set_state(status="complete", data=str(shards.path), tokenizer=shards.manifest.tokenizer_digest)
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=True)


def test_of_phantoms_everything_is_drawn_and_an_untrained_model_shows_nothing(
    run: Path, shards: ShardSet, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = call(run, "--data", shards.path, "--out", out, "--samples", 1, "--json")
    found = json.loads(done.stdout)
    assert sorted(found["files"]) == sorted(file.name for file in out.iterdir())
    verdicts = {check["name"]: check["passed"] for check in found["checks"]}
    assert verdicts.pop("stored attention maps point at the boxes") is True
    assert len(verdicts) == 5 and not any(verdicts.values())
    page = (out / "index.html").read_text()
    assert "lacks what the paper" in page and "data:image/png" in page and "Reconstructions" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    for file in out.glob("*.png"):
        assert Image.open(file).size == (128, 128)
    assert {file.stat().st_mode & 0o777 for file in out.iterdir()} == {0o600}


def test_of_patients_nothing_is_drawn_unless_asked(
    run: Path, shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = dict(shards.manifest.source, kind="folder")
    real = ShardSet(shards.path)
    object.__setattr__(real.manifest, "source", kind)
    monkeypatch.setattr("ecamp_fast.shards.load.read.ShardSet", lambda *_: real)
    arguments = (run, "--data", shards.path, "--count", 16, "--samples", 1, "--json")
    plain = json.loads(call(*arguments, "--out", tmp_path / "plain").stdout)
    page = (tmp_path / "plain" / "index.html").read_text()
    assert plain["files"] == ["index.html"] and "data:image" not in page and "--pictures draws them" in page
    assert not any(shards.key("val", number) in page for number in range(16))
    assert plain["claims"]["sentence"]["pairs"] > 0
    asked = json.loads(call(*arguments, "--out", tmp_path / "asked", "--pictures").stdout)
    assert len(asked["files"]) > 3 and "handle it as such" in (tmp_path / "asked" / "index.html").read_text()


def test_one_image_and_a_text(run: Path, tmp_path: Path) -> None:
    Image.new("L", (200, 150), 90).save(tmp_path / "a.png")
    text = ("--text", "Small left pleural effusion. No pneumothorax.")
    words = ("--word", "left", "--entity", "pneumothorax", "--style", "plain")
    found = json.loads(
        call(run, "--image", tmp_path / "a.png", *text, *words, "--out", tmp_path / "o", "--json").stdout
    )
    heads = load_recipe("demo", SMALL).model.text.heads
    assert found["claims"] is None and len(found["files"]) == 1 + 1 + 2 * (1 + heads)
    assert "pneumothorax (denied)" in (tmp_path / "o" / "index.html").read_text()
    failed = call(run, "--image", tmp_path / "a.png", *text, "--word", "heart", "--out", tmp_path / "p")
    assert isinstance(failed.exception, ConfigError) and not (tmp_path / "p").exists()


def test_what_is_refused(run: Path, shards: ShardSet, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    assert call(run, *out).exit_code == 2 == call(run, *out, "--image", "a.png").exit_code
    wrong = call(run, *out, "--data", shards.path, "--entity", "lung")
    assert isinstance(wrong.exception, ConfigError) and "none of the 44" in str(wrong.exception)
    nothing = call(run, *out, "--data", shards.path, "--word", "zebra", "--count", 8)
    assert isinstance(nothing.exception, DataError)
    (tmp_path / "there").mkdir()
    assert isinstance(call(run, "--out", tmp_path / "there", "--data", shards.path).exception, ConfigError)
    assert not (tmp_path / "out").exists()


def test_a_set_of_another_tokenizer_is_refused(run: Path, shards: ShardSet, tmp_path: Path) -> None:
    other = tmp_path / "run"
    other.mkdir()
    for name in ("recipe.yaml", "weights.safetensors"):
        (other / name).symlink_to(run / name)
    RunDir(other).set_state(status="complete", tokenizer="0" * 64)
    failed = call(other, "--data", shards.path, "--out", tmp_path / "out")
    assert isinstance(failed.exception, DataError) and "tokenizer" in str(failed.exception)


def test_a_text_is_read_for_the_entities_of_the_runs_own_set(run: Path, shards: ShardSet, tmp_path: Path) -> None:
    """Of another list than the paper's; where the set is gone, that is said, and the paper's are taken."""
    (tmp_path / "entities.yaml").write_text("pleural fluid: [effusion]\nmass:\n")
    table = tmp_path / "reports.csv"
    for name in ("a.png", "b.png"):
        Image.linear_gradient("L").save(tmp_path / name)
    table.write_text("image_path,study_id,split,report\na.png,1,train,A mass.\nb.png,2,val,No effusion.\n")
    words = ["shard", "build", "--from", "csv", str(table), str(tmp_path / "set")]
    words += ["--entities", str(tmp_path / "entities.yaml"), "--tokenizer", str(shards.wordpiece_path)]
    built = CliRunner().invoke(cli.command, words, catch_exceptions=False)
    assert built.exit_code == 0, built.output
    own = tmp_path / "run"
    own.mkdir()
    for name in ("recipe.yaml", "weights.safetensors"):
        (own / name).symlink_to(run / name)
    digest = ShardSet(tmp_path / "set").manifest.tokenizer_digest
    RunDir(own).set_state(status="complete", data=str(tmp_path / "set"), tokenizer=digest)
    asked = ("--image", tmp_path / "a.png", "--text", "Small effusion.", "--word", "small", "--word", "small")
    done = call(own, *asked, "--entity", "pleural fluid", "--out", tmp_path / "o", "--json")
    assert done.exit_code == 0, done.exception
    heads = load_recipe("demo", SMALL).model.text.heads
    assert "pleural fluid" in (tmp_path / "o" / "index.html").read_text()
    assert len(json.loads(done.stdout)["files"]) == 1 + 1 + 2 * (1 + heads)  # a word named twice is drawn once
    wrong = call(own, *asked, "--entity", "edema", "--out", tmp_path / "p")
    assert isinstance(wrong.exception, ConfigError) and "choose of mass, pleural fluid" in wrong.exception.hint
    (tmp_path / "emptied").mkdir()
    for name in ("gone", "emptied"):
        RunDir(own).set_state(data=str(tmp_path / name))
        kept = ("--tokenizer", shards.wordpiece_path, "--out", tmp_path / f"{name}-page")
        done = call(own, *asked, "--entity", "effusion", *kept)
        assert done.exit_code == 0 and "not on this machine" in done.stderr, done.exception


@pytest.mark.parametrize(
    ("data", "entities"),
    [
        (["images", "texts:0.3"], "of texts"),
        (["texts", "images:2"], "of texts"),
        (["gone", "texts"], "of texts"),
        (["images", "gone"], None),  # that one may have texts
        (["gone"], None),
        ("images", "of images"),
        ("s3://bucket/set", None),
        (None, None),
    ],
)
def test_entities_of_several_sets_are_those_of_one_with_text(
    data: list[str] | str | None, entities: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("images", "texts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / manifest.MANIFEST).touch()
    RunDir(tmp_path / "run").create()
    RunDir(tmp_path / "run").set_state(status="complete", data=data)
    monkeypatch.setattr(
        manifest,
        "read_manifest",
        lambda place: SimpleNamespace(
            tokenizer_digest={"images": "", "texts": "t"}[place.name], entities=f"of {place.name}"
        ),
    )
    assert _entities(tmp_path / "run", None) == entities
