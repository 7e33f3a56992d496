"""The Triton kernel of the super-resolution loss: against float64 everywhere, against eager bfloat16 on a GPU."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ecamp_fast.kernels import sr_loss as module
from ecamp_fast.kernels.guidance import Guidance, Window
from ecamp_fast.kernels.sr_loss import Convolutions, sr_loss, sr_loss_ref

MEAN, STD = 0.4721, 0.3037
NAMES = ("loss", "low", "weight_1", "bias_1", "weight_2", "bias_2")
KINDS = ("soft", "empty", "window", "none")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def make_leaves(batch: int, side: int, channels: int = 3) -> list[Tensor]:
    shapes = [(channels, channels, 3, 3), (channels,)] * 2
    return [torch.randn(batch, channels, side, side), *(torch.randn(s) * 0.3 for s in shapes)]


def make_guidance(kind: str, batch: int, side: int) -> Guidance:
    if kind == "soft":
        return torch.rand(batch, 5, 5) ** 4
    if kind == "empty":
        return torch.zeros(batch, 3, 3)
    if kind == "window":
        cells = max(1, side // 2)
        return Window(torch.randint(0, cells + 1, (batch, 2)), max(1, cells // 2), 2)
    return None


def run(
    function, leaves, image, guidance, dtype, final_relu=False, device=DEVICE, cotangent=0.5, **options
) -> list[Tensor]:
    """[loss, gradients], on ``device``."""
    mine = [leaf.to(device, dtype).requires_grad_() for leaf in leaves]
    if isinstance(guidance, Window):
        guidance = Window(guidance.origin.to(device), guidance.extent, guidance.cell)
    elif guidance is not None:
        guidance = guidance.to(device)
    loss = function(mine[0], Convolutions(*mine[1:]), image.to(device), guidance, MEAN, STD, final_relu, **options)
    return [loss, *torch.autograd.grad(loss * cotangent, mine)]


def exact(leaves, image, guidance, final_relu=False, **options) -> list[Tensor]:
    grid = guidance.double() if isinstance(guidance, Tensor) else guidance
    target = (image.double() / 255 - MEAN) / STD
    return run(sr_loss_ref, leaves, target, grid, torch.float64, final_relu, device="cpu", **options)


def assert_equal(ours: list[Tensor], truth: list[Tensor], tolerance: float = 1e-5) -> None:
    for name, mine, true in zip(NAMES, ours, truth, strict=True):
        assert mine.shape == true.shape, name
        error = (mine.double().cpu() - true).norm()
        assert error <= tolerance * true.norm() + 1e-12, f"{name}: {error / true.norm():.1e}"


@pytest.mark.slow
@settings(max_examples=7, deadline=None, derandomize=True)
@given(
    st.integers(1, 3), st.integers(1, 11), st.integers(1, 3), st.sampled_from(KINDS), st.booleans(), st.integers(0, 99)
)
def test_equals_the_definition(batch: int, side: int, channels: int, kind: str, final_relu: bool, seed: int) -> None:
    torch.manual_seed(seed)
    leaves, guidance = make_leaves(batch, side, channels), make_guidance(kind, batch, side)
    image = torch.randint(0, 256, (batch, 1, 2 * side, 2 * side), dtype=torch.uint8)
    ours = run(sr_loss, leaves, image, guidance, torch.float32, final_relu, backend="triton")
    assert_equal(ours, exact(leaves, image, guidance, final_relu))


@pytest.fixture
def image() -> Tensor:
    return torch.randint(0, 256, (2, 1, 14, 14), dtype=torch.uint8)


@pytest.fixture
def leaves() -> list[Tensor]:
    return make_leaves(2, 7)


def test_writes_all_it_returns_and_repeats_bit_for_bit(leaves, image, poisoned_empty) -> None:
    guidance = torch.rand(2, 4, 4)
    first, second = (run(sr_loss, leaves, image, guidance, torch.float32, backend="triton") for _ in range(2))
    assert all(t.isfinite().all() for t in first)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("layout", ["channels_last", "cropped", "transposed"])
def test_any_strides(leaves, image, layout: str) -> None:
    low = leaves[0]
    views = {
        "channels_last": low.contiguous(memory_format=torch.channels_last),
        "cropped": torch.nn.functional.pad(low, (1, 2, 3, 1))[..., 3:-1, 1:-2],
        "transposed": low.transpose(2, 3).contiguous().transpose(2, 3),
    }
    assert torch.equal(views[layout], low)
    plain = run(sr_loss, leaves, image, None, torch.float32, backend="triton")
    viewed = run(sr_loss, [views[layout], *leaves[1:]], image, None, torch.float32, backend="triton")
    assert_equal(viewed, [t.double() for t in plain], 1e-6)


def test_floating_image_is_taken_as_normalised(leaves, image) -> None:
    floats = (image.float() / 255 - MEAN) / STD
    ours = run(sr_loss, leaves, floats, None, torch.float32, backend="triton")
    assert_equal(ours, exact(leaves, image, None))


def test_no_samples() -> None:
    ours = run(
        sr_loss, make_leaves(0, 4), torch.zeros(0, 1, 8, 8, dtype=torch.uint8), None, torch.float32, backend="triton"
    )
    assert all(not t.count_nonzero() for t in ours)


@pytest.mark.parametrize("kind", ["window", "none"])
def test_tiles_know_their_neighbours(kind: str, monkeypatch) -> None:
    """Four tiles of 4 x 4 pixels, and a window that begins with the last: its errors teach the others as well."""
    monkeypatch.setattr(module, "tuned", lambda *_: {"TILE": 2, "BLOCKS": 64, "PROGRAMS": 1})
    leaves, image = make_leaves(1, 3), torch.randint(0, 256, (1, 1, 6, 6), dtype=torch.uint8)
    guidance = Window(torch.tensor([[2, 2]]), 1, 2) if kind == "window" else None
    truth = exact(leaves, image, guidance)
    assert truth[1][..., :2, :].any() and truth[1][..., :2].any()
    assert_equal(run(sr_loss, leaves, image, guidance, torch.float32, backend="triton"), truth)


def test_a_window_outside_counts_nothing(leaves, image) -> None:
    far = Window(torch.full((2, 2), 50), 2, 2)
    ours = run(sr_loss, leaves, image, far, torch.float32, backend="triton")
    assert all(not t.count_nonzero() for t in ours)


def test_only_the_gradients_asked_for(leaves, image) -> None:
    mine = [leaf.clone().to(DEVICE) for leaf in leaves]
    mine[2].requires_grad_()
    loss = sr_loss(mine[0], Convolutions(*mine[1:]), image.to(DEVICE), None, MEAN, STD, backend="triton")
    loss.backward()
    truth = exact(leaves, image, None)
    torch.testing.assert_close(mine[2].grad.cpu(), 2 * truth[3].float())
    assert mine[0].grad is None


def test_without_gradients_the_loss_is_the_same(leaves, image) -> None:
    low, *weights = (leaf.to(DEVICE) for leaf in leaves)
    with torch.no_grad():
        plain = sr_loss(low, Convolutions(*weights), image.to(DEVICE), None, MEAN, STD, backend="triton")
    assert not plain.requires_grad
    torch.testing.assert_close(plain, run(sr_loss, leaves, image, None, torch.float32, backend="triton")[0].detach())


def test_makes_no_gradient_that_nobody_wants(leaves, image, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(module, "launch", lambda *a, **k: asked.append(k["GRADIENT"]))
    low, *weights = (leaf.to(DEVICE) for leaf in leaves)

    def loss() -> None:
        sr_loss(low, Convolutions(*weights), image.to(DEVICE), None, MEAN, STD, backend="triton")

    loss()
    low.requires_grad_()
    with torch.no_grad():
        loss()
    loss()
    assert asked == [False, False, True]


@pytest.mark.slow
def test_compiles_into_one_graph(leaves, image) -> None:
    guidance = torch.rand(2, 4, 4)
    compiled = torch.compile(sr_loss, fullgraph=True, backend="aot_eager")
    assert_equal(
        run(compiled, leaves, image, guidance, torch.float32), exact(leaves, image, guidance)
    )  # auto: PyTorch here
    ours = run(compiled, leaves, image, guidance, torch.float32, backend="triton")
    eager = run(sr_loss, leaves, image, guidance, torch.float32, backend="triton")
    assert all(torch.equal(a, b) for a, b in zip(ours, eager, strict=True))


@pytest.mark.slow
def test_registration(leaves, image) -> None:
    mine = [leaf.to(DEVICE).requires_grad_() for leaf in leaves]
    arguments = (*mine, image.to(DEVICE), torch.rand(2, 4, 4, device=DEVICE), 1, 4, 1.0, 0.01, -1.5, False, True)
    torch.library.opcheck(torch.ops.ecamp_fast.sr_loss.default, arguments)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_no_worse_than_eager(kind: str, assert_no_worse) -> None:
    leaves = [leaf.bfloat16().float() for leaf in make_leaves(3, 61)]
    image = torch.randint(0, 256, (3, 1, 122, 122), dtype=torch.uint8)
    guidance = make_guidance(kind, 3, 61)
    ours = run(sr_loss, leaves, image, guidance, torch.bfloat16, cotangent=1 / 21120, backend="triton")
    plain = run(sr_loss_ref, leaves, image, guidance, torch.bfloat16, cotangent=1 / 21120)
    truth = exact(leaves, image, guidance, cotangent=1 / 21120)
    for name, *values in zip(NAMES, ours, plain, truth, strict=True):
        assert_no_worse(name, *(v.cpu() for v in values), floor=1e-4)


def test_names_what_does_not_fit(leaves, image) -> None:
    low, *weights = leaves
    fine = Convolutions(*weights)
    for message, call in {
        "low is": (low[0], fine, image, None),
        "image is": (low, fine, image[..., :12], None),
        "weight_2 is": (low, fine._replace(weight_2=torch.zeros(3, 3, 5, 5)), image, None),
        "bias_1 is": (low, fine._replace(bias_1=torch.zeros(2)), image, None),
        "guidance is .3, 4, 4.": (low, fine, image, torch.zeros(3, 4, 4)),
        "guidance is on meta": (low, fine, image, torch.zeros(2, 4, 4, device="meta")),
        "image is torch.int64": (low, fine, image.long(), None),
        "low is torch.int64": (low.long(), fine, image, None),
        "bias_2 is torch.int64": (low, fine._replace(bias_2=torch.zeros(3).long()), image, None),
        "low is .2, 3, 0, 0.": (low[..., :0, :0], fine, image[..., :0, :0], None),
    }.items():
        with pytest.raises((ValueError, TypeError), match=f"sr_loss: .*{message}"):
            sr_loss(*call, MEAN, STD)


def test_four_channels_are_too_many_for_triton() -> None:
    low, *weights = make_leaves(1, 2, channels=4)
    image = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    assert sr_loss(low, Convolutions(*weights), image, None, MEAN, STD).isfinite()
    with pytest.raises(ValueError, match="up to 3"):
        sr_loss(low, Convolutions(*weights), image, None, MEAN, STD, backend="triton")
