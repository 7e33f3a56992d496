import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from ecamp_fast.kernels.low_resolution import low_resolution, low_resolution_ref

MEAN, STD = 0.4721, 0.3037
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


@EXAMPLES
@given(
    batch=st.integers(0, 3),
    height=st.integers(1, 12),
    width=st.integers(2, 12),  # torch 2.14 on a CPU gets tall antialiased images of width 2 wrong
    antialias=st.booleans(),
    floats=st.booleans(),
    seed=st.integers(0, 99),
)
def test_kernel_equals_the_definition(
    batch: int, height: int, width: int, antialias: bool, floats: bool, seed: int, device: str
) -> None:
    torch.manual_seed(seed)
    image = torch.randint(0, 256, (batch, 1, 2 * height, 2 * width), dtype=torch.uint8)
    true = (image.double() / 255 - MEAN) / STD
    if floats:
        image = true.float()
        true = image.double()
    truth = true.new_empty(0, 1, height, width) if not batch else low_resolution_ref(true, MEAN, STD, antialias)
    ours = low_resolution(image.to(device), MEAN, STD, antialias, backend="triton")
    assert ours.dtype == torch.float32
    assert_equal(ours, truth)


@pytest.mark.parametrize("antialias", [True, False])
def test_kernel_on_strided_images_repeats_and_writes_all(antialias: bool, device: str, poisoned_empty) -> None:
    image = picture(2, 24).to(device).transpose(2, 3)[..., 4:18]
    first, second = (low_resolution(image, MEAN, STD, antialias, backend="triton") for _ in range(2))
    assert torch.equal(first, second)
    assert_equal(first, low_resolution_ref((image.double() / 255 - MEAN) / STD, MEAN, STD, antialias))


@pytest.mark.slow
def test_kernel_under_compile_and_as_an_operator(device: str) -> None:
    image = picture(2, 12).to(device)
    compiled = torch.compile(low_resolution, fullgraph=True, backend="aot_eager")
    assert torch.equal(
        compiled(image, MEAN, STD, True, backend="triton"), low_resolution(image, MEAN, STD, True, backend="triton")
    )
    torch.library.opcheck(torch.ops.ecamp_fast.low_resolution.default, (image, MEAN, STD, True))


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_no_gradient_flows_to_the_image(backend: str, device: str) -> None:
    image = torch.randn(1, 1, 4, 4, device=device, requires_grad=True)
    assert not low_resolution(image, MEAN, STD, True, backend=backend).requires_grad


@pytest.mark.gpu
@pytest.mark.parametrize("antialias", [True, False])
def test_bfloat16_no_worse_than_the_definition(antialias: bool, assert_no_worse) -> None:
    image = torch.randn(2, 1, 64, 48, device="cuda").bfloat16()
    truth = low_resolution_ref(image.double(), MEAN, STD, antialias)
    ours = low_resolution(image, MEAN, STD, antialias)
    assert ours.dtype == torch.bfloat16
    assert_no_worse("low", ours, low_resolution_ref(image, MEAN, STD, antialias), truth)


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_refuses_odd_sides_colour_other_dtypes_and_unknown_backends(backend: str) -> None:
    with pytest.raises(ValueError, match="cannot be halved"):
        low_resolution(picture(size=47), MEAN, STD, antialias=True, backend=backend)
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\) cannot be halved, must be \(B, 1, even, even\)"):
        low_resolution(torch.zeros(1, 3, 8, 8), MEAN, STD, antialias=True, backend=backend)
    with pytest.raises(ValueError, match=r"image is torch.int64, must be uint8 or floating"):
        low_resolution(picture().long(), MEAN, STD, antialias=True, backend=backend)
    with pytest.raises(ValueError, match="'cuda', must be"):
        low_resolution(picture(), MEAN, STD, antialias=True, backend="cuda")
