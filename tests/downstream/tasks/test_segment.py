"""Segmentation on phantoms: what is fed, kept and turned; a fit that goes on; Dice against counting, image by image."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from ecamp_fast import cli
from ecamp_fast.config import dump_recipe, load_recipe
from ecamp_fast.downstream.data.augment import draw_turns, turn_images, turn_masks
from ecamp_fast.downstream.data.labels import Labels
from ecamp_fast.downstream.tasks.patches import probe_patches
from ecamp_fast.downstream.tasks.probing import ProbeOptions
from ecamp_fast.downstream.tasks.segment import (
    Overlap,
    Segmenter,
    SegmentOptions,
    SegmentTask,
    balanced,
    over_positives,
    segment,
)
from ecamp_fast.downstream.tasks.splits import Subset, TaskPart, split_task
from ecamp_fast.downstream.training.loop import fit
from ecamp_fast.downstream.training.settings import load_settings
from ecamp_fast.downstream.trunk import open_trunk
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.scores import draw_patients
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.read import ShardSet

MASKS = ("cardiomegaly", "effusion")
QUICK = ["steps=6", "batch=8", "warmup=1", "precision=fp32", "lr=3e-3"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    out = tmp_path_factory.mktemp("segment") / "phantoms"
    build_phantoms(48, out, size=64, options=Options(workers=1, seed=42, vocab_size=300))
    return ShardSet(out)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """First weights of a small recipe."""
    run = tmp_path_factory.mktemp("run")
    recipe = load_recipe("demo", ["model.vision={width: 24, depth: 3, heads: 2, patch: 8}"])
    (run / "recipe.yaml").write_text(dump_recipe(recipe))
    return f"untrained:{run}"


def task(shards: ShardSet, encoder: str, *changes: str, **options: object) -> SegmentTask:
    settings = load_settings("segment", None, [*QUICK, *changes])
    wanted = replace(SegmentOptions(masks=MASKS, head="convolutional"), **options)
    model = Segmenter(open_trunk(encoder), wanted.head, len(wanted.masks))
    if settings.frozen:
        model.trunk.freeze()
    return SegmentTask(model, shards, split_task(shards, Subset()), settings, wanted)


def test_the_rows_are_those_of_the_specification() -> None:
    """SPEC 7.2, typed in again: steps, batch, rate, warm-up."""
    expected = {
        "siim": [(3000, 512, 5e-4, 50), (3000, 1024, 5e-4, 150), (3000, 512, 5e-4, 50)],
        "rsna": [(3000, 96, 3e-4, 50), (1000, 256, 5e-4, 50), (1000, 512, 3e-3, 100)],
        "riga": [(500, 5, 5e-4, 15), (500, 56, 5e-4, 15), (1000, 128, 5e-4, 20)],
    }
    for name, rows in expected.items():
        for percent, row in zip((1, 10, 100), rows, strict=True):
            found = load_settings("segment", f"{name}-{percent}")
            assert (found.steps, found.batch, found.lr, found.warmup) == row
            assert (found.optimizer, found.betas, found.weight_decay, found.decay_all) == (
                "adamw",
                (0.9, 0.999),
                0.05,
                True,
            )
            assert (found.frozen, found.patience, found.clip, found.seed) == (True, 40, 1.0, 42)


def test_tokens_that_are_kept_are_those_of_the_images(shards: ShardSet, encoder: str) -> None:
    kept = task(shards, encoder, augment=False)
    plain = task(shards, encoder, augment=False, cache_gb=0.0)
    for one, other in zip(kept.batches(2, 5), plain.batches(2, 5), strict=True):
        assert one.is_encoded and not other.is_encoded and other.inputs.dtype == torch.uint8
        assert torch.allclose(one.inputs, plain.model.tokens(other.inputs), atol=1e-5)
        assert torch.allclose(one.masks, other.masks, atol=5e-4)
    with torch.no_grad():
        plain.model.heads.load_state_dict(kept.model.heads.state_dict())
        for model in (kept.model, plain.model):
            model.eval()
        assert kept.validate() == plain.validate() == pytest.approx(kept.overlap("val", kept._val).dice.mean())


def test_tokens_and_masks_are_kept_in_a_validation_at_half_precision(shards: ShardSet, encoder: str) -> None:
    """bf16 is the rows' default, and on a CPU its autocast joins no float16."""
    one = task(shards, encoder, "precision=bf16")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert 0 <= one.validate() <= 1
    assert one._kept["val"] is not None


