"""Passes over memory that the compiler leaves of a vision block: 33 n D + 6 n H in `bench.roofline.overheads`."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._inductor.graph import GraphLowering

from ecamp_fast.bench.roofline.overheads import ELEMENT, PASSES
from ecamp_fast.model import vision
from ecamp_fast.model.sequences import SequenceLayout

ROWS, WIDTH, RATIO = 4096, 128, 4
BY_TRAFFIC = (16, 5)  # what `bench.roofline.bytes` counts already

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Your compiler for AOTAutograd")]


@torch.library.custom_op("ecamp_fast_tests::closed_attention", mutates_args=())
def closed_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """In attention's place: the compiler cannot see into it, as into no flash attention."""
    return (q + k + v).clone()


@closed_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q.new_empty(q.shape)


@torch.library.custom_op("ecamp_fast_tests::closed_backward", mutates_args=())
def closed_backward(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return gradient.clone(), gradient.clone(), gradient.clone()


@closed_backward.register_fake
def _(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return gradient.new_empty(gradient.shape), gradient.new_empty(gradient.shape), gradient.new_empty(gradient.shape)


closed_attention.register_autograd(lambda ctx, gradient: closed_backward(gradient))


@pytest.fixture
def writing() -> ModuleType:
    """The test that makes Inductor write for an sm_90."""
    spec = importlib.util.spec_from_file_location("writing", Path(__file__).with_name("test_deterministic.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_passes_of_a_block(writing: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []
    codegen = GraphLowering.codegen

    def counting(graph: GraphLowering) -> Any:
        code = codegen(graph)
        nodes = [
            node for node in graph.scheduler.nodes if type(node).__name__ in ("SchedulerNode", "FusedSchedulerNode")
        ]
        moved.append(sum(node.get_read_write_buffers_sizes() for node in nodes))
        return code

    monkeypatch.setattr(GraphLowering, "codegen", counting)
    monkeypatch.setattr(vision, "attention", lambda q, k, v, **_: closed_attention(q, k, v))
    block = vision.Block(WIDTH, 2, RATIO).bfloat16()
    rows = torch.randn(ROWS, WIDTH, dtype=torch.bfloat16)
    writing.generated(*writing._as_function(block, (rows, SequenceLayout.equal(ROWS // 64, 64))))
    width, hidden = (more + known for more, known in zip(PASSES["vision"], BY_TRAFFIC, strict=True))
    reckoned = ELEMENT * ROWS * WIDTH * (width + RATIO * hidden)
    assert sum(moved) == pytest.approx(reckoned, rel=0.05)
