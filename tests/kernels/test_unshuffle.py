import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ecamp_fast.kernels.unshuffle import unshuffle, unshuffle_ref

EXAMPLES = settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def assert_equal(ours: Tensor, truth: Tensor, tolerance: float = 1e-5) -> None:
    """The norm of the error, and its largest value, relative to the float64 truth's."""
    assert ours.shape == truth.shape
    error, truth = ours.detach().cpu().double() - truth.cpu(), truth.cpu()
    assert error.isfinite().all()
    assert error.norm() <= tolerance * truth.norm() + 1e-12
    if truth.numel():
        assert error.abs().max() <= tolerance * truth.abs().max() + 1e-12


def draw(batch: int, patches: int, kept: int, width: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """([visible, mask_token, positions], keep, cotangent)."""
    keep = [torch.randperm(patches)[:kept] for _ in range(batch)]
    leaves = [torch.randn(batch, 1 + kept, width), torch.randn(1, 1, width), torch.randn(1, 1 + patches, width)]
    places = torch.stack(keep) if keep else torch.zeros(0, kept, dtype=torch.int64)
    return leaves, places, torch.randn(batch, 1 + patches, width)


def run(function, leaves: list[Tensor], keep: Tensor, cotangent: Tensor, dtype: torch.dtype, device: str, **options):
    """[full, d_visible, d_mask_token, d_positions]."""
    mine = [leaf.to(device, dtype).requires_grad_() for leaf in leaves]
    full = function(*mine, keep.to(device), **options)
    return [full, *torch.autograd.grad(full, mine, cotangent.to(device, dtype))]


def as_mae_does(visible: Tensor, mask_token: Tensor, positions: Tensor, order: Tensor) -> Tensor:
    """Append mask tokens, gather by the inverse permutation, put the class token back, add the table."""
    batch, kept = visible.shape[0], visible.shape[1] - 1
    patches = torch.cat([visible[:, 1:], mask_token.expand(batch, order.shape[1] - kept, -1)], 1)
    restored = patches.gather(1, order.argsort(1)[..., None].expand(-1, -1, visible.shape[2]))
    return torch.cat([visible[:, :1], restored], 1) + positions


@pytest.fixture
def case() -> tuple[list[Tensor], Tensor]:
    batch, patches, kept, width = 3, 9, 2, 5
    order = torch.stack([torch.randperm(patches) for _ in range(batch)])
    leaves = [torch.randn(batch, 1 + kept, width), torch.randn(1, 1, width), torch.randn(1, 1 + patches, width)]
    return leaves, order


def test_output_and_gradients_equal_maes(case, gradients) -> None:
    leaves, order = case
    keep = order[:, : leaves[0].shape[1] - 1]
    ours = gradients(lambda *x: unshuffle(*x, keep), leaves, torch.float64)
    theirs = gradients(lambda *x: as_mae_does(*x, order), leaves, torch.float64)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_bfloat16_no_worse_than_the_definition(case, gradients, assert_no_worse) -> None:
    leaves, order = case
    keep = order[:, :2]
    leaves = [leaf.bfloat16().float() for leaf in leaves]
    ours, plain, truth = (
        gradients(lambda *x, f=f: f(*x, keep), leaves, dtype)
        for f, dtype in ((unshuffle, torch.bfloat16), (unshuffle_ref, torch.bfloat16), (unshuffle_ref, torch.float64))
    )
    for name, *values in zip(("full", "visible", "mask_token", "positions"), ours, plain, truth, strict=True):
        assert_no_worse(name, *values)


def test_table_may_be_wider_than_the_tokens(case) -> None:
    leaves, order = case
    out = unshuffle(leaves[0].bfloat16(), leaves[1].bfloat16(), leaves[2], order[:, :2])
    assert out.dtype == torch.bfloat16


def test_refuses_a_class_token_that_is_missing(case) -> None:
    leaves, order = case
    with pytest.raises(ValueError, match="3 visible tokens for 3 patches"):
        unshuffle(*leaves, order[:, :3])


@pytest.mark.slow
@EXAMPLES
@given(
    batch=st.integers(0, 3),
    patches=st.integers(1, 12) | st.just(130),
    share=st.sampled_from([0.0, 0.25, 0.8, 1.0]),
    width=st.sampled_from([1, 5, 32, 70]),
    seed=st.integers(0, 99),
)
def test_kernel_equals_the_definition(
    batch: int, patches: int, share: float, width: int, seed: int, device: str
) -> None:
    torch.manual_seed(seed)
    leaves, keep, cotangent = draw(batch, patches, round(share * patches), width)
    truth = run(unshuffle_ref, leaves, keep, cotangent, torch.float64, "cpu")
    ours = run(unshuffle, leaves, keep, cotangent, torch.float32, device, backend="triton")
    for mine, true in zip(ours, truth, strict=True):
        assert_equal(mine, true)


def test_kernel_repeats_and_writes_all(device: str, poisoned_empty) -> None:
    leaves, keep, cotangent = draw(3, 11, 4, 40)
    first, second = (run(unshuffle, leaves, keep, cotangent, torch.float32, device, backend="triton") for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.isfinite().all() and torch.equal(one, other)


def test_kernel_takes_strided_inputs(device: str) -> None:
    leaves, keep, cotangent = draw(2, 9, 6, 24)
    truth = run(unshuffle_ref, [t[..., ::2] for t in leaves], keep, cotangent[..., ::2], torch.float64, "cpu")
    mine = [leaf.to(device).requires_grad_() for leaf in leaves]
    full = unshuffle(*(t[..., ::2] for t in mine), keep.t().contiguous().t().to(device), backend="triton")
    ours = [full, *torch.autograd.grad(full, mine, cotangent.to(device)[..., ::2])]
    for one, true in zip(ours, truth, strict=True):
        assert_equal(one if one is full else one[..., ::2], true)


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (1, 2)])
def test_kernel_gives_the_gradients_that_are_asked_for(wanted: tuple[int, ...], device: str) -> None:
    leaves, keep, cotangent = draw(2, 7, 3, 6)
    truth = run(unshuffle_ref, leaves, keep, cotangent, torch.float64, "cpu")[1:]
    mine = [leaf.to(device).requires_grad_(i in wanted) for i, leaf in enumerate(leaves)]
    unshuffle(*mine, keep.to(device), backend="triton").backward(cotangent.to(device))
    for i, leaf in enumerate(mine):
        if i in wanted:
            assert_equal(leaf.grad, truth[i])
        else:
            assert leaf.grad is None


