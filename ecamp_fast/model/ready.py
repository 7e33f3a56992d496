"""From weights to a model that is ready to run: where it lies, how its products are computed, what is compiled."""

import torch

from ecamp_fast.config import Recipe
from ecamp_fast.model.compiled import compile_blocks
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.float8 import to_float8


def make_ready(model: Ecamp, recipe: Recipe, device: torch.device) -> Ecamp:
    """The model on ``device``, with 8-bit products and compiled blocks as the recipe says. Before engine and optimizer.

    Raises EnvironmentFault where the device or an installed library cannot do what the recipe asks for.
    """
    model = model.to(device)
    if recipe.float8:
        to_float8(model)
    compile_blocks(model, recipe, device)
    return model
