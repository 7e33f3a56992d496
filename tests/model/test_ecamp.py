import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import linear

from ecamp_fast.batch import Batch, Text
from ecamp_fast.config import Recipe, recipe_names
from ecamp_fast.geometry import ATTENTION_GRID
from ecamp_fast.kernels import low_resolution as low_res
from ecamp_fast.kernels import masked_mse as masked
from ecamp_fast.kernels import patch_gather as gather
from ecamp_fast.kernels import sr_loss as sr
from ecamp_fast.kernels import unshuffle as tokens
from ecamp_fast.kernels import weighted_cross_entropy as vocabulary
from ecamp_fast.kernels.dispatch import choose
from ecamp_fast.kernels.low_resolution import low_resolution
from ecamp_fast.keyed_random import Stream, sample_keys, uniform
from ecamp_fast.model.ecamp import Ecamp, View
from ecamp_fast.model.ready import make_ready
from ecamp_fast.model.sequences import SequenceLayout
from ecamp_fast.model.vision import unpatchify
from ecamp_fast.text.codes import MASK_ID, Mark, pack, token_ids
from ecamp_fast.text.packing.layout import Capacity, masked_batch

VOCABULARY = 40


@pytest.fixture
def batch_of() -> Callable[..., Batch]:
    """(recipe, samples) -> a batch of these samples, each a function of its number alone."""

    def make(
        recipe: Recipe, samples: list[int], capacity: Capacity | None = None, lengths: list[int] | None = None
    ) -> Batch:
        images, maps, texts, windows = [], [], [], []
        for index, sample in enumerate(samples):
            draw = np.random.default_rng(sample)
            images.append(draw.integers(0, 256, (1, recipe.image.high_size, recipe.image.high_size), np.uint8))
            maps.append(draw.random((ATTENTION_GRID, ATTENTION_GRID), np.float32) * (sample % 3 > 0))
            windows.append(draw.integers(0, 2, 2))
            length = lengths[index] - 1 if lengths else draw.integers(3, recipe.text.max_tokens)
            ids = draw.integers(5, VOCABULARY, length)
            marks = np.where(draw.random(len(ids)) < 0.2, int(Mark.DESCRIPTOR), 0)
            marks |= np.where(draw.random(len(ids)) < 0.2, int(Mark.ENTITY), 0)
            texts.append(np.concatenate([[2], pack(ids, marks)]))
        counts = np.array([len(text) for text in texts])
        if recipe.padded_text:
            texts = [np.pad(text, (0, recipe.text.max_tokens - len(text))) for text in texts]
        cu_seqlens = np.cumsum([0] + [len(text) for text in texts])
        arrays = [part.astype(np.int32) for part in (np.concatenate(texts), cu_seqlens, counts)]
        text = [torch.from_numpy(part) for part in (*arrays, sample_keys(1, 0, np.array(samples)))]
        return Batch(
            image=torch.from_numpy(np.stack(images)),
            attention=torch.from_numpy(np.stack(maps)),
            window=torch.from_numpy(np.stack(windows).astype(np.int32)),
            text=masked_batch(*text, recipe, capacity) if recipe.losses.mlm else None,
            lengths=text[2],
            keys=text[3],
            samples=torch.tensor(samples),
        )

    return make


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_recipe_trains_every_parameter(small, batch_of, name: str, dtype: torch.dtype) -> None:
    recipe = small(name)
    model = Ecamp(recipe, VOCABULARY).to(dtype)
    losses = model(batch_of(recipe, [1, 2, 3]))
    terms = torch.stack([losses.mim, losses.sr, losses.mlm])
    assert losses.total.dtype == torch.float32 and losses.total.ndim == 0
    torch.testing.assert_close(losses.total, terms.sum())
    on = [recipe.losses.mim, recipe.losses.sr, recipe.losses.mlm]
    assert (terms > 0).tolist() == on
    losses.total.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["losses={sr: false}"], {"encoder", "decoder", "text"}),
        (["losses={mlm: false}"], {"encoder", "decoder", "super_resolution"}),
        (["losses={mim: false, sr: false}"], {"encoder", "text"}),
        (["losses={mim: false, mlm: false}"], {"encoder", "decoder", "super_resolution"}),
        (["sr.guidance=window_aligned"], {"encoder", "decoder", "super_resolution", "text"}),
        (["sr.guidance=none", "losses.mlm_normaliser=sum"], {"encoder", "decoder", "super_resolution", "text"}),
        (["losses={sr: false, norm_pix: true}"], {"encoder", "decoder", "text"}),
        (["fusion={use_local: false, projection: separate}"], {"encoder", "decoder", "super_resolution", "text"}),
        (["rebalance=off", "masking.descriptors=random"], {"encoder", "decoder", "super_resolution", "text"}),
    ],
)
def test_switches_leave_no_module_without_use(small, batch_of, overrides: list[str], parts: set[str]) -> None:
    recipe = small("paper", *overrides)
    model = Ecamp(recipe, VOCABULARY)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == parts
    model(batch_of(recipe, [1, 2])).total.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", ["paper", "official"])
