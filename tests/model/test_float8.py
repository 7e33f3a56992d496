"""Float8 training products, emulated on the CPU: near the plain model, and learning like it."""

import copy
import importlib.util
import sys

import pytest
import torch
from torch import nn

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.float8 import _fits, to_float8
from ecamp_fast.model.vision import Block

needs_torchao = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed")
WIDTH, VOCABULARY = 32, 40


class Part(nn.Module):
    """A part of a model that has blocks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Linear(width, width)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(width, 2 * width), nn.GELU()) for _ in range(2))


class Model(nn.Module):
    """Modules under the names that ``Ecamp`` has."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.encoder = Part(width)


@needs_torchao
def test_only_layers_of_blocks_with_widths_that_fit() -> None:
    assert to_float8(Model(), emulate=True) == ["encoder.blocks.0.0", "encoder.blocks.1.0"]
    assert to_float8(Model(24), emulate=True) == []


def test_which_layers_of_the_model_take_8_bit_floats(small) -> None:
    """Those of blocks whose widths are both multiples of 16. The image decoder's head, 32 to 192, is in no block."""
    recipe = small(
        "paper",
        "model.vision={width: 16, depth: 1, heads: 2, patch: 8}",
        "model.decoder={width: 32, depth: 1, heads: 2}",
        "model.text={width: 24, depth: 1, heads: 3, ffn: 32}",
    )
    model = Ecamp(recipe, VOCABULARY)
    assert isinstance(model.decoder.predict, nn.Linear)
    names = [name for name, module in model.named_modules() if _fits(module, name)]
    layers = ("qkv", "proj", "fc1", "fc2")
    assert names == [f"{part}.blocks.0.{layer}" for part in ("encoder", "decoder") for layer in layers]


@needs_torchao
def test_the_layers_of_a_transformer_block() -> None:
    model = nn.Module()
    model.encoder = nn.Module()
    model.encoder.blocks = nn.ModuleList([Block(WIDTH, 2, 4.0)])
    names = to_float8(model, emulate=True)
    assert [name.rsplit(".", 1)[1] for name in names] == ["qkv", "proj", "fc1", "fc2"]


@needs_torchao
def test_weights_keep_names_shapes_and_values() -> None:
    model = Model().bfloat16()
    before = {name: (id(p), p.dtype) for name, p in model.named_parameters()}
    state = copy.deepcopy(model.state_dict())
    to_float8(model, emulate=True)
    assert before == {name: (id(p), p.dtype) for name, p in model.named_parameters()}
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    Model().bfloat16().load_state_dict(model.state_dict())


@pytest.mark.slow
@needs_torchao
def test_the_model_learns_like_in_bfloat16(small) -> None:
    recipe = small(
        "paper",
        "model.vision={width: 32, depth: 2, heads: 2, patch: 8}",
        "model.decoder={width: 16, depth: 1, heads: 2}",
        "model.text={width: 32, depth: 2, heads: 2, ffn: 48, dropout: 0.0}",
    )
    plain = Ecamp(recipe, VOCABULARY).bfloat16()
    rough = copy.deepcopy(plain)
    names = to_float8(rough, emulate=True)
    assert {name.split(".")[0] for name in names} == {"encoder", "decoder", "text"}
    batch = synthetic_batch(recipe, VOCABULARY, [9, 20, 13, 15])

    def losses(model: nn.Module) -> list[float]:
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        found = []
        for _ in range(50):
            optimizer.zero_grad()
            loss = model(batch).total
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    fine, coarse = losses(plain), losses(rough)
    assert fine != coarse, "the layers were not swapped"
    assert coarse[0] == pytest.approx(fine[0], rel=0.02)
    assert coarse[-1] < 0.9 * coarse[0] and coarse[-1] == pytest.approx(fine[-1], rel=0.1)


@needs_torchao
def test_a_cpu_has_no_float8_products() -> None:
    with pytest.raises(EnvironmentFault, match="Hopper generation or later, the model is on cpu"):
        to_float8(Model())


def test_names_the_command_that_installs_torchao(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(EnvironmentFault, match=r"pip install -e '\.\[float8\]'"):
        to_float8(Model())
