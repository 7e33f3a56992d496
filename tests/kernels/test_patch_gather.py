import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ecamp_fast.kernels.patch_gather import patch_gather, patch_gather_ref

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


def draw(batch: int, rows: int, columns: int, patch: int, kept: int) -> tuple[Tensor, Tensor]:
    """(image, keep)."""
    image = torch.randn(batch, 1, rows * patch, columns * patch)
    keep = [torch.randperm(rows * columns)[:kept] for _ in range(batch)]
    return image, torch.stack(keep) if keep else torch.zeros(0, kept, dtype=torch.int64)


@pytest.mark.parametrize(("size", "patch", "kept"), [((32, 32), 8, 4), ((32, 48), 16, 1), ((15, 10), 5, 6)])
def test_equals_the_definition(size: tuple[int, int], patch: int, kept: int) -> None:
    image = torch.randn(3, 1, *size)
    keep = torch.stack([torch.randperm(size[0] * size[1] // patch**2)[:kept] for _ in range(3)])
    assert torch.equal(patch_gather(image, keep, patch), patch_gather_ref(image, keep, patch))


def test_rows_are_the_pixels_of_the_patch() -> None:
    image = torch.arange(36.0).view(1, 1, 6, 6)
    rows = patch_gather(image, torch.tensor([[3, 0]]), 3)
    assert rows[0, 0].tolist() == image[0, 0, 3:, 3:].flatten().tolist()
    assert rows[0, 1].tolist() == image[0, 0, :3, :3].flatten().tolist()


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


@EXAMPLES
@given(
    batch=st.integers(1, 3),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    patch=st.sampled_from([1, 3, 4, 7, 16]),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 99),
)
def test_kernel_equals_the_definition(
    batch: int, rows: int, columns: int, patch: int, share: float, seed: int, device: str
) -> None:
    torch.manual_seed(seed)
    image, keep = draw(batch, rows, columns, patch, round(share * rows * columns))
    truth = patch_gather_ref(image.double(), keep, patch, torch.float64)
    for backend in ("triton", "torch"):
        ours = patch_gather(image.to(device), keep.to(device), patch, backend=backend)
        assert ours.dtype == torch.float32
        assert_equal(ours, truth)


def test_kernel_finds_patches_of_an_image_wider_than_high(device: str) -> None:
    image = torch.arange(48.0, device=device).view(1, 1, 4, 12)
    rows = patch_gather(image, torch.tensor([[7, 5]], device=device), 2, backend="triton")
    assert rows.tolist() == [[[26, 27, 38, 39], [10, 11, 22, 23]]]


def test_kernel_of_no_samples(device: str) -> None:
    image, keep = (t.to(device) for t in draw(0, 2, 2, 4, 3))
    assert patch_gather(image, keep, 4, backend="triton").shape == (0, 3, 16)


def test_kernel_on_strided_inputs_repeats_and_writes_all(device: str, poisoned_empty) -> None:
    image, keep = (t.to(device) for t in draw(2, 3, 3, 5, 7))
    strided, some = image.transpose(2, 3), keep[:, ::2]
    assert not strided.is_contiguous() and not some.is_contiguous()
    first, second = (patch_gather(strided, some, 5, backend="triton") for _ in range(2))
    assert torch.equal(first, second)
    assert_equal(first, patch_gather_ref(strided.double(), some, 5, torch.float64))


def test_kernel_reads_nothing_for_a_number_out_of_range(device: str) -> None:
    image, _ = (t.to(device) for t in draw(1, 2, 2, 4, 0))
    keep = torch.tensor([[-1, 0, 4, 1 << 40]], device=device)
    rows = torch.ops.ecamp_fast.patch_gather(image, keep, 4, torch.float32)
    assert rows[0, [0, 2, 3]].isnan().all() and rows[0, 1].isfinite().all()


@pytest.mark.slow
def test_kernel_under_compile_and_as_an_operator(device: str) -> None:
    image, keep = (t.to(device) for t in draw(2, 2, 2, 4, 3))

    def gather(image: Tensor, keep: Tensor) -> Tensor:
        return patch_gather(image, keep, 4, backend="triton")

    compiled = torch.compile(gather, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(image, keep), gather(image, keep))
    torch.library.opcheck(torch.ops.ecamp_fast.patch_gather.default, (image, keep, 4, torch.float32))


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_no_gradient_flows_to_the_image(backend: str, device: str) -> None:
    image = torch.randn(1, 1, 4, 4, device=device, requires_grad=True)
    assert not patch_gather(image, torch.tensor([[0]], device=device), 4, backend=backend).requires_grad


@pytest.mark.gpu
def test_bfloat16_is_rounded_once() -> None:
    image, keep = (t.cuda() for t in draw(3, 4, 4, 16, 4))
    assert torch.equal(patch_gather(image, keep, 16, torch.bfloat16), patch_gather_ref(image, keep, 16, torch.bfloat16))


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_refuses_what_is_no_image_or_no_patch_number(backend: str) -> None:
    image, keep = torch.zeros(2, 1, 16, 16), torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"image is torch.uint8, must be floating and normalised"):
        patch_gather(image.byte(), keep, 8, backend=backend)
    with pytest.raises(ValueError, match=r"keep is \(1, 1\), must be \(2, patches per sample\)"):
        patch_gather(image, keep[:1], 8, backend=backend)
    with pytest.raises(TypeError, match=r"keep is torch.int32, must be torch.int64"):
        patch_gather(image, keep.int(), 8, backend=backend)
    with pytest.raises(ValueError, match=r"keep holds 4, must be in \[0, 4\)"):
        patch_gather(image, keep + 4, 8, backend=backend)
    with pytest.raises(ValueError, match=r"keep holds -1, must be in \[0, 4\)"):
        patch_gather(image, keep - 1, 8, backend=backend)


def test_kernel_refuses_a_wider_result() -> None:
    with pytest.raises(ValueError, match=r"result is torch.float64, the Triton kernel takes"):
        patch_gather(torch.zeros(1, 1, 8, 8), torch.tensor([[0]]), 8, dtype=torch.float64, backend="triton")
