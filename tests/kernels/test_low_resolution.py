import numpy as np
import pytest
import torch
from PIL import Image

from ecamp_fast.kernels.low_resolution import low_resolution, low_resolution_ref

MEAN, STD = 0.4721, 0.3037


def picture(batch: int = 2, size: int = 48) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 1, size, size), dtype=torch.uint8)


def test_antialiased_equals_pillow_in_float() -> None:
    image = picture()
    ours = low_resolution(image, MEAN, STD, antialias=True)
    for grey, small in zip(image, ours, strict=True):
        resized = Image.fromarray(grey[0].numpy().astype(np.float32)).resize((24, 24), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(small[0].numpy(), (np.asarray(resized) / 255 - MEAN) / STD, atol=2e-5)


def test_plain_is_the_four_tap_kernel() -> None:
    """Half a pixel between samples, a = -0.75: weights -3/32, 19/32, 19/32, -3/32, edges clamped."""
    grey = (picture(1).double()[0, 0].numpy() / 255 - MEAN) / STD
    for _ in range(2):  # rows, then columns
        padded = np.pad(grey, ((1, 1), (0, 0)), mode="edge")
        taps = [padded[i : i + len(grey) : 2] for i in range(4)]
        grey = (19 * (taps[1] + taps[2]) - 3 * (taps[0] + taps[3])).T / 32
    torch.manual_seed(0)
    np.testing.assert_allclose(low_resolution(picture(1), MEAN, STD, antialias=False)[0, 0].numpy(), grey, atol=2e-5)


@pytest.mark.parametrize("antialias", [True, False])
def test_no_worse_than_the_definition(antialias: bool, assert_no_worse) -> None:
    image = picture()
    truth = low_resolution_ref((image.double() / 255 - MEAN) / STD, MEAN, STD, antialias)
    plain = low_resolution_ref(image, MEAN, STD, antialias)
    assert_no_worse("low", low_resolution(image, MEAN, STD, antialias), plain, truth)


def test_floats_are_taken_as_normalised_and_keep_their_dtype() -> None:
    image = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    small = low_resolution(image, MEAN, STD, antialias=True)
    assert small.dtype == torch.float64
    torch.testing.assert_close(small, low_resolution(image, 0.0, 1.0, antialias=True))


def test_values_are_not_rounded_to_grey_levels() -> None:
    levels = (low_resolution(picture(), MEAN, STD, antialias=True) * STD + MEAN) * 255
    assert (levels - levels.round()).abs().max() > 0.4


def test_refuses_odd_sides_other_dtypes_and_triton() -> None:
    with pytest.raises(ValueError, match="cannot be halved"):
        low_resolution(picture(size=47), MEAN, STD, antialias=True)
    with pytest.raises(ValueError, match="no Triton kernel"):
        low_resolution(picture(), MEAN, STD, antialias=True, backend="triton")
    with pytest.raises(ValueError, match="'cuda', must be"):
        low_resolution(picture(), MEAN, STD, antialias=True, backend="cuda")
