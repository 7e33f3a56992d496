"""The model against numbers that the released implementation produced.

The folder that ECAMP_PARITY_DIR names, else the tiny fixture beside this file; all sizes come from its config.json.
"""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ecamp_fast.batch import Text
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.model.ecamp import Ecamp, View
from ecamp_fast.weights.released_names import BERT, HEAD, POOLER, from_released, to_released

FOLDER = Path(os.environ.get("ECAMP_PARITY_DIR") or Path(__file__).parent / "data" / "official_tiny")
TOLERANCE = 1e-5
CONFIG = json.loads((FOLDER / "config.json").read_text())


def recipe_of(config: dict) -> Recipe:
    vision, bert = config["vision"], config["bert"]
    sizes = {
        "image.high_size": 2 * vision["image_size"],
        "image.low_size": vision["image_size"],
        "text.max_tokens": bert["max_position_embeddings"],
        "model.vision.patch": vision["patch_size"],
        "model.vision.width": vision["embed_dim"],
        "model.vision.depth": vision["depth"],
        "model.vision.heads": vision["num_heads"],
        "model.vision.mlp_ratio": vision["mlp_ratio"],
        "model.decoder.width": vision["decoder_embed_dim"],
        "model.decoder.depth": vision["decoder_depth"],
        "model.decoder.heads": vision["decoder_num_heads"],
        "model.decoder.mlp_ratio": vision["mlp_ratio"],
        "model.text.width": bert["hidden_size"],
        "model.text.depth": bert["num_hidden_layers"],
        "model.text.heads": bert["num_attention_heads"],
        "model.text.ffn": bert["intermediate_size"],
    }
    return load_recipe("official", [f"{key}={value}" for key, value in sizes.items()])


def view_of(batch: dict, expected: dict, recipe: Recipe) -> View:
    """The fixture's own draws, in the shape the model takes them."""
    small = batch["image_small"]
    times = recipe.image.high_size // small.shape[-1]
    lengths, max_tokens = batch["attention_mask"].sum(1), recipe.text.max_tokens
    labels = batch["token_ids"].flatten()
    cu_seqlens = torch.arange(0, len(labels) + 1, max_tokens, dtype=torch.int32)
    text = Text(
        codes=labels.int(),
        ids=batch["masked_token_ids"].flatten(),
        rows=torch.arange(len(labels)),
        labels=labels,
        weights=batch["token_weights"].flatten(),
        cu_seqlens=cu_seqlens,
        predicted=cu_seqlens,
        max_seqlen=max_tokens,
    )
    return View(
        low=batch["image_low_res"],
        keep=expected["ids_keep"],
        masked=expected["mask"].argsort(dim=1, stable=True)[:, recipe.kept_patches :],
        high=small.repeat_interleave(times, 2).repeat_interleave(times, 3),
        attention=torch.zeros(len(small), 28, 28),
        window=torch.stack([batch["window_row"], batch["window_col"]], 1),
        text=text,
        lengths=lengths,
    )


@pytest.fixture(scope="module")
def case() -> tuple[Ecamp, View, dict]:
    recipe = recipe_of(CONFIG)
    batch, expected = load_file(FOLDER / "batch.safetensors"), load_file(FOLDER / "expected.safetensors")
    model = Ecamp(recipe, CONFIG["bert"]["vocab_size"]).eval()
    state, report = from_released(load_file(FOLDER / "checkpoint.safetensors"), recipe, model.state_dict())
    model.load_state_dict(state)
    without_use = (HEAD + "decoder.bias", POOLER, BERT + "embeddings.position_ids")
    assert report.missing == [] and all(name.startswith(without_use) for name in report.ignored)
    return model, view_of(batch, expected, recipe), expected


def assert_close(name: str, ours: torch.Tensor, theirs: torch.Tensor) -> None:
    distance = ((ours - theirs).double().norm() / theirs.double().norm()).item()
    assert distance < TOLERANCE, f"{name}: relative distance {distance:.2e}"


def test_fixture_has_its_padding_at_the_end() -> None:
    mask = load_file(FOLDER / "batch.safetensors")["attention_mask"]
    assert torch.equal(mask, mask.sort(dim=1, descending=True).values)


def test_latent_prediction_and_logits(case: tuple[Ecamp, View, dict]) -> None:
    model, view, expected = case
    latent = model.encoder(view.low, view.keep)
    assert_close("latent", latent, expected["latent"])
    assert_close("pred_patches", model.decoder(latent, view.keep), expected["pred_patches"])
    head = model.text.head
    hidden = model.text(view.text.ids, latent, *model._text_layouts(view, view.text))
    logits = torch.nn.functional.linear(head(hidden), head.vocabulary, head.bias)
    assert_close("mlm_logits", logits.view(expected["mlm_logits"].shape), expected["mlm_logits"])


def test_losses(case: tuple[Ecamp, View, dict]) -> None:
    model, view, _ = case
    losses = model.losses(view)
    for name, theirs in CONFIG["losses"].items():
        assert_close(name, getattr(losses, name), torch.tensor(theirs))
    assert_close("total", losses.total, torch.tensor(sum(CONFIG["losses"].values())))


def test_gradients(case: tuple[Ecamp, View, dict]) -> None:
    model, view, expected = case
    model.zero_grad()
    model.losses(view).total.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    # under the released names; the tables have no gradient, but a place
    state = {name: gradients.get(name, tensor) for name, tensor in model.state_dict().items()}
    ours = to_released(state, model.recipe)
    stored = [name for name in expected if name.startswith("grad.")]
    assert len(stored) >= 10
    for name in stored:
        assert_close(name, ours[name.removeprefix("grad.")], expected[name])


def test_every_parameter_takes_part(case: tuple[Ecamp, View, dict]) -> None:
    model, view, _ = case
    model.zero_grad()
    model.losses(view).total.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
