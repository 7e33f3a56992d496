import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ecamp_fast.kernels.guidance import Guidance, Window
from ecamp_fast.kernels.sr_loss import _parts, sr_loss, sr_loss_ref
from ecamp_fast.kernels.sr_torch import Convolutions

MEAN, STD, BATCH, SIZE = 0.4721, 0.3037, 2, 10


@pytest.fixture
def leaves() -> list[Tensor]:
    weights = [torch.randn(3, 3, 3, 3) * 0.2, torch.randn(3) * 0.1, torch.randn(3, 3, 3, 3) * 0.2, torch.randn(3) * 0.1]
    return [torch.randn(BATCH, 3, SIZE // 2, SIZE // 2), *weights]


@pytest.fixture
def image() -> Tensor:
    return torch.randint(0, 256, (BATCH, 1, SIZE, SIZE), dtype=torch.uint8)


def run(
    function, leaves: list[Tensor], image: Tensor, guidance: Guidance = None, final_relu: bool = False
) -> list[Tensor]:
    """[loss, its gradients for a cotangent of 1/2]."""
    mine = [leaf.detach().requires_grad_() for leaf in leaves]
    loss = function(mine[0], Convolutions(*mine[1:]), image, guidance, MEAN, STD, final_relu)
    return [loss.detach(), *torch.autograd.grad(loss * 0.5, mine)]


@pytest.mark.parametrize("final_relu", [False, True])
@pytest.mark.parametrize("guided", ["soft", "window", "none"])
def test_float32_no_worse_than_the_definition(
    leaves, image, guided: str, final_relu: bool, gradients, assert_no_worse
) -> None:
    guidance = {"soft": torch.rand(BATCH, 4, 4), "window": Window(torch.tensor([[0, 1], [1, 1]]), 3, 2), "none": None}[
        guided
    ]
    exact = guidance.double() if isinstance(guidance, Tensor) else guidance
    target = (image.double() / 255 - MEAN) / STD

    def loss(function, picture, grid):
        return lambda low, *w: function(low, Convolutions(*w), picture, grid, MEAN, STD, final_relu)

    ours = gradients(loss(sr_loss, image, guidance), leaves, torch.float32)
    plain = gradients(loss(sr_loss_ref, image, guidance), leaves, torch.float32)
    truth = gradients(loss(sr_loss_ref, target, exact), leaves, torch.float64)
    names = ("loss", "low", "weight_1", "bias_1", "weight_2", "bias_2")
    for name, *values in zip(names, ours, plain, truth, strict=True):
        assert_no_worse(name, *values)


@pytest.mark.parametrize("final_relu", [False, True])
def test_gradients(leaves, image, final_relu: bool) -> None:
    target = (image.double() / 255 - MEAN) / STD
    attention = torch.rand(BATCH, 4, 4, dtype=torch.float64)
    doubles = [leaf.double().requires_grad_() for leaf in leaves]
    assert torch.autograd.gradcheck(
        lambda low, *w: sr_loss(low, Convolutions(*w), target, attention, MEAN, STD, final_relu), doubles
    )


def test_bfloat16_is_finite_and_near(leaves, image, gradients) -> None:
    attention = torch.rand(BATCH, 4, 4)

    def loss(low, *w):
        return sr_loss(low, Convolutions(*w), image, attention, MEAN, STD)

    half, full = gradients(loss, leaves, torch.bfloat16), gradients(loss, leaves, torch.float32)
    assert half[0].dtype == torch.float32
    for rough, fine in zip(half, full, strict=True):
        assert (rough.float() - fine).norm() < 0.05 * fine.norm()


@pytest.mark.parametrize(("threads", "cores", "parts"), [(1, 1, 5), (2, 1, 3), (3, 1, 2), (1, 400, 3), (2, 400, 2)])
def test_how_many_samples_go_together_does_not_matter(
    image, draw_guidance, monkeypatch, threads: int, cores: int, parts: int
) -> None:
    """Five samples of 200 values each, in parts: their guidance is cut as they are."""
    low, image = torch.randn(5, 2, 5, 5), torch.randint(0, 256, (5, 1, 10, 10), dtype=torch.uint8)
    weights = [torch.randn(shape) * 0.2 for shape in [(2, 2, 3, 3), (2,)] * 2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("ecamp_fast.kernels.sr_loss.CORE_VALUES", cores)
    assert len(list(_parts(low))) == parts
    for kind in ("soft", "window", "none"):
        guidance = draw_guidance(kind, 5, 4, 10, low.device)
        found, expected = (
            run(function, [low, *weights], image, guidance, final_relu=True) for function in (sr_loss, sr_loss_ref)
        )
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["channels_last", "cropped", "transposed"])
def test_any_strides(leaves, image, layout: str) -> None:
    low = leaves[0]
    views = {
        "channels_last": low.contiguous(memory_format=torch.channels_last),
        "cropped": torch.nn.functional.pad(low, (1, 2, 3, 1))[..., 3:-1, 1:-2],
        "transposed": low.transpose(2, 3).contiguous().transpose(2, 3),
    }
    plain, viewed = (run(sr_loss, [x, *leaves[1:]], image) for x in (low, views[layout]))
    for one, other in zip(plain, viewed, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_gradients_wait_for_the_backward(leaves, image, dtype: torch.dtype) -> None:
    mine = [leaf.to(dtype).requires_grad_() for leaf in leaves]
    held: list[tuple[tuple[int, ...], torch.dtype]] = []
    with saved_tensors_hooks(lambda t: held.append((tuple(t.shape), t.dtype)) or t, lambda t: t):
        sr_loss(mine[0], Convolutions(*mine[1:]), image, None, MEAN, STD)
    assert held == [(tuple(leaf.shape), dtype) for leaf in mine]


def test_only_the_gradients_asked_for(leaves, image) -> None:
    mine = [leaf.clone() for leaf in leaves]
    mine[2].requires_grad_()
    loss = sr_loss(mine[0], Convolutions(*mine[1:]), image, None, MEAN, STD)
    (loss * 0.5).backward()
    torch.testing.assert_close(mine[2].grad, run(sr_loss, leaves, image)[3])
    assert mine[0].grad is None
    with torch.no_grad():
        plain = sr_loss(mine[0], Convolutions(*mine[1:]), image, None, MEAN, STD)
    assert not plain.requires_grad and torch.equal(plain, loss.detach())


def test_a_second_derivative_is_refused(leaves, image) -> None:
    low = leaves[0].requires_grad_()
    loss = sr_loss(low, Convolutions(*leaves[1:]), image, None, MEAN, STD)
    with pytest.raises(RuntimeError, match="create_graph is not possible"):
        torch.autograd.grad(loss, low, create_graph=True)


def test_autocast_does_not_reach_inside(leaves, image) -> None:
    plain = run(sr_loss, leaves, image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = run(sr_loss, leaves, image)
    assert all(torch.equal(one, other) for one, other in zip(plain, inside, strict=True))


def test_convolutions_may_be_wider_than_the_prediction(leaves, image) -> None:
    mine = [leaves[0].bfloat16(), *leaves[1:]]
    for one, leaf, other in zip(run(sr_loss, mine, image)[1:], mine, run(sr_loss, leaves, image)[1:], strict=True):
        assert one.dtype == leaf.dtype and (one.float() - other).norm() < 0.05 * other.norm()


def test_no_samples(leaves) -> None:
    ours = run(sr_loss, [leaves[0][:0], *leaves[1:]], torch.zeros(0, 1, SIZE, SIZE, dtype=torch.uint8))
    assert all(not t.count_nonzero() for t in ours)
