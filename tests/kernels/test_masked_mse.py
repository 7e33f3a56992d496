import pytest
import torch
from torch import Tensor

from ecamp_fast.kernels.masked_mse import masked_mse, masked_mse_ref

PATCH, GRID, BATCH, MASKED = 4, 3, 2, 6


def patchify(image: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, N, P*P*3), channel fastest, as MAE lays it out."""
    cells = image.reshape(len(image), 3, GRID, PATCH, GRID, PATCH)
    return torch.einsum("nchpwq->nhwpqc", cells).reshape(len(image), GRID**2, PATCH**2 * 3)


@pytest.fixture
def case() -> tuple[Tensor, Tensor, Tensor]:
    prediction = torch.randn(BATCH, GRID**2, 3 * PATCH**2, dtype=torch.float64)
    image = torch.randn(BATCH, 1, GRID * PATCH, GRID * PATCH, dtype=torch.float64)
    masked = torch.stack([torch.randperm(GRID**2)[:MASKED] for _ in range(BATCH)])
    return prediction, image, masked


@pytest.mark.parametrize("norm_pix", [False, True])
def test_equals_maes_formula(case, norm_pix: bool) -> None:
    prediction, image, masked = case
    target = patchify(image.expand(-1, 3, -1, -1))
    if norm_pix:
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    mask = torch.zeros(BATCH, GRID**2, dtype=torch.float64).scatter(1, masked, 1)
    theirs = ((prediction - target).square().mean(-1) * mask).sum() / mask.sum()
    torch.testing.assert_close(masked_mse(prediction, image, masked, PATCH, norm_pix), theirs)


def test_released_loss_is_the_masked_share_of_it(case) -> None:
    """The released code multiplies both images by the mask and averages over all pixels: 0.75 times ours at 75 %."""
    prediction, image, masked = case
    mask = torch.zeros(BATCH, GRID**2, 1, dtype=torch.float64).scatter(1, masked[..., None], 1)
    released = (prediction * mask - patchify(image.expand(-1, 3, -1, -1)) * mask).square().mean()
    torch.testing.assert_close(released, MASKED / GRID**2 * masked_mse(prediction, image, masked, PATCH))


def test_gradients(case) -> None:
    prediction, image, masked = case
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: masked_mse(p, image, masked, PATCH), prediction)
    (gradient,) = torch.autograd.grad(masked_mse(prediction, image, masked, PATCH), prediction)
    seen = torch.ones(BATCH, GRID**2, dtype=torch.bool).scatter(1, masked, False)
    assert gradient[seen].abs().max() == 0 and gradient[~seen].abs().min() > 0


def test_bfloat16_no_worse_than_the_definition(case, gradients, assert_no_worse) -> None:
    prediction, image, masked = case
    prediction, image = prediction.bfloat16(), image.float()
    ours, plain = (
        gradients(lambda p, f=f: f(p, image, masked, PATCH), [prediction], torch.bfloat16)
        for f in (masked_mse, masked_mse_ref)
    )
    truth = gradients(lambda p: masked_mse_ref(p, image.double(), masked, PATCH), [prediction], torch.float64)
    assert ours[0].dtype == torch.float32
    for name, *values in zip(("loss", "prediction"), ours, plain, truth, strict=True):
        assert_no_worse(name, *values)


def test_refuses_a_width_that_is_no_whole_patch(case) -> None:
    prediction, image, masked = case
    with pytest.raises(ValueError, match="47 is not a multiple of 4 x 4"):
        masked_mse(prediction[..., :-1], image, masked, PATCH)
