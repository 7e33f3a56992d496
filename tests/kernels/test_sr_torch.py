import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ecamp_fast.kernels.sr_torch import Convolutions, refine, refine_backward, super_resolve, upsample2x


@pytest.fixture
def leaves() -> list[Tensor]:
    weights = [torch.randn(3, 3, 3, 3) * 0.2, torch.randn(3) * 0.1, torch.randn(3, 3, 3, 3) * 0.2, torch.randn(3) * 0.1]
    return [torch.randn(2, 3, 5, 5), *weights]


@pytest.mark.parametrize("shape", [(2, 3, 7, 5), (1, 1, 1, 4), (1, 2, 14, 14)])
def test_upsample2x_is_bilinear_interpolation(shape: tuple[int, ...]) -> None:
    low = torch.randn(shape, dtype=torch.float64)
    expected = interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(upsample2x(low), expected, rtol=1e-12, atol=1e-12)


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


def test_final_relu_cuts_targets_below_the_mean(leaves: list[Tensor]) -> None:
    assert super_resolve(leaves[0], Convolutions(*leaves[1:]), final_relu=True).min() == 0


@pytest.mark.parametrize("final_relu", [False, True])
@pytest.mark.parametrize("side", [1, 2, 5])
def test_refine_backward_is_what_autograd_finds(leaves: list[Tensor], side: int, final_relu: bool) -> None:
    low, *weights = (leaf.double() for leaf in leaves)
    mine = [low[..., :side, :side].clone().requires_grad_(), *(w.requires_grad_() for w in weights)]
    convolutions = Convolutions(*mine[1:])
    high = super_resolve(mine[0], convolutions, final_relu)
    grad_high = torch.randn_like(high)
    expected = torch.autograd.grad(high, mine, grad_high)
    with torch.no_grad():
        stages = refine(upsample2x(mine[0]), convolutions, final_relu)
        d_low, others = refine_backward(grad_high, stages, convolutions, final_relu)
    for one, other in zip((d_low, *others), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
