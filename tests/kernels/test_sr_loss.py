import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ecamp_fast.kernels.guide import Window
from ecamp_fast.kernels.sr_loss import Convolutions, double, sr_loss, sr_loss_ref, super_resolve

MEAN, STD, BATCH, SIZE = 0.4721, 0.3037, 2, 10


@pytest.fixture
def leaves() -> list[Tensor]:
    weights = [torch.randn(3, 3, 3, 3) * 0.2, torch.randn(3) * 0.1, torch.randn(3, 3, 3, 3) * 0.2, torch.randn(3) * 0.1]
    return [torch.randn(BATCH, 3, SIZE // 2, SIZE // 2), *weights]


@pytest.fixture
def image() -> Tensor:
    return torch.randint(0, 256, (BATCH, 1, SIZE, SIZE), dtype=torch.uint8)


@pytest.mark.parametrize("shape", [(2, 3, 7, 5), (1, 1, 1, 4), (1, 2, 14, 14)])
def test_double_is_bilinear_interpolation(shape: tuple[int, ...]) -> None:
    low = torch.randn(shape, dtype=torch.float64)
    expected = interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(double(low), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("final_relu", [False, True])
def test_super_resolve_equals_modules(leaves: list[Tensor], final_relu: bool) -> None:
    low, *weights = leaves
    first, second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
    for module, weight, bias in ((first, *weights[:2]), (second, *weights[2:])):
        module.load_state_dict({"weight": weight, "bias": bias})
    up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)(low)
    expected = second(nn.ReLU()(first(up))) + up
    expected = nn.ReLU()(expected) if final_relu else expected
    torch.testing.assert_close(super_resolve(low, Convolutions(*weights), final_relu), expected)


@pytest.mark.parametrize("guided", ["soft", "window", "none"])
def test_float32_no_worse_than_the_definition(leaves, image, guided: str, gradients, assert_no_worse) -> None:
    guide = {"soft": torch.rand(BATCH, 4, 4), "window": Window(torch.tensor([[0, 1], [1, 1]]), 3, 2), "none": None}[
        guided
    ]
    exact = guide.double() if isinstance(guide, Tensor) else guide
    target = (image.double() / 255 - MEAN) / STD

    def loss(function, picture, grid):
        return lambda low, *w: function(low, Convolutions(*w), picture, grid, MEAN, STD, final_relu=False)

    ours = gradients(loss(sr_loss, image, guide), leaves, torch.float32)
    plain = gradients(loss(sr_loss_ref, image, guide), leaves, torch.float32)
    truth = gradients(loss(sr_loss_ref, target, exact), leaves, torch.float64)
    names = ("loss", "low", "weight_1", "bias_1", "weight_2", "bias_2")
    for name, *values in zip(names, ours, plain, truth, strict=True):
        assert_no_worse(name, *values)


def test_gradients(leaves, image) -> None:
    target = (image.double() / 255 - MEAN) / STD
    attention = torch.rand(BATCH, 4, 4, dtype=torch.float64)
    doubles = [leaf.double().requires_grad_() for leaf in leaves]
    assert torch.autograd.gradcheck(
        lambda low, *w: sr_loss(low, Convolutions(*w), target, attention, MEAN, STD, final_relu=False), doubles
    )


def test_bfloat16_is_finite_and_near(leaves, image, gradients) -> None:
    attention = torch.rand(BATCH, 4, 4)

    def loss(low, *w):
        return sr_loss(low, Convolutions(*w), image, attention, MEAN, STD)

    half, full = gradients(loss, leaves, torch.bfloat16), gradients(loss, leaves, torch.float32)
    assert half[0].dtype == torch.float32
    for rough, fine in zip(half, full, strict=True):
        assert (rough.float() - fine).norm() < 0.05 * fine.norm()


def test_final_relu_cuts_targets_below_the_mean(leaves, image) -> None:
    assert super_resolve(leaves[0], Convolutions(*leaves[1:]), final_relu=True).min() == 0