def test_a_batch_is_the_mean_of_its_samples(small, batch_of, name: str) -> None:
    """Neither padding nor neighbours nor order matter: packed and padded text, masks and windows are per sample."""
    recipe = small(name)
    model = Ecamp(recipe, VOCABULARY).double().eval()
    together = model(batch_of(recipe, [4, 5, 6]))
    alone = [model(batch_of(recipe, [sample])) for sample in (6, 4, 5)]
    for term in ("mim", "sr", "mlm", "total"):
        mean = torch.stack([getattr(losses, term) for losses in alone]).mean()
        torch.testing.assert_close(getattr(together, term), mean, rtol=1e-6, atol=1e-9)


def losses_and_gradients(model: Ecamp, view: View) -> dict[str, torch.Tensor]:
    model.zero_grad()
    losses = model.losses(view)
    losses.total.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    return {"mlm": losses.mlm.detach(), "total": losses.total.detach(), **gradients}


def padded_view(recipe: Recipe, view: View) -> View:
    """The same words at the head of ``max_tokens`` places each; every place is predicted, most for nothing."""
    max_tokens, count = recipe.text.max_tokens, len(view.lengths)
    real = (torch.arange(max_tokens) < view.lengths[:, None]).flatten()
    weights = torch.zeros(len(view.text.ids)).index_copy(0, view.text.rows, view.text.weights)
    cu_seqlens = torch.arange(0, count * max_tokens + 1, max_tokens, dtype=torch.int32)
    codes, ids, weights = (
        torch.zeros(count * max_tokens, dtype=values.dtype).masked_scatter(real, values)
        for values in (view.text.codes, view.text.ids, weights)
    )
    rows = torch.arange(len(ids))
    text = Text(codes, ids, rows, token_ids(codes).long(), weights, cu_seqlens, cu_seqlens, max_tokens)
    return dataclasses.replace(view, text=text)


