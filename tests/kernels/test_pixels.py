import pytest
import torch

from ecamp_fast.kernels.pixels import affine, normalise

MEAN, STD = 0.4721, 0.3037


@pytest.fixture
def image() -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


def test_bytes_become_normalised_numbers_and_floats_stay(image) -> None:
    exact = (image.double() / 255 - MEAN) / STD
    torch.testing.assert_close(normalise(image, MEAN, STD, torch.float64), exact)
    torch.testing.assert_close(normalise(image, MEAN, STD), exact.float())
    assert normalise(exact, MEAN, STD) is exact


def test_a_kernel_makes_the_same_numbers_of_pixels(image) -> None:
    scale, shift = affine(image, MEAN, STD)
    torch.testing.assert_close(image * scale + shift, normalise(image, MEAN, STD))
    assert affine(image.float(), MEAN, STD) == (1.0, 0.0)


def test_refuses_other_integers(image) -> None:
    with pytest.raises(ValueError, match=r"image dtype torch.int32, must be uint8 or floating"):
        normalise(image.int(), MEAN, STD)
