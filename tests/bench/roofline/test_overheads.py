"""What a step does beyond the byte model: counts that a hand makes too, and what DeepSpeed launches."""

import json
from pathlib import Path

import pytest
import torch

from ecamp_fast.bench.roofline.bytes import KernelGroup
from ecamp_fast.bench.roofline.overheads import CHUNK_BYTES, step_overheads
from ecamp_fast.bench.roofline.zero import Weights, Zero, weights_of, zero_bytes, zero_launches
from ecamp_fast.config import load_recipe
from ecamp_fast.kernels import dispatch
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.groups import parameter_groups

SMALL = Path(__file__).parents[2] / "data" / "small.yaml"
VOCABULARY, LENGTHS, PREDICTED = 200, [5, 20, 30], 40
MODEL = Weights(tensors=10, numbers=1000, unaligned={})


def groups(*overrides: str, zero: Zero = Zero(), lengths: list[int] = LENGTHS) -> list[KernelGroup]:  # noqa: B008, frozen
    return step_overheads(load_recipe(SMALL, overrides), VOCABULARY, lengths, PREDICTED, MODEL, zero)


def test_all_of_it_is_extra_and_nothing_is_negative() -> None:
    for group in groups():
        assert group.extra and min(group.operations, group.bytes, group.launches) >= 0, group


def test_unfused_passes_of_a_layer_by_hand() -> None:
    """33 passes over rows and 6 over hidden rows in all; the byte model has 16 and 5 of them."""
    first, *_ = (g for g in groups("model.vision.depth=1") if g.component == "encoder" and g.kind == "pointwise")
    rows, width = 3 * (load_recipe(SMALL).kept_patches + 1), 192
    assert first.bytes == 2 * rows * (17 * width + 4 * width) and first.launches == 37


def test_attention_computes_whole_tiles_and_sums_in_float32() -> None:
    """Heads of 64 channels, a tile of 128 x 128 for each of 3 samples; 14 operations a pair, 12 needed."""
    layer = [g for g in groups("model.vision.depth=1") if g.component == "encoder"]
    rows, width = load_recipe(SMALL).kept_patches + 1, 192
    assert rows <= 128
    (tiles,) = (g for g in layer if g.kind == "attention")
    assert tiles.operations == pytest.approx(3 * width * (14 * 128**2 - 12 * rows**2))
    buffer = layer[-1]
    cleared_added_read = 4 * (1 + 2 + 1)
    assert buffer.bytes == 3 * 128 * width * cleared_added_read + 2 * 3 * rows * width


@pytest.mark.parametrize(("rows", "tiles"), [(128, 1), (129, 2), (256, 2), (257, 3)])
def test_another_row_is_another_tile(rows: int, tiles: int) -> None:
    text = [g for g in groups("model.text.depth=1", lengths=[rows]) if g.component == "text layers"]
    recipe = load_recipe(SMALL)
    assert recipe.model.text.width // recipe.model.text.heads <= 64
    (extra,) = (g for g in text if g.kind == "attention")
    assert extra.operations == pytest.approx(recipe.model.text.width * (14 * (128 * tiles) ** 2 - 12 * rows**2))


def test_a_bucket_takes_what_deepspeed_copies() -> None:
    """Three passes of bfloat16 in and out; then, of the part that this rank keeps, rounding, a sum, a copy; the end."""
    end = 4 + 4 + 8 + 6
    assert zero_bytes(Zero(2, 1, 1)) == 3 * 4 + (2 + 4) + (4 + 4 + 4) + 4 + end
    assert zero_bytes(Zero(2, 4, 1)) == 3 * 4 + (6 + 12 + 4 + end) / 4
    assert zero_bytes(Zero(2, 1, 8)) == 3 * 4 + 22 + end / 8
    assert zero_bytes(Zero(1, 1, 8)) < zero_bytes(Zero(2, 1, 8))


def test_launches_by_stage() -> None:
    """Of 10 tensors in 1 bucket: stage 2 four for each, whatever the accumulation; on two ranks half are another's."""
    assert zero_launches(MODEL, Zero(2, 1, 8)) == (10, 0, 4 * 10 + 3)
    assert zero_launches(MODEL, Zero(2, 2, 8)) == (10, 0, 10 + 15 + 3)
    assert zero_launches(MODEL, Zero(1, 1, 2)) == (5, 5, (20 + 3) / 2)
    assert zero_launches(MODEL, Zero(0, 1, 1)) == (0, 0 + 20, 0)


def test_stage_2_costs_the_same_in_every_micro_step_so_less_a_sample() -> None:
    small, large = ([g for g in groups(lengths=LENGTHS * times) if g.component == "ZeRO"] for times in (1, 4))
    assert small == large and sum(g.launches for g in small) == 43


def test_a_chunk_of_logits_is_the_kernels() -> None:
    constants = json.loads((Path(dispatch.__file__).parent / "tuning.json").read_text())
    assert constants["sm_80"]["vocabulary_chunks"]["CHUNK_MIB"] * 2**20 == CHUNK_BYTES


def test_the_paper_s_weights() -> None:
    """315 tensors, and without padding 46 % of all numbers off 16 bytes, all of the text's (docs/parallel.md)."""
    with torch.device("meta"):
        model = Ecamp(load_recipe("paper"), 30_000)
    weights = weights_of(model, 0.05)
    assert (weights.tensors, weights.numbers) == (315, 182_582_488)
    assert weights.unaligned["encoder"] == 0 and weights.unaligned["text layers"] == weights.unaligned["MLM head"] == 1
    at, off = 0, 0
    for weight in parameter_groups(model, 0.05)[0]["params"]:
        off += weight.numel() * (2 * at % 16 > 0)
        at += weight.numel()
    assert off / weights.numbers == pytest.approx(0.4575, abs=1e-3)
