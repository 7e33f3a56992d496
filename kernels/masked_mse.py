"""Mean squared error of the masked patches (paper Eq. 2): only their pixels are read.

A patch's values run row, column, channel. The image is grey, so its pixels are compared with all channels of the
prediction and never copied.
Legend: B samples, N patches, M masked patches, P pixels per side of a patch, C channels of the prediction.
"""

from torch import Tensor

from ecamp_fast.kernels.launch import Backend, choose, wide
from ecamp_fast.kernels.patch_gather import patch_gather

EPSILON = 1e-6  # of norm_pix, as in MAE


def masked_mse_ref(prediction: Tensor, image: Tensor, masked: Tensor, patch: int, norm_pix: bool = False) -> Tensor:
    """The definition. Any dtype, any device; sums in float32 or wider."""
    batch, count = masked.shape
    rows = prediction.gather(1, masked[..., None].expand(-1, -1, prediction.shape[-1]))
    rows = wide(rows).view(batch, count, patch * patch, -1)
    target = patch_gather(image, masked, patch, dtype=rows.dtype)
    if norm_pix:
        target = _standardised(target, channels=rows.shape[-1])
    return (rows - target[..., None]).square().mean()


def masked_mse(
    prediction: Tensor, image: Tensor, masked: Tensor, patch: int, norm_pix: bool = False, backend: Backend = "auto"
) -> Tensor:
    """Mean over the pixels and channels of the masked patches.

    prediction: (B, N, P*P*C)   image: (B, 1, H, W) floating, normalised   masked: (B, M) int64, patch numbers
    norm_pix: compare with pixels standardised within their patch (MAE)   returns 0-d, float32 or wider.
    """
    choose(backend, "masked_mse")
    if prediction.shape[-1] % (patch * patch):
        raise ValueError(f"prediction width {prediction.shape[-1]} is not a multiple of {patch} x {patch}")
    return masked_mse_ref(prediction, image, masked, patch, norm_pix)


def _standardised(target: Tensor, channels: int) -> Tensor:
    """(t - mean) / sqrt(var + eps) per patch; var is unbiased over the P*P*C values of ``channels`` equal channels."""
    mean = target.mean(-1, keepdim=True)
    values = channels * target.shape[-1]
    variance = target.var(-1, keepdim=True, unbiased=False) * (values / (values - 1))
    return (target - mean) / (variance + EPSILON).sqrt()
