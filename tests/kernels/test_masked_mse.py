import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ecamp_fast.kernels.masked_mse import masked_mse, masked_mse_ref

PATCH, GRID, BATCH, MASKED = 4, 3, 2, 6
EXAMPLES = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def assert_equal(ours: Tensor, truth: Tensor, tolerance: float = 1e-5) -> None:
    """The norm of the error, and its largest value, relative to the float64 truth's."""
    assert ours.shape == truth.shape
    error, truth = ours.detach().cpu().double() - truth.cpu(), truth.cpu()
    assert error.isfinite().all()
    assert error.norm() <= tolerance * truth.norm() + 1e-12
    if truth.numel():
        assert error.abs().max() <= tolerance * truth.abs().max() + 1e-12


def draw(batch: int, rows: int, columns: int, patch: int, channels: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """(prediction, image, masked)."""
    image = torch.randn(batch, 1, rows * patch, columns * patch)
    masked = [torch.randperm(rows * columns)[:count] for _ in range(batch)]
    prediction = torch.randn(batch, rows * columns, patch**2 * channels)
    return prediction, image, torch.stack(masked) if masked else torch.zeros(0, count, dtype=torch.int64)


def run(function, prediction: Tensor, image: Tensor, masked: Tensor, patch: int, *settings, **options) -> list[Tensor]:
    """[loss, gradient] for a cotangent of 1/2."""
    leaf = prediction.detach().requires_grad_()
    loss = function(leaf, image, masked, patch, *settings, **options)
    return [loss, *torch.autograd.grad(loss * 0.5, leaf)]


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
    torch.testing.assert_close(masked_mse(prediction, image, masked, PATCH, norm_pix=norm_pix), theirs)


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


@pytest.mark.slow
@EXAMPLES
@given(
    batch=st.integers(0, 3),
    grid=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    patch=st.sampled_from([1, 3, 4, 5]),
    channels=st.integers(1, 4),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    norm_pix=st.booleans(),
    seed=st.integers(0, 99),
)
def test_kernel_equals_the_definition(
    batch: int, grid: tuple[int, int], patch: int, channels: int, share: float, norm_pix: bool, seed: int, device: str
) -> None:
    torch.manual_seed(seed)
    prediction, image, masked = draw(batch, *grid, patch, channels, round(share * grid[0] * grid[1]))
    norm_pix = norm_pix and patch > 1  # a patch of one pixel has no variance to divide by
    truth = run(masked_mse_ref, prediction.double(), image.double(), masked, patch, norm_pix)
    at = prediction.to(device), image.to(device), masked.to(device)
    for backend in ("triton", "torch"):
        ours = run(masked_mse, *at, patch, norm_pix, backend=backend)
        for mine, exact in zip(ours, truth, strict=True):
            assert_equal(mine, exact)


@pytest.mark.slow
def test_kernel_searches_long_rows_of_masked(device: str) -> None:
    prediction, image, masked = draw(1, 1, 262, 1, 1, 258)
    truth = run(masked_mse_ref, prediction.double(), image.double(), masked, 1)
    ours = run(masked_mse, *(t.to(device) for t in (prediction, image, masked)), 1, backend="triton")
    for mine, exact in zip(ours, truth, strict=True):
        assert_equal(mine, exact)


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_nothing_masked_costs_nothing(backend: str, device: str) -> None:
    prediction, image, masked = (t.to(device) for t in draw(2, 2, 2, 4, 3, 0))
    loss, gradient = run(masked_mse, prediction, image, masked, 4, backend=backend)
    assert loss == 0 and not gradient.any()


def test_kernel_repeats_and_writes_all(device: str, poisoned_empty) -> None:
    inputs = [t.to(device) for t in draw(2, 1, 2, 3, 3, 1)]
    first, second = (run(masked_mse, *inputs, 3, True, backend="triton") for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.isfinite().all() and torch.equal(one, other)


def test_kernel_takes_strided_inputs(device: str) -> None:
    prediction, image, masked = draw(2, 3, 3, 4, 3, 6)
    prediction, image, masked = prediction.transpose(0, 1).contiguous().transpose(0, 1), image.mT, masked[:, ::2]
    truth = run(masked_mse_ref, prediction.double(), image.double(), masked, 4)
    leaf = prediction.to(device).requires_grad_()
    assert not leaf.is_contiguous()
    loss = masked_mse(leaf, image.to(device), masked.to(device), 4, backend="triton")
    assert_equal(loss, truth[0])
    assert_equal(*(torch.autograd.grad(loss, leaf, torch.tensor(0.5, device=device))), truth[1])


def test_kernel_standardises_pixels_as_the_definition_does(device: str) -> None:
    prediction, image, masked = draw(2, 2, 2, 3, 3, 3)
    truth = run(masked_mse_ref, prediction.double(), image.double(), masked, 3, True)
    ours = run(masked_mse, *(t.to(device) for t in (prediction, image, masked)), 3, True, backend="triton")
    for mine, exact in zip(ours, truth, strict=True):
        assert_equal(mine, exact)


def test_kernel_without_gradient(device: str) -> None:
    prediction, image, masked = (t.to(device) for t in draw(2, 2, 2, 4, 3, 3))
    assert not masked_mse(prediction, image, masked, 4, backend="triton").requires_grad
    image.requires_grad_()
    masked_mse(prediction.requires_grad_(), image, masked, 4, backend="triton").backward()
    assert image.grad is None and prediction.grad is not None


def test_kernel_gives_nan_for_a_number_out_of_range(device: str) -> None:
    prediction, image, masked = (t.to(device) for t in draw(2, 2, 2, 4, 3, 3))
    for invalid in (-1, 4, 1 << 40):
        masked[1, 0] = invalid
        assert torch.ops.ecamp_fast.masked_mse(prediction, image, masked, 4, False).isnan()


@pytest.mark.slow
def test_kernel_under_compile_and_as_operators(device: str) -> None:
    prediction, image, masked = (t.to(device) for t in draw(1, 1, 2, 2, 3, 1))
    compiled = torch.compile(masked_mse, fullgraph=True, backend="aot_eager")
    ours, eager = (run(f, prediction, image, masked, 2, True, backend="triton") for f in (compiled, masked_mse))
    for one, other in zip(ours, eager, strict=True):
        assert torch.equal(one, other)
    leaf = prediction.detach().requires_grad_()
    torch.library.opcheck(torch.ops.ecamp_fast.masked_mse.default, (leaf, image, masked, 2, True))
    arguments = (ours[0].detach(), prediction, image, masked, 2, True)
    torch.library.opcheck(torch.ops.ecamp_fast.masked_mse_backward.default, arguments)


@pytest.mark.gpu
@pytest.mark.parametrize("norm_pix", [True, False])
def test_kernel_in_bfloat16_no_worse_than_the_definition(norm_pix: bool, assert_no_worse) -> None:
    prediction, image, masked = (t.cuda() for t in draw(3, 14, 14, 16, 3, 147))
    prediction = prediction.bfloat16()
    ours = run(masked_mse, prediction, image, masked, 16, norm_pix, backend="triton")
    plain = run(masked_mse_ref, prediction, image, masked, 16, norm_pix)
    truth = run(masked_mse_ref, prediction.double(), image.double(), masked, 16, norm_pix)
    for name, *values in zip(("loss", "prediction"), ours, plain, truth, strict=True):
        assert_no_worse(name, *values)


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_refuses_what_does_not_fit(backend: str) -> None:
    prediction, image, masked = draw(2, 2, 2, 4, 3, 3)
    with pytest.raises(ValueError, match=r"prediction is \(2, 3, 48\), must be \(2, 4, values of a patch\)"):
        masked_mse(prediction[:, 1:], image, masked, 4, backend=backend)
    with pytest.raises(ValueError, match="whole 4 x 4 patches"):
        masked_mse(prediction, image[:, :, 1:], masked, 4, backend=backend)
    with pytest.raises(ValueError, match=r"masked is \(1, 3\), must be \(2, patches per sample\)"):
        masked_mse(prediction, image, masked[:1], 4, backend=backend)
    with pytest.raises(ValueError, match=r"image is torch.uint8, must be floating and normalised"):
        masked_mse(prediction, image.byte(), masked, 4, backend=backend)
    with pytest.raises(TypeError, match=r"masked is torch.int32, must be torch.int64"):
        masked_mse(prediction, image, masked.int(), 4, backend=backend)
    with pytest.raises(TypeError, match=r"prediction is torch.int64, must be floating"):
        masked_mse(prediction.long(), image, masked, 4, backend=backend)
    with pytest.raises(ValueError, match=r"masked holds -\d, must be in \[0, 4\)"):
        masked_mse(prediction, image, masked - 4, 4, backend=backend)
    with pytest.raises(ValueError, match="norm_pix needs patches of two values or more"):
        masked_mse(torch.zeros(2, 64, 1), image, masked, 1, norm_pix=True, backend=backend)
