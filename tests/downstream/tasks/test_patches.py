"""The patch probe: what a patch is, that place is taken away, that parts are resampled together; and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ecamp_fast import cli
from ecamp_fast.config import dump_recipe, load_recipe
from ecamp_fast.downstream.data.labels import Labels, read_labels
from ecamp_fast.downstream.data.samples import TaskData
from ecamp_fast.downstream.tables.registry import TASKS, CellInputs
from ecamp_fast.downstream.tasks import patches
from ecamp_fast.downstream.tasks.patches import _Judge, _Patches, _read, held_by, pixels_of
from ecamp_fast.downstream.tasks.scoring import class_areas
from ecamp_fast.downstream.tasks.splits import TaskPart, TaskSplits
from ecamp_fast.downstream.training.settings import Settings
from ecamp_fast.scores import draw_patients
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.read import ShardSet

IMAGES, CELLS, WIDTH = 60, 9, 5


def part(first: int) -> TaskPart:
    names = [f"p{first + number // 2}" for number in range(IMAGES)]
    labels = Labels([], np.zeros((IMAGES, 0), np.float32), names, [frozenset()] * IMAGES)
    return TaskPart("train", labels, np.arange(IMAGES))


def planted(signal: float, seed: int) -> _Patches:
    """A finding that is rare at some positions, in features that know their position, and ``signal`` of the finding."""
    generator = torch.Generator().manual_seed(seed)
    prior = torch.linspace(0.02, 0.6, CELLS)
    holds = torch.rand(IMAGES, CELLS, 1, generator=generator) < prior[:, None]
    features = torch.randn(IMAGES, CELLS, WIDTH, generator=generator) + prior[:, None] * 30
    features[..., :1] += signal * (holds.float() - prior[:, None])  # its mean at a position is the position's alone
    return _Patches(
        features.flatten(0, 1),
        torch.arange(CELLS).repeat(IMAGES),
        holds.flatten(0, 1),
        np.repeat(np.arange(IMAGES), CELLS),
        features.mean(0),
    )


@pytest.fixture
def judge() -> _Judge:
    return _Judge(TaskSplits(part(0), part(100), part(200)), seed=1)


def test_place_alone_says_nothing_and_a_finding_in_the_features_does(judge: _Judge) -> None:
    blind = judge.rows("blind", planted(0.0, 1), planted(0.0, 2)).resampled
    seeing = judge.rows("seeing", planted(3.0, 1), planted(3.0, 2)).resampled
    assert blind[0, 0] == pytest.approx(0.5, abs=0.07) and seeing[0, 0] > 0.9
    assert judge.place(planted(0.0, 1), planted(0.0, 2))[0, 0] > 0.65


def test_place_scores_by_the_share_of_training_patches(judge: _Judge) -> None:
    train, test = planted(0.0, 1), planted(0.0, 2)
    share = train.holds.view(IMAGES, CELLS).float().mean(0)
    assert torch.allclose(share, torch.linspace(0.02, 0.6, CELLS), atol=0.2)
    expected = class_areas(share.repeat(IMAGES)[:, None].numpy(), test.holds.numpy().astype(float), np.ones((1, 540)))
    assert judge.place(train, test)[0] == pytest.approx(expected[0])


def test_draws_are_of_patients_whole_images_at_a_time(judge: _Judge) -> None:
    train, test = planted(1.0, 1), planted(1.0, 2)
    found = judge.place(train, test)
    weights = draw_patients(part(200).patients)[:, test.owners]
    outputs = train.holds.view(IMAGES, CELLS).float().mean(0)[test.positions][:, None].numpy()
    assert found.shape == (1001, 1)
    assert np.allclose(found, class_areas(outputs, test.holds.numpy().astype(float), weights))


def test_a_patch_is_a_square_of_pixels_row_by_row() -> None:
    images = torch.randint(256, (2, 1, 12, 12), dtype=torch.uint8)
    found = pixels_of(images, 3)
    assert found.shape == (2, 9, 16)
    assert torch.allclose(found[1, 5] * 255, images[1, 0, 4:8, 8:12].float().flatten())  # second row, third column
    assert pixels_of(images, 5).shape == (2, 25, 4)
    masks = torch.zeros(2, 2, 12, 12)
    masks[1, 0, 4:6, 8:10] = 1  # four of the sixteen pixels
    masks[1, 1, 4:6, 9:10] = 1
    assert held_by(masks, 3).nonzero().tolist() == [[1, 5, 0]]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    out = tmp_path_factory.mktemp("patches") / "phantoms"
    build_phantoms(60, out, size=64, options=Options(workers=1, seed=42, vocab_size=300))
    return ShardSet(out)


def test_patches_are_drawn_by_a_key_and_means_are_of_all(shards: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    data = TaskData(shards, "train", read_labels(shards, "train"), np.arange(20), size=64, masks=("cardiomegaly",))
    every = _read(data, lambda images: pixels_of(images, 8), 8, seed=1)
    assert every.features.shape == (20 * 64, 64) and every.positions.tolist() == [*range(64)] * 20
    monkeypatch.setattr(patches, "PATCHES", 200)
    some, again, other = (_read(data, lambda images: pixels_of(images, 8), 8, seed=seed) for seed in (1, 1, 2))
    assert len(some.owners) == 200 and np.bincount(some.owners).tolist() == [10] * 20
    assert torch.equal(some.means, every.means) and torch.equal(some.positions, again.positions)
    assert torch.allclose(every.means, every.features.view(20, 64, 64).mean(0), atol=1e-6)
    assert not torch.equal(some.positions, other.positions)
    rows = torch.from_numpy(some.owners) * 64 + some.positions
    assert torch.equal(every.features[rows], some.features) and torch.equal(every.holds[rows], some.holds)


def test_the_command_stands_beside_its_baselines(shards: ShardSet, tmp_path: Path) -> None:
    recipe = load_recipe("demo", ["model.vision={width: 24, depth: 2, heads: 2, patch: 8}"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(dump_recipe(recipe))
    words = ["probe", f"untrained:{tmp_path / 'run'}", str(shards.path), str(tmp_path / "out"), "--patches", "--json"]
    words += ["--class", "cardiomegaly", "--class", "effusion", "--test", "val"]
    found = json.loads(CliRunner().invoke(cli.command, words, catch_exceptions=False).stdout)
    assert found == json.loads((tmp_path / "out" / "result.json").read_text())
    assert found["task"] == "patches" and list(found["per_class"]) == ["cardiomegaly", "effusion"]
    assert list(found["extra"]["baselines"]) == list(found["extra"]["differences"]) == ["pixels of the patch"]
    assert 0.5 < found["extra"]["place"]["value"] <= 1 and found["extra"]["patches"]["train"] % 64 == 0
    settings, masks = Settings(seed=42), ["cardiomegaly", "effusion"]
    given = CellInputs(settings, words[1], words[2], 100.0, options={"masks": masks, "test": "val"}, device="cpu")
    extra = found["extra"]
    for kind, told in (("patch-pixels", extra["baselines"]["pixels of the patch"]), ("patch-place", extra["place"])):
        (tmp_path / kind).mkdir()
        other = TASKS[kind].run(given, tmp_path / kind)
        assert {"value": other.score, "low": other.low, "high": other.high} == told
        draws = other.extra["resampled"]  # without them no encoder is paired with it
        assert len(draws) == len(found["extra"]["resampled"])
        assert draws[0] == pytest.approx(other.score, abs=1e-6)