def test_kernel_adds_a_wider_table_before_it_rounds(device: str) -> None:
    leaves, keep, _ = draw(2, 7, 3, 6)
    full = unshuffle(leaves[0].to(device), leaves[1].to(device), leaves[2].to(device), keep.to(device), "triton")
    assert full.dtype == torch.float32
    assert_equal(full, unshuffle_ref(*(t.double() for t in leaves), keep))


def test_kernel_gives_nan_for_a_sample_with_a_number_out_of_range(device: str) -> None:
    leaves, keep, cotangent = draw(3, 5, 2, 4)
    keep[1, 0], keep[2, 1] = 5, -1
    full = torch.ops.ecamp_fast.unshuffle(*(t.to(device) for t in leaves), keep.to(device))
    dvisible, dmask = torch.ops.ecamp_fast.unshuffle_backward(cotangent.to(device), keep.to(device))
    for tensor in (full, dvisible, dmask):
        assert tensor[1:].isnan().all() and tensor[0].isfinite().all()


def test_kernel_under_compile_and_as_operators(device: str) -> None:
    leaves, keep, cotangent = draw(2, 7, 3, 6)
    compiled = torch.compile(unshuffle, fullgraph=True, backend="aot_eager")
    ours, eager = (
        run(f, leaves, keep, cotangent, torch.float32, device, backend="triton") for f in (compiled, unshuffle)
    )
    for one, other in zip(ours, eager, strict=True):
        assert torch.equal(one, other)
    mine = [leaf.to(device).requires_grad_() for leaf in leaves]
    torch.library.opcheck(torch.ops.ecamp_fast.unshuffle.default, (*mine, keep.to(device)))
    torch.library.opcheck(torch.ops.ecamp_fast.unshuffle_backward.default, (cotangent.to(device), keep.to(device)))


def test_gradients_of_the_definition() -> None:
    leaves, keep, _ = draw(2, 5, 2, 3)
    mine = [leaf.double().requires_grad_() for leaf in leaves]
    assert torch.autograd.gradcheck(lambda *x: unshuffle_ref(*x, keep), mine)


@pytest.mark.gpu
@pytest.mark.parametrize("width", [512, 100])
def test_kernel_in_bfloat16_no_worse_than_the_definition(width: int, assert_no_worse) -> None:
    leaves, keep, cotangent = draw(4, 196, 49, width)
    leaves, cotangent = [leaf.bfloat16().float() for leaf in leaves], cotangent.bfloat16().float()
    ours = run(unshuffle, leaves, keep, cotangent, torch.bfloat16, "cuda", backend="triton")
    plain = run(unshuffle_ref, leaves, keep, cotangent, torch.bfloat16, "cuda")
    truth = run(unshuffle_ref, leaves, keep, cotangent, torch.float64, "cuda")
    for name, *values in zip(("full", "visible", "mask_token", "positions"), ours, plain, truth, strict=True):
        assert_no_worse(name, *values)


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_refuses_shapes_and_numbers_that_do_not_fit(backend: str) -> None:
    (visible, mask_token, positions), keep, _ = draw(2, 5, 3, 4)
    with pytest.raises(ValueError, match=r"visible \(2, 4, 4\) and keep \(1, 3\), must be"):
        unshuffle(visible, mask_token, positions, keep[:1], backend)
    with pytest.raises(ValueError, match=r"mask_token is \(1, 1, 3\), must be \(1, 1, 4\)"):
        unshuffle(visible, mask_token[..., :3], positions, keep, backend)
    with pytest.raises(ValueError, match=r"positions is \(1, 6, 3\), must be \(1, 1\+N, 4\)"):
        unshuffle(visible, mask_token, positions[..., :3], keep, backend)
    with pytest.raises(ValueError, match="keep has 3 patches of 2 in positions"):
        unshuffle(visible, mask_token, positions[:, :3], keep, backend)
    with pytest.raises(TypeError, match=r"visible is torch.int64, must be floating"):
        unshuffle(visible.long(), mask_token, positions, keep, backend)
    with pytest.raises(TypeError, match=r"keep is torch.int32, must be torch.int64"):
        unshuffle(visible, mask_token, positions, keep.int(), backend)
    with pytest.raises(ValueError, match=r"keep holds \d+, must be in \[0, 5\)"):
        unshuffle(visible, mask_token, positions, keep + 5, backend)