def test_a_mask_named_twice_is_refused(shards: ShardSet, encoder: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a mask is named twice"):
        segment(encoder, shards, load_settings("segment", None, QUICK), tmp_path, SegmentOptions(masks=MASKS[:1] * 2))


def test_images_turn_with_their_masks_as_their_epoch_says(shards: ShardSet, encoder: str) -> None:
    turned, plain = task(shards, encoder), task(shards, encoder, augment=False, cache_gb=0.0)
    whole, resumed = list(turned.batches(0, 6)), list(turned.batches(4, 6))
    assert torch.equal(whole[4].inputs, resumed[0].inputs) and torch.equal(whole[5].masks, resumed[1].masks)
    moved = 0
    for step, (one, other) in enumerate(zip(whole, plain.batches(0, 6), strict=True)):
        samples = next(plain._train.training(8, step, step + 1, None)).samples.numpy()
        epochs = np.arange(step * 8, step * 8 + 8) // len(plain._train)
        turns = draw_turns(42, epochs, samples)
        assert torch.equal(one.inputs, turn_images(other.inputs, turns))
        assert torch.equal(one.masks, turn_masks(other.masks, turns))
        moved += int((one.masks != other.masks).flatten(1).any(1).sum())
    assert moved > 3 and epochs.max() == 1  # the last steps lie in the second epoch


def test_a_frozen_trunk_stays_and_a_free_one_moves(shards: ShardSet, encoder: str, tmp_path: Path) -> None:
    for name, changes in (("frozen", ()), ("free", ("frozen=false",))):
        one = task(shards, encoder, *changes)
        before = {key: value.clone() for key, value in one.model.trunk.state_dict().items()}
        fit(one, one._settings, tmp_path / name, {}, "digest")
        after = one.model.trunk.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before) == (name == "frozen")


def test_a_fit_that_was_cut_off_ends_as_one_that_was_not(shards: ShardSet, encoder: str, tmp_path: Path) -> None:
    settings = load_settings("segment", None, [*QUICK, "save_every=3"])
    whole = task(shards, encoder)
    torch.manual_seed(1)
    start = {key: value.clone() for key, value in whole.model.state_dict().items()}
    fit(whole, settings, tmp_path / "whole", {}, "digest")

    class Killed(Exception):
        pass

    cut = task(shards, encoder)
    cut.model.load_state_dict(start)
    loss, calls = cut.loss, []

    def dies(batch: object) -> torch.Tensor:
        calls.append(batch)
        if len(calls) == 5:
            raise Killed
        return loss(batch)  # type: ignore[arg-type]

    cut.loss = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        fit(cut, settings, tmp_path / "cut", {}, "digest")
    again = task(shards, encoder)
    fit(again, settings, tmp_path / "cut", {}, "digest")
    for name, value in whole.model.heads.state_dict().items():
        assert torch.equal(value, again.model.heads.state_dict()[name]), name


def test_boxes_serve_as_masks(shards: ShardSet, encoder: str) -> None:
    boxes = task(shards, encoder, boxes=True, augment=False, cache_gb=0.0)
    masks = task(shards, encoder, augment=False, cache_gb=0.0)
    one, other = next(boxes.batches(0, 1)).masks > 0.5, next(masks.batches(0, 1)).masks > 0.5
    assert one.shape == other.shape and other.any()
    for box, mask in zip(one.flatten(0, 1), other.flatten(0, 1), strict=True):
        assert box.any() == mask.any() and (mask & ~box).sum() <= 0.05 * mask.sum() + 4
        assert box.sum() >= mask.sum()


def test_dice_over_positives_leaves_out_images_without_a_mask() -> None:
    dice = np.array([[1.0, 0.5], [0.2, 1.0], [0.6, 0.0], [1.0, 1.0]])
    positive = np.array([[False, True], [True, False], [True, False], [False, False]])
    weights = draw_patients(list("abcd"), 50)
    found = over_positives(Overlap(dice, positive), ("a", "b"), weights)
    assert found["per_class"] == {"a": pytest.approx(0.4), "b": pytest.approx(0.5)}
    assert found["images"] == {"a": 2, "b": 1} and found["dice"]["value"] == pytest.approx(0.45)
    none = over_positives(Overlap(dice, positive & False), ("a", "b"), weights)
    assert none["dice"] is None and none["per_class"] == {"a": None, "b": None}


def test_balance_keeps_all_positives_and_as_many_others() -> None:
    values = np.zeros((40, 2), np.float32)
    values[[3, 5, 8], 1] = 1
    values[[20, 21], 0] = 1
    part = TaskPart("train", Labels(["x", "y"], values, list("p" * 40), []), np.arange(2, 40))
    rows = balanced(part, ("y",), seed=1).rows.tolist()
    assert len(rows) == len(set(rows)) == 6 and rows == sorted(rows) and {3, 5, 8} <= {*rows} <= {*range(2, 40)}
    assert balanced(part, ("y",), seed=2).rows.tolist() != rows == balanced(part, ("y",), seed=1).rows.tolist()
    with pytest.raises(DataError, match="z has none"):
        balanced(part, ("y", "z"), seed=1)
    with pytest.raises(DataError, match="fitted to has y"):
        balanced(replace(part, rows=np.arange(22, 40)), ("y",), seed=1)


