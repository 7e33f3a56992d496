"""The two sides of GLoRIA against what they are made of, and the whole."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn
from transformers import BertConfig, BertModel

from ecamp_fast.attend.images import BatchNorm, image_side
from ecamp_fast.attend.model import Gloria
from ecamp_fast.attend.texts import TextSide
from ecamp_fast.batch import Batch, Sentences
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.text.packing.captions import CaptionChoice, CaptionEncoder, lay_out_captions
from ecamp_fast.text.statements import read_statements

SENTENCES = "There is large left pneumothorax. There is no hernia."


def batch_of(sentences: Sentences, size: int = 64) -> Batch:
    torch.manual_seed(1)
    count = len(sentences.stated)
    nothing = torch.zeros(count, 2, dtype=torch.int32)
    image = torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8)
    numbers = torch.arange(count)
    return Batch(image, torch.zeros(count, 28, 28), nothing, None, nothing[:, 0], numbers, numbers, sentences)


def test_words_are_sums_of_berts_last_layers(tiny: Callable[..., Recipe], encode: CaptionEncoder) -> None:
    """One sentence at a time, without padding, by transformers alone."""
    torch.manual_seed(0)
    side = TextSide(tiny("gloria.layers=2"), encode.vocabulary.size).eval()
    laid = lay_out_captions([read_statements(SENTENCES, 9)], np.arange(1), encode, CaptionChoice(0, False, False))
    words, real, whole = side(laid)
    for number, text in enumerate(("There is large left pneumothorax.", "There is no hernia.")):
        ids, numbers = encode(text)
        layers = side.bert(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
        hidden = (layers[-1] + layers[-2])[0]
        for word in range(max(numbers) + 1):
            pieces = [place for place, one in enumerate(numbers) if one == word]
            torch.testing.assert_close(words[number, word], hidden[pieces].sum(0), rtol=1e-4, atol=1e-5)
        assert real[number].tolist() == [place <= max(numbers) for place in range(laid.max_words)]
        torch.testing.assert_close(whole[number], hidden.mean(0), rtol=1e-4, atol=1e-5)
    assert whole.isfinite().all() and words.isfinite().all()  # of filler too


def test_a_resnets_regions_are_timms_third_stage(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    """19 x 19 at 299 pixels, from weights in a file; the fourth stage is averaged."""
    torch.manual_seed(0)
    net = timm.create_model("resnet50", features_only=True, out_indices=(3, 4))
    torch.save(dict(net.state_dict()), tmp_path / "resnet.pth")
    recipe = tiny("gloria.image=resnet50", "gloria.image_size=299", f"gloria.image_weights={tmp_path / 'resnet.pth'}")
    side = image_side(recipe, 16).eval()
    image = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        regions, whole = side(image)
        pixels = (image.float() / 255 - recipe.image.mean) / recipe.image.std
        pixels = nn.functional.interpolate(pixels, size=(299, 299), mode="bilinear", align_corners=True)
        third, fourth = net.eval()(pixels.expand(-1, 3, -1, -1))
        assert third.shape == (1, 1024, 19, 19) and fourth.shape == (1, 2048, 10, 10)
        torch.testing.assert_close(regions, third.flatten(2).mT @ side.local.weight.T, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(whole, side.whole(fourth.mean((2, 3))), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batch_norm_is_torchs_and_keeps_its_statistics(dtype: torch.dtype) -> None:
    own, other = BatchNorm(3), nn.BatchNorm2d(3)
    own.weight.data += 0.3
    other.load_state_dict(own.state_dict())
    own.to(dtype)
    for _ in range(3):
        rows = torch.randn(4, 3, 5, 5) * 2 + 1
        torch.testing.assert_close(own(rows.to(dtype)).float(), other(rows), rtol=2e-2, atol=5e-2)
    assert own.running_mean is not None
    torch.testing.assert_close(own.running_mean.float(), other.running_mean, rtol=2e-2, atol=2e-2)
    own.eval(), other.eval()
    assert own(rows.to(dtype)).dtype == dtype
    torch.testing.assert_close(own(rows.to(dtype)).float(), other(rows), rtol=2e-2, atol=5e-2)


@pytest.mark.parametrize(("kind", "grid"), [("cells", 8), ("vit", 4)])
def test_the_whole_learns_and_looks(
    tiny: Callable[..., Recipe], encode: CaptionEncoder, lay_out: Callable[..., Sentences], kind: str, grid: int
) -> None:
    recipe = tiny(f"gloria.image={kind}", "gloria.poles=false", "model.text.dropout=0.0")
    torch.manual_seed(0)
    model, batch = Gloria(recipe, encode.vocabulary.size), batch_of(lay_out())
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    totals = []
    for _ in range(8):
        losses = model(batch)
        assert losses.local is not None and losses.whole is not None
        torch.testing.assert_close(losses.total, losses.local + losses.whole)
        optimizer.zero_grad()
        losses.total.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        totals.append(losses.total.item())
    assert totals[-1] < totals[0]
    maps = model.eval().attention(batch.image, batch.sentences)
    assert maps.shape == (3, 16, batch.sentences.max_words, grid, grid)
    torch.testing.assert_close(maps[:, 0, 0].sum((1, 2)), torch.ones(3))


def test_regions_lie_row_by_row(tiny: Callable[..., Recipe]) -> None:
    """What changes in a corner of the picture changes the regions of that corner."""
    side = image_side(tiny(), 16).eval()
    image = torch.full((1, 1, 64, 64), 90, dtype=torch.uint8)
    other = image.clone()
    other[..., :12, -12:] = 250
    with torch.no_grad():
        change = (side(other)[0] - side(image)[0]).norm(dim=-1).view(8, 8)
    quarters = change.view(2, 4, 2, 4).mean((1, 3))
    assert quarters.argmax() == 1 and quarters[0, 1] > 1.5 * quarters.flatten()[[0, 2, 3]].max()


def test_scales_weigh_the_losses(
    tiny: Callable[..., Recipe], encode: CaptionEncoder, lay_out: Callable[..., Sentences]
) -> None:
    batch = batch_of(lay_out())
    model = Gloria(tiny("gloria.local_scale=0.25", "gloria.global_scale=3.0"), encode.vocabulary.size).eval()
    plain = Gloria(tiny(), encode.vocabulary.size).eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        one, other = model(batch), plain(batch)
    torch.testing.assert_close(one.local, 0.25 * other.local)
    torch.testing.assert_close(one.whole, 3.0 * other.whole)


def test_a_bert_of_a_folder(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    config = BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
    bert = BertModel(config)
    bert.save_pretrained(tmp_path)
    recipe = tiny(f"gloria.bert={tmp_path}")
    model = Gloria(recipe, 999)
    assert model.text.width == 8 and model.text.vocab_size == 30 and model.image.local.out_features == 8
    state = model.text.bert.state_dict()
    assert all(value.equal(bert.state_dict()[name]) for name, value in state.items())
    assert not any("pooler" in name for name in state)
    again = Gloria(recipe, 999, fresh=True).text.bert.state_dict()
    assert not again["encoder.layer.0.output.dense.weight"].equal(state["encoder.layer.0.output.dense.weight"])
    aged = {f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma"): one for name, one in state.items()}
    (tmp_path / "model.safetensors").unlink()
    torch.save(aged | {"cls.predictions.bias": torch.zeros(30)}, tmp_path / "pytorch_model.bin")
    old = Gloria(recipe, 999).text.bert.state_dict()
    assert all(value.equal(old[name]) for name, value in state.items())
    torch.save({"embeddings.word_embeddings.weight": torch.zeros(30, 8)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="lacks"):
        Gloria(recipe, 999)
    with pytest.raises(ConfigError, match=r"config\.json"):
        Gloria(tiny(f"gloria.bert={tmp_path / 'away'}"), 999)


def test_recipes_are_the_papers() -> None:
    """SPEC 6.1 and 6.3, written down once more."""
    from ecamp_fast.commands.knowledge.attend_train import find_recipe

    recipe = load_recipe(find_recipe("gloria"))
    gloria = recipe.gloria
    assert (gloria.image, gloria.image_size, gloria.layers, gloria.max_tokens) == ("resnet50", 299, 4, 97)
    assert (gloria.sentences, gloria.text, gloria.sharpness) == (1, "distilled", (4.0, 5.0, 10.0))
    assert (gloria.local_scale, gloria.global_scale, gloria.poles) == (1.0, 1.0, False)
    assert (recipe.seed, recipe.micro, recipe.batch.total, recipe.precision) == (23, 48, 48, "bf16")
    assert (recipe.optim.lr, recipe.optim.betas, recipe.optim.weight_decay) == (5e-5, (0.5, 0.999), 1e-6)
    assert (recipe.image.mean, recipe.image.std, recipe.image.flip) == (0.5, 0.5, 0.0)
    assert recipe.image.crop_area[0] == pytest.approx((224 / 256) ** 2, abs=1e-4)
    text = recipe.model.text
    assert (text.width, text.depth, text.heads, text.ffn) == (768, 12, 12, 3072)
