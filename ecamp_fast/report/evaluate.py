"""How a reconstruction correlates with the image, over the patches that were hidden: a number beside each picture."""

import torch
from torch import Tensor

from ecamp_fast.evidence.images import pixel_mask


def masked_correlation(prediction: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Pearson's correlation over the pixels of masked patches.

    prediction, truth: (B, 1, H, W)   mask: (B, N) bool, True = hidden from the encoder
    returns (B,) float64; 0 where prediction or truth is constant.
    """
    hidden = pixel_mask(mask, prediction.shape[-1])
    a, b = (_centred(image[:, 0].double(), hidden) for image in (prediction, truth))
    product = (a * b).sum((1, 2))
    norm = (a.square().sum((1, 2)) * b.square().sum((1, 2))).sqrt()
    return torch.where(norm > 0, product / norm, 0.0)


def _centred(image: Tensor, where: Tensor) -> Tensor:
    mean = torch.where(where, image, 0.0).sum((1, 2)) / where.sum((1, 2))
    return torch.where(where, image - mean[:, None, None], 0.0)