def test_the_command_writes_a_result_and_reads_it_again(shards: ShardSet, encoder: str, tmp_path: Path) -> None:
    words = ["finetune", "segment", encoder, str(shards.path), str(tmp_path / "out"), "--head", "linear", "--json"]
    words += ["--no-augment", *(word for name in MASKS for word in ("--mask", name))]
    words += [word for change in QUICK for word in ("--set", change)]
    done = CliRunner().invoke(cli.command, words, catch_exceptions=False)
    found = json.loads(done.stdout)
    assert found == json.loads((tmp_path / "out" / "result.json").read_text())
    assert found["metric"] == "dice" and found["low"] <= found["score"] <= found["high"]
    assert list(found["per_class"]) == list(MASKS) and found["extra"]["head"] == "linear"
    assert np.mean(list(found["per_class"].values())) == pytest.approx(found["score"])
    before = (tmp_path / "out" / "result.json").stat().st_mtime_ns
    assert json.loads(CliRunner().invoke(cli.command, words).stdout) == found
    assert (tmp_path / "out" / "result.json").stat().st_mtime_ns == before


def test_what_cannot_be_meant_is_refused(shards: ShardSet, encoder: str, tmp_path: Path) -> None:
    settings = load_settings("segment", None, QUICK)
    with pytest.raises(DataError, match=r"no masks of\s+- lungs"):
        segment(encoder, shards, settings, tmp_path / "a", SegmentOptions(masks=("lungs",)))
    with pytest.raises(ConfigError, match="boxes of which findings"):
        segment(encoder, shards, settings, tmp_path / "b", SegmentOptions(boxes=True))


def test_samples_whose_masks_nobody_drew_are_left_out(tmp_path: Path, encoder: str) -> None:
    """An image with an empty mask is one without the finding; an image without masks may have it."""
    rng, rows = np.random.default_rng(5), []
    for number in range(24):
        pixels = rng.integers(20, 230, (48, 48)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        drawn = f"{number}-mask.png" if number % 2 else ""
        if drawn:
            mask = np.zeros((48, 48), np.uint8)
            mask[: 0 if number % 4 == 1 else 24] = 255
            Image.fromarray(mask).save(tmp_path / drawn)
        rows.append(f"{number}.png,{'train' if number < 16 else 'val'},p{number},{drawn}")
    table = tmp_path / "images.csv"
    table.write_text("image_path,split,patient_id,mask.mass\n" + "\n".join(rows) + "\n")
    build = ["shard", "build", "--from", "csv", str(table), str(tmp_path / "set"), "--empty-reports", "keep"]
    assert CliRunner().invoke(cli.command, build, catch_exceptions=False).exit_code == 0
    shards = ShardSet(tmp_path / "set")
    for seed in range(4):
        splits = split_task(shards, Subset(seed=seed), masked=True)
        assert sorted(splits.train.patients + splits.val.patients) == sorted(f"p{number}" for number in range(1, 16, 2))
        assert splits.test.patients == ["p17", "p19", "p21", "p23"]
    assert sum(split_task(shards, Subset()).counts().values()) == 24
    options = SegmentOptions(head="linear")
    result = segment(encoder, shards, load_settings("segment", None, QUICK), tmp_path / "out", options)
    assert result.samples["test"] == 4 and result.extra["positive"]["images"] == {"mass": 2}
    assert probe_patches(encoder, shards, tmp_path / "patches", ProbeOptions(baselines=False)).samples["test"] == 4
    for seed in range(8):  # one training image each, with something marked or with nothing
        options = SegmentOptions(Subset(count=1, seed=seed), head="linear")
        (patient,) = split_task(shards, options.subset, masked=True).train.patients
        outcome = contextlib.nullcontext() if int(patient[1:]) % 4 == 3 else pytest.raises(DataError, match="has mass")
        with outcome:
            segment(encoder, shards, load_settings("segment", None, QUICK), tmp_path / f"one-{seed}", options)


def test_it_is_told_what_there_is_to_fit_to(shards: ShardSet, encoder: str) -> None:
    told: list[str] = []
    splits = split_task(shards, Subset(), masked=True)
    trunk = open_trunk(encoder)
    model, settings = Segmenter(trunk, "linear", 2), load_settings("segment", None, QUICK)
    found = SegmentTask(model, shards, splits, settings, SegmentOptions(masks=MASKS, head="linear"), told.append)
    assert told == [splits.told()] and told[0].startswith("train ") and found.metric == "Dice"
