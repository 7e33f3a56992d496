"""Features of a shard set in one file: the same as the encoder gives, each beside its own key and labels."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from ecamp_fast import cli
from ecamp_fast.commands.downstream.features import command
from ecamp_fast.config import Recipe
from ecamp_fast.downstream.encoder import PretrainedEncoder
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.shards.builder.build import build_phantoms
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.weights.export import to_ours


@pytest.fixture(scope="module")
def model(small: Callable[..., Recipe]) -> Ecamp:
    torch.manual_seed(3)
    return Ecamp(small("official"), 30).eval()


@pytest.fixture(scope="module")
def run(model: Ecamp, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    to_ours.write(model, run)
    return run


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "phantoms"
    build_phantoms(60, out, size=64)
    return out


def written(*arguments: object) -> dict[str, np.ndarray]:
    done = CliRunner().invoke(command, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    out = Path(json.loads(done.stdout)["out"])
    assert out.stat().st_mode & 0o777 == 0o600
    return dict(np.load(out))


def test_features_stand_beside_their_keys_patients_and_labels(
    run: Path, shards: Path, model: Ecamp, tmp_path: Path
) -> None:
    found, known = written(run, shards, tmp_path / "f.npz"), ShardSet(shards)
    encoder = PretrainedEncoder(model.recipe, model.encoder)
    places = [(split, index) for split in ("train", "val") for index in range(known.count(split))]
    assert found["features"].shape == (len(places), 16) and found["features"].dtype == np.float32
    assert sorted(found["keys"]) == sorted({*found["keys"]})
    for row in (0, 17, len(places) - 1):
        split, index = places[row]
        about = known.metadata(split, index)
        assert (found["keys"][row], found["splits"][row]) == (known.key(split, index), split)
        assert found["patients"][row] == str(about.get("patient_id") or about["study_id"])
        assert {*found["findings"][found["labels"][row]]} == {n for n, value in about["labels"].items() if value == 1}
        assert found["values"][row].tolist() == [about["labels"][name] for name in found["findings"]]
        with torch.no_grad():
            wanted = encoder(encoder.preprocess([known.read(split, index)["jpg"]]))[0].numpy()
        np.testing.assert_allclose(
            found["features"][row], wanted, rtol=1e-3, atol=1e-3
        )  # its own picture, decoded here
        others = np.delete(found["features"], row, 0)
        assert np.abs(found["features"][row] - wanted).max() < np.abs(others - wanted).max(1).min()


def test_one_split_and_pooling_that_keeps_place(run: Path, shards: Path, tmp_path: Path) -> None:
    whole = written(run, shards, tmp_path / "a.npz", "--split", "val", "--split", "val")
    assert len({*whole["keys"]}) == len(whole["keys"])  # a split named twice is written once
    parts = written(run, shards, tmp_path / "b.npz", "--split", "val", "--pooling", 2)
    assert {*whole["splits"]} == {"val"} and parts["features"].shape == (len(whole["keys"]), 4 * 16)
    means = parts["features"].reshape(-1, 4, 16).mean(1)
    np.testing.assert_allclose(means, whole["features"], rtol=1e-4, atol=1e-5)


def test_what_cannot_be_meant_is_refused(run: Path, shards: Path, tmp_path: Path) -> None:
    def refused(*arguments: object) -> str:
        with pytest.raises((ConfigError, DataError)) as error:
            CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)
        return error.value.what

    assert "must end in .npz" in refused(run, shards, tmp_path / "f.csv")
    (tmp_path / "f.npz").touch()
    assert "exists" in refused(run, shards, tmp_path / "f.npz")
    assert "no such folder" in refused(run, tmp_path / "none", tmp_path / "g.npz")
    assert "no such folder" in refused(tmp_path / "none", shards, tmp_path / "g.npz")
    assert "no split 'test'" in refused(run, shards, tmp_path / "g.npz", "--split", "val", "--split", "test")
    assert not (tmp_path / "g.npz").exists()


def test_features_need_no_text(run: Path, model: Ecamp, tmp_path: Path) -> None:
    """Images alone have features, though the recipe learns from words."""
    assert model.recipe.losses.mlm
    pixels = np.random.default_rng(2).integers(20, 230, (6, 64, 64)).astype(np.uint8)
    for number, one in enumerate(pixels):
        Image.fromarray(one).save(tmp_path / f"{number}.png")
    table = tmp_path / "images.csv"
    table.write_text("image_path,split\n" + "".join(f"{number}.png,train\n" for number in range(6)))
    words = ["shard", "build", "--from", "csv", str(table), str(tmp_path / "set"), "--empty-reports", "keep"]
    assert CliRunner().invoke(cli.command, words, catch_exceptions=False).exit_code == 0
    assert written(run, tmp_path / "set", tmp_path / "f.npz")["features"].shape == (6, model.recipe.model.vision.width)