@pytest.mark.parametrize("lengths", [[5, 20, 11], [9], [1, 1], [24, 24], [24, 1, 2, 23]])
def test_packed_padded_and_fixed_text_give_the_same(small, batch_of, lengths: list[int]) -> None:
    """Ragged, single, minimal and maximal texts: losses and every gradient, float32."""
    recipe, padding = (small("paper", f"losses.mlm_positions={positions}") for positions in ("masked", "all"))
    samples = list(range(len(lengths)))
    packed, fixed = (batch_of(recipe, samples, lengths=lengths, capacity=c) for c in (None, Capacity(99, 80)))
    model = Ecamp(recipe, VOCABULARY).eval()
    other = Ecamp(padding, VOCABULARY).eval()
    other.load_state_dict(model.state_dict())
    expected = losses_and_gradients(model, model.view(packed))
    assert len(fixed.text.ids) == 99 and len(fixed.text.rows) == 80
    for found in (
        losses_and_gradients(model, model.view(fixed)),
        losses_and_gradients(other, padded_view(padding, model.view(packed))),
    ):
        for name, value in expected.items():
            scale = float(value.abs().max())
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5 * scale, msg=lambda m, n=name: n + m)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", ["off", "default"])
def test_the_host_never_waits_in_forward_and_backward(small, batch_of, mode: str) -> None:
    device = torch.device("cuda")
    recipe = small("paper", f"compile={mode}", "text.capacity=fixed", "model.text.dropout=0.1")
    model = make_ready(Ecamp(recipe, VOCABULARY).bfloat16(), recipe, device)
    batch = batch_of(recipe, [1, 2, 3], Capacity(80, 70)).to(device)
    for _ in range(2):  # the first compiles
        model(batch).total.backward()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            model(batch).total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_losses_are_what_a_plain_reading_gives(small, batch_of) -> None:
    """All three terms of recipe ``paper`` from the model's own tensors, without any kernel."""
    recipe = small()
    model = Ecamp(recipe, VOCABULARY).double().eval()
    batch = dataclasses.replace(batch_of(recipe, [2, 4]), attention=torch.zeros(2, ATTENTION_GRID, ATTENTION_GRID))
    view, losses = model.view(batch), model(batch)
    latent = model.encoder(view.low, view.keep)
    predicted = model.decoder(latent, view.keep).view(2, 4, 4, 8, 8, 3)
    picture = torch.einsum("bhwpqc->bchpwq", predicted).reshape(2, 3, 32, 32)
    hidden = torch.ones(2, 16).scatter(1, view.keep, 0.0).view(2, 1, 4, 4)
    hidden = hidden.repeat_interleave(8, 2).repeat_interleave(8, 3)
    error = (picture - view.low).square().mean(1, keepdim=True)
    torch.testing.assert_close(losses.mim, 0.75 * (error * hidden).sum() / hidden.sum())
    target = (batch.image.double() / 255 - recipe.image.mean) / recipe.image.std
    torch.testing.assert_close(
        losses.sr, (model.super_resolution(picture) - target).square().mean(), rtol=1e-5, atol=1e-6
    )
    head, text = model.text.head, view.text
    lengths = SequenceLayout.packed(text.cu_seqlens, len(text.ids), text.max_seqlen)
    rows = model.text(text.ids, latent, lengths, lengths)[text.rows]
    chances = linear(head(rows), head.vocabulary, head.bias).log_softmax(-1).gather(1, text.labels[:, None])[:, 0]
    expected = -(chances * text.weights).sum() / (2 * recipe.text.max_tokens)
    torch.testing.assert_close(losses.mlm, expected)


def test_masks_follow_the_key_of_the_sample(small, batch_of) -> None:
    recipe = small()
    model = Ecamp(recipe, VOCABULARY)
    first, second = model.view(batch_of(recipe, [7, 8])), model.view(batch_of(recipe, [8, 9]))
    assert torch.equal(first.keep[1], second.keep[0]) and not torch.equal(first.keep[0], first.keep[1])
    drawn = uniform(sample_keys(1, 0, np.array([7, 8])), Stream.PATCHES, 16)
    assert first.keep.tolist() == drawn.argsort(1)[:, :4].tolist()
    assert first.keep.shape == (2, 4) and first.masked.shape == (2, 12)
    assert torch.equal(torch.cat([first.keep, first.masked], 1).sort(1).values, torch.arange(16).expand(2, -1))
    other_epoch = dataclasses.replace(
        batch_of(recipe, [7, 8]), keys=torch.from_numpy(sample_keys(1, 1, np.array([7, 8])))
    )
    assert not torch.equal(first.keep, model.view(other_epoch).keep)


def test_official_low_resolution_has_no_antialiasing(small, batch_of) -> None:
    batch = batch_of(small(), [1])
    views = {name: Ecamp(small(name), VOCABULARY).view(batch_of(small(name), [1])) for name in ("paper", "official")}
    for name, antialias in (("paper", True), ("official", False)):
        expected = low_resolution(batch.image, 0.4721, 0.3037, antialias)
        torch.testing.assert_close(views[name].low, expected)


