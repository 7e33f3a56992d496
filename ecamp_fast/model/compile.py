"""How the transformer blocks run: compiled, whose pointwise work is worth fusing, and keeping all or only their input.

Each block is compiled by itself, without a graph break. What lies between them are this project's own kernels and a few
norms.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ecamp_fast.config import Recipe
from ecamp_fast.model.ecamp import Ecamp

SHAPES = 32  # that one block may meet: its kinds, and micro-batches of text beyond their capacity
# compile -> what torch.compile is told; "reduce-overhead" replays each block as a CUDA graph
MODES: dict[str, dict[str, Any]] = {
    "default": {},
    "reduce-overhead": {"mode": "reduce-overhead"},
    "max-autotune": {"mode": "max-autotune-no-cudagraphs"},
}


def compile_blocks(model: Ecamp, recipe: Recipe, device: torch.device, **options: Any) -> bool:
    """Let the blocks compile when they first run, as ``recipe.compile`` says; names and shapes of weights stay.

    options: for ``torch.compile``, above those of the mode   returns whether anything will be compiled.
    """
    mode = recipe.compile
    if mode == "auto":
        mode = "default" if device.type == "cuda" else "off"
    if mode == "off":
        return False
    torch._dynamo.config.recompile_limit = max(SHAPES, torch._dynamo.config.recompile_limit)
    for block in blocks(model, recipe.fixed_text(device.type == "cuda")):
        block.forward = torch.compile(  # type: ignore[method-assign]
            block.forward, fullgraph=True, dynamic=False, **MODES[mode], **options
        )
    return True


def recompute_blocks(model: Ecamp) -> None:
    """Checkpoint every transformer block (Chen et al. 2016), dropout alike the second time. After ``compile_blocks``.

    A third more work in the blocks; of a block only its input waits for the backward. Around what is compiled, not
    inside it: a compiler that recomputes knows the random state of its own operators only.
    """
    for block in blocks(model, fixed_text=True):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]


def blocks(model: Ecamp, fixed_text: bool) -> Iterator[nn.Module]:
    """The modules, one by one; equal ones share what is compiled for the first of them.

    fixed_text: whether text has one shape; where every batch has another, its modules stay as they are.
    """
    yield from model.encoder.blocks
    if model.decoder:
        yield from model.decoder.blocks
    if model.text and fixed_text:
        yield from (model.text.embeddings, model.text.fusion, *model.text.layers, model.text.head)
