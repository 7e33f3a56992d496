"""From weights to a model that is ready to run: where it lies, how its products are computed, what it keeps."""

import torch

from ecamp_fast.config import Recipe
from ecamp_fast.model.compile import compile_blocks, recompute_blocks
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.float8 import to_float8


def make_ready(model: Ecamp, recipe: Recipe, device: torch.device) -> Ecamp:
    """The model on ``device``; 8-bit products, recomputation, compilation as the recipe says. Before the optimizer.

    Raises EnvironmentFault where the device or an installed library cannot do what the recipe asks for.
    """
    model = model.to(device)
    if recipe.float8:
        to_float8(model)
    compile_blocks(model, recipe, device)
    if recipe.activations == "recompute":
        recompute_blocks(model)
    return model
