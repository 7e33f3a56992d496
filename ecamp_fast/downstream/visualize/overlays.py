"""A map as a picture: as the paper's figure has it, or as it is.

Legend: S pixels per side of the picture, G places per side of the map.
"""

import numpy as np
import torch
from torch.nn import functional

POWER = 0.25  # of the paper's figure


def paper_overlay(image: np.ndarray, values: np.ndarray, power: float = POWER) -> np.ndarray:
    """As the released script draws it: power, least to greatest, bilinear, jet colours, half and half with the image.

    It stretches every map from blue to red, a nearly flat one too: of how sharp a map is it says nothing.

    image    (S, S) uint8
    values   (G, G) floating, >= 0
    returns  (S, S, 3) uint8
    """
    from matplotlib import colormaps

    raised = torch.from_numpy(np.asarray(values, np.float64)) ** power
    span = raised.max() - raised.min()
    level = (raised - raised.min()) / span if span > 0 else torch.zeros_like(raised)
    grown = functional.interpolate(level[None, None], size=image.shape, mode="bilinear", align_corners=False)[0, 0]
    colour = colormaps["jet"](grown.numpy())[..., :3] * 255
    return np.asarray(np.rint(0.5 * image[..., None] + 0.5 * colour), np.uint8)