@pytest.mark.parametrize("name", ["paper", "official", "mae"])
def test_reconstruction(small, batch_of, name: str) -> None:
    recipe = small(name, "model.text.dropout=0.5")
    model = Ecamp(recipe, VOCABULARY).train()
    batch = batch_of(recipe, [1, 2])
    first, again = model.reconstruct(batch), model.reconstruct(batch)
    assert model.training
    assert first.mask.sum(1).tolist() == [12, 12] and not first.mask.gather(1, model.view(batch).keep).any()
    assert first.prediction.shape == first.low.shape == (2, 1, 32, 32)
    assert torch.equal(first.prediction, again.prediction)
    view = model.view(batch)
    pictures = unpatchify(model.decoder(model.encoder(view.low, view.keep), view.keep), 8)
    torch.testing.assert_close(first.prediction, pictures.sum(1, keepdim=True) / 3)
    if name == "mae":
        assert first.super_resolution is None and first.text is None and first.words is None
        return
    assert first.super_resolution.shape == (2, 1, 64, 64)
    masked = first.text.ids == MASK_ID
    assert masked.any() and torch.equal(first.words[~masked], first.text.ids[~masked])
    assert torch.equal(first.words, again.words)


def test_features(small, batch_of) -> None:
    recipe = small()
    model = Ecamp(recipe, VOCABULARY)
    batch = batch_of(recipe, [1, 2])
    features = model.features(batch.image)
    low = model.view(batch).low
    every = torch.arange(16).expand(2, -1)
    torch.testing.assert_close(features, model.encoder(low, every)[:, 1:].mean(1))
    small_image = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    assert model.features(small_image).shape == (2, 16)
    with pytest.raises(ValueError, match="48 pixels, must have 64 or 32"):
        model.features(torch.zeros(1, 1, 48, 48, dtype=torch.uint8))


def test_bfloat16_losses_are_near_float32(small, batch_of) -> None:
    recipe = small()
    model = Ecamp(recipe, VOCABULARY)
    batch = batch_of(recipe, [1, 2, 3])
    fine = model(batch)
    rough = model.bfloat16()(batch)
    for term in ("mim", "sr", "mlm"):
        torch.testing.assert_close(getattr(rough, term), getattr(fine, term), rtol=0.02, atol=0.02)


def test_a_few_steps_lower_every_loss(small, batch_of) -> None:
    recipe = small("paper", "model.text.dropout=0.1")
    model = Ecamp(recipe, VOCABULARY)
    batch = batch_of(recipe, [1, 2, 3, 4])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = model(batch)
    for _ in range(30):
        optimizer.zero_grad()
        losses = model(batch)
        losses.total.backward()
        optimizer.step()
    for term in ("mim", "sr", "mlm"):
        assert getattr(losses, term) < 0.97 * getattr(first, term), term


def test_model_can_be_built_without_memory(small) -> None:
    with torch.device("meta"):
        model = Ecamp(small("mae"), VOCABULARY)
    assert model.text is None and model.super_resolution is None
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "official"])
def test_kernels_inside_the_model(small, batch_of, monkeypatch, name: str, device: str) -> None:
    """With every operation on its Triton kernel, the losses and all gradients are those of the PyTorch paths."""
    recipe = small(name)
    model, batch = Ecamp(recipe, VOCABULARY).to(device), batch_of(recipe, [1, 2]).to(device)
    backends, ran = {"used": "torch"}, set()

    def choose_always(backend, operation, **tensors):
        ran.add(operation)
        return choose(backends["used"], operation, **tensors)

    for module in (low_res, masked, gather, sr, tokens, vocabulary):
        monkeypatch.setattr(module, "choose", choose_always)
    plain = model(batch)
    plain.total.backward()
    expected = {key: parameter.grad.clone() for key, parameter in model.named_parameters()}
    model.zero_grad()
    backends["used"] = "triton"
    losses = model(batch)
    losses.total.backward()
    wanted = {"low_resolution", "patch_gather", "unshuffle", "masked_mse", "sr_loss", "weighted_cross_entropy"}
    assert ran == wanted
    for term in ("mim", "sr", "mlm"):
        torch.testing.assert_close(getattr(losses, term), getattr(plain, term), rtol=1e-5, atol=1e-7)
    for key, parameter in model.named_parameters():
        difference = (parameter.grad - expected[key]).norm()
        assert difference <= 2e-5 * expected[key].norm() + 1e-8, key
