"""Heads against the paper's count of weights, at every grid; each learns a toy mask from tokens that hold it."""

from importlib.util import find_spec
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from ecamp_fast.downstream.heads import dpt
from ecamp_fast.downstream.heads.dense import HEADS, SETR, HeadName, Heads
from ecamp_fast.downstream.heads.dpt import blocks_of
from ecamp_fast.downstream.heads.mask_loss import mask_loss
from ecamp_fast.downstream.trunk import as_map
from ecamp_fast.errors import EnvironmentFault

INSTALLED = find_spec("segmentation_models_pytorch") is not None
HERE = [pytest.param(name, marks=pytest.mark.skipif(name == "dpt" and not INSTALLED, reason=name)) for name in HEADS]


def weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_the_papers_head_has_its_5_68_million_weights_and_stages() -> None:
    """Against the layers that SPEC 7.2 lists, added by hand, and in its order."""
    head = SETR(768, 14, 224)
    widths = (768, 512, 256, 128, 64)
    stages = [9 * before * after + after + 2 * after for before, after in pairwise(widths)]
    assert weights(head) == 768 * 768 + 768 + sum(stages) + 64 * 9 + 1 == 5_681_281
    kinds = [type(layer).__name__ for layer in head.modules() if not list(layer.children())]
    assert kinds == ["Linear", *["Conv2d", "BatchNorm2d", "ReLU"] * 4, "Conv2d"]
    assert head.sides == [28, 56, 112, 224]


def test_the_papers_head_is_the_layers_written_out() -> None:
    head = SETR(768, 2, 32).eval()
    tokens = torch.randn(2, 4, 768)
    x = nn.functional.linear(tokens, head.embed.weight, head.embed.bias).reshape(2, 2, 2, 768).permute(0, 3, 1, 2)
    doubled = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    for stage in head.stages:
        x = doubled(stage(x))
    assert torch.equal(head(tokens), head.predict(x)) and x.shape == (2, 64, 32, 32)


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize(("width", "grid", "size"), [(96, 8, 64), (24, 7, 224), (32, 4, 56), (20, 3, 30)])
def test_every_head_takes_every_grid_and_patch(name: HeadName, width: int, grid: int, size: int) -> None:
    logits = Heads(name, 2, width, grid, size)(torch.randn(2, grid * grid, width))
    assert logits.shape == (2, 2, size, size) and logits.dtype == torch.float32


def test_the_map_has_the_tokens_row_by_row() -> None:
    tokens = torch.arange(6.0 * 6).reshape(1, 36, 1)
    assert as_map(tokens, 6)[0, 0, 2, 5] == 2 * 6 + 5


def toy(count: int) -> tuple[Tensor, Tensor]:
    """Tokens (B, 16, 16), of which one direction says whether a patch is marked; masks (B, 1, 16, 16)."""
    generator = torch.Generator().manual_seed(count)
    marked = torch.rand(count, 1, 4, 4, generator=generator) < 0.3
    tokens = torch.randn(count, 16, 16, generator=generator) * 5
    tokens += marked.flatten(1)[:, :, None] * torch.linspace(-40, 40, 16)
    return tokens, nn.functional.interpolate(marked.float(), (16, 16), mode="nearest")


@pytest.mark.parametrize("name", HERE)
def test_every_head_learns_a_toy_mask(name: HeadName) -> None:
    heads = Heads(name, 1, 16, 4, 16)
    optimizer = torch.optim.AdamW(heads.parameters(), 1e-2)
    tokens, masks = toy(40)
    for _ in range(60):
        optimizer.zero_grad()
        mask_loss(heads(tokens), masks).backward()
        optimizer.step()
    tokens, masks = toy(32)
    marked = heads.eval()(tokens) > 0
    assert (marked == masks.bool()).float().mean() > 0.8 > 0.72 > (masks == 0).float().mean()


def test_each_mask_has_a_head_of_its_own() -> None:
    heads = Heads("setr", 2, 24, 4, 16)
    heads(torch.randn(2, 16, 24))[:, 0].sum().backward()
    grads = [[float(weight.grad.abs().max()) for weight in head.parameters()] for head in heads.heads]
    assert max(grads[0]) > 0 and max(grads[1]) == 0


def test_what_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpt, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"pip install -e .*\[segment\]"):
        Heads("dpt", 1, 16, 4, 16)


def test_dpt_reads_four_blocks_of_a_vit_or_as_many_as_there_are() -> None:
    assert [blocks_of(depth) for depth in (12, 24, 4, 3, 1)] == [
        [2, 5, 8, 11],
        [5, 11, 17, 23],
        [0, 1, 2, 3],
        [0, 1, 2],
        [0],
    ]


@pytest.mark.skipif(not INSTALLED, reason="dpt")
def test_dpt_tells_its_levels_apart() -> None:
    heads = Heads("dpt", 1, 16, 4, 16, levels=3)
    tokens = torch.randn(2, 16, 48, requires_grad=True)
    heads(tokens).square().sum().backward()
    assert tokens.grad is not None
    grads = tokens.grad.abs().sum((0, 1)).view(3, 16).sum(1)
    assert (grads > 0).all() and (grads[:-1] - grads[1:]).abs().min() > 0
