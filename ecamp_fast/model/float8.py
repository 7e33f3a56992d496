"""Products in 8-bit floats: the linear layers of the transformer blocks, on Hopper and later, by torchao.

Input, weight and incoming gradient of a layer are scaled to float8 as they are used; the weights themselves, their
names and their gradients stay as they were, so checkpoints are the same. Scales are tensorwise: one maximum of a
tensor, where rowwise ones, which are finer, take one of every row. Which is faster here is not measured.
"""

from typing import Any

import torch
from torch import nn

from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.extras import install_hint

BLOCKS = ("encoder.blocks.", "decoder.blocks.", "text.fusion.", "text.layers.")
MULTIPLE = 16  # of both widths, or the chip's float8 product refuses
HOPPER = (9, 0)  # compute capability


def to_float8(model: nn.Module, emulate: bool = False) -> list[str]:
    """Swap the linear layers of the blocks in place; returns their names. Before compilation, engine and optimizer.

    A layer whose widths are not multiples of 16 stays as it is, and so does whatever multiplies a weight by itself.
    emulate: compute the same in float32, on any device, slowly.
    Raises EnvironmentFault without torchao, or where the device of the model has no float8 products.
    """
    float8 = _library()
    if not emulate:
        _check(next(model.parameters()).device)
    names = [name for name, module in model.named_modules() if _fits(module, name)]
    config = float8.Float8LinearConfig(pad_inner_dim=True, emulate=emulate)  # rows are no multiple of 16
    float8.convert_to_float8_training(model, module_filter_fn=lambda _, name: name in names, config=config)
    return names


def _fits(module: nn.Module, name: str) -> bool:
    if not isinstance(module, nn.Linear) or not name.startswith(BLOCKS):
        return False
    return module.in_features % MULTIPLE == 0 and module.out_features % MULTIPLE == 0


def _library() -> Any:
    try:
        from torchao import float8
    except ImportError as error:
        raise EnvironmentFault(f"float8 needs torchao: {error}", install_hint("float8")) from None
    return float8


def _check(device: torch.device) -> None:
    hint = "set float8: false"
    if device.type != "cuda":
        raise EnvironmentFault(f"float8 needs a GPU of the Hopper generation or later, the model is on {device}", hint)
    found = torch.cuda.get_device_capability(device)
    if found < HOPPER:
        name = torch.cuda.get_device_name(device)
        raise EnvironmentFault(f"float8 needs compute capability 9.0, {name} has {found[0]}.{found[1]}", hint)
