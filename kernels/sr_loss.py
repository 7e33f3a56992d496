"""Super-resolution and its loss (paper Eq. 5): bilinear x 2, two 3 x 3 convolutions around a residual, weighted error.

U = bilinear(x, 2);  z = conv2(relu(conv1(U)));  y = z + U, or relu(z + U) as the released code has it.
Legend: B samples, C channels, S pixels per side of the high-resolution image, G cells per side of the attention grid.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, interpolate, pad, relu

from ecamp_fast.kernels.launch import Backend, choose
from ecamp_fast.kernels.weighted_mse import Guide, weighted_mse, weighted_mse_ref


class Convolutions(NamedTuple):
    """Weights (C, C, 3, 3) and biases (C,) of the two convolutions."""

    weight_1: Tensor
    bias_1: Tensor
    weight_2: Tensor
    bias_2: Tensor


def super_resolve(low: Tensor, convolutions: Convolutions, final_relu: bool) -> Tensor:
    """The image at twice the side.  low: (B, C, S/2, S/2), channels-last is fastest   returns (B, C, S, S)."""
    return _around(double(low), convolutions, final_relu)


def double(low: Tensor) -> Tensor:
    """Bilinear x 2 (align_corners False).

    The same weighted sums as a transposed convolution over the replicated edge: on a CPU, with its backward, 2 to 5
    times as fast as ``interpolate`` (EPYC, 32 x 3 x 112 x 112, torch 2.14).
    low: (B, C, H, W)   returns (B, C, 2H, 2W).
    """
    if low.device.type != "cpu":
        return interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
    channels = low.shape[1]
    tent = low.new_tensor([0.25, 0.75, 0.75, 0.25])
    kernel = torch.outer(tent, tent).expand(channels, 1, 4, 4)
    return conv_transpose2d(pad(low, (1, 1, 1, 1), mode="replicate"), kernel, stride=2, padding=3, groups=channels)


def _around(up: Tensor, convolutions: Convolutions, final_relu: bool) -> Tensor:
    middle = relu(conv2d(up, convolutions.weight_1, convolutions.bias_1, padding=1))
    high = conv2d(middle, convolutions.weight_2, convolutions.bias_2, padding=1) + up
    return relu(high) if final_relu else high


def sr_loss_ref(
    low: Tensor, convolutions: Convolutions, image: Tensor, guide: Guide, mean: float, std: float, final_relu: bool
) -> Tensor:
    """The definition. Any dtype, any device; sums in float32 or wider."""
    up = interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
    return weighted_mse_ref(_around(up, convolutions, final_relu), image, guide, mean, std)


def sr_loss(
    low: Tensor,
    convolutions: Convolutions,
    image: Tensor,
    guide: Guide,
    mean: float,
    std: float,
    final_relu: bool = False,
    backend: Backend = "auto",
) -> Tensor:
    """Weighted squared error of the super-resolved prediction; gradients to the prediction and the convolutions.

    low: (B, C, S/2, S/2) prediction   image: (B, 1, S, S) uint8, or floating and normalised already
    guide: attention grid (B, G, G), ``Window`` or None (see ``weighted_mse``)   returns 0-d, float32 or wider.
    """
    choose(backend, "sr_loss")
    return weighted_mse(super_resolve(low, convolutions, final_relu), image, guide, mean, std)
