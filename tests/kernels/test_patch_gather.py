import pytest
import torch

from ecamp_fast.kernels.patch_gather import patch_gather, patch_gather_ref

MEAN, STD = 0.4721, 0.3037


@pytest.mark.parametrize(("size", "patch", "kept"), [((32, 32), 8, 4), ((32, 48), 16, 1), ((15, 10), 5, 6)])
def test_equals_the_definition(size: tuple[int, int], patch: int, kept: int) -> None:
    image = torch.randint(0, 256, (3, 1, *size), dtype=torch.uint8)
    keep = torch.stack([torch.randperm(size[0] * size[1] // patch**2)[:kept] for _ in range(3)])
    ours = patch_gather(image, keep, patch, MEAN, STD)
    torch.testing.assert_close(ours, patch_gather_ref(image, keep, patch, MEAN, STD), rtol=0, atol=0)


def test_rows_are_the_pixels_of_the_patch() -> None:
    image = torch.arange(36.0).view(1, 1, 6, 6)
    rows = patch_gather(image, torch.tensor([[3, 0]]), 3)
    assert rows[0, 0].tolist() == image[0, 0, 3:, 3:].flatten().tolist()
    assert rows[0, 1].tolist() == image[0, 0, :3, :3].flatten().tolist()


def test_bytes_and_normalised_floats_agree() -> None:
    image = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    keep = torch.tensor([[1, 2], [3, 0]])
    floats = (image.double() / 255 - MEAN) / STD
    torch.testing.assert_close(
        patch_gather(image, keep, 8, MEAN, STD, torch.float64), patch_gather(floats, keep, 8, dtype=torch.float64)
    )


def test_image_need_not_be_contiguous() -> None:
    image = torch.randn(2, 1, 8, 16)[..., ::2]
    keep = torch.tensor([[1], [2]])
    torch.testing.assert_close(patch_gather(image, keep, 4), patch_gather(image.contiguous(), keep, 4))


def test_compute_dtype() -> None:
    assert patch_gather(torch.randn(1, 1, 8, 8), torch.tensor([[0]]), 4, dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 1, 16, 12)])
def test_refuses_colour_and_cut_patches(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="whole 8 x 8 patches"):
        patch_gather(torch.zeros(shape), torch.tensor([[0]]), 8)
