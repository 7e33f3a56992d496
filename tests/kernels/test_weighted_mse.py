import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ecamp_fast.kernels import weighted_mse as module
from ecamp_fast.kernels.guidance import Guide, Window, weighting
from ecamp_fast.kernels.weighted_mse import weighted_mse, weighted_mse_ref

MEAN, STD, BATCH, SIZE, GRID = 0.4721, 0.3037, 3, 12, 4


@pytest.fixture
def case() -> tuple[Tensor, Tensor]:
    prediction = torch.randn(BATCH, 3, SIZE, SIZE, dtype=torch.float64)
    return prediction, torch.randint(0, 256, (BATCH, 1, SIZE, SIZE), dtype=torch.uint8)


def guides() -> dict[str, Guide]:
    attention = torch.rand(BATCH, GRID, GRID)
    attention[1] = 0
    return {"soft": attention, "window": Window(torch.tensor([[0, 1], [1, 0], [1, 1]]), 3, 3), "none": None}


def soft_by_hand(attention: Tensor, error: Tensor) -> float:
    """One sample, pixel by pixel. attention: (G, G)   error: (3, S, S)."""
    mean = attention.mean().item()
    relative = (attention / mean).clip(0.25, 4.0).tolist() if mean > 1e-6 else [[1.0] * GRID] * GRID
    above = below = 0.0
    for y in range(SIZE):
        for x in range(SIZE):
            rows = _taps((y + 0.5) * GRID / SIZE - 0.5)
            columns = _taps((x + 0.5) * GRID / SIZE - 0.5)
            weight = sum(relative[i][j] * a * b for i, a in rows for j, b in columns)
            above += weight * error[:, y, x].square().sum().item()
            below += 3 * weight
    return above / below


def _taps(at: float) -> list[tuple[int, float]]:
    low = int(at // 1)
    return [(min(max(low + k, 0), GRID - 1), (1 - at + low, at - low)[k]) for k in (0, 1)]


def test_soft_weights_by_hand(case) -> None:
    prediction, image = case
    attention = guides()["soft"].double()
    attention[2, 0, 0] = 50.0  # beyond the clip
    error = prediction - (image.double() / 255 - MEAN) / STD
    by_hand = sum(soft_by_hand(a, e) for a, e in zip(attention, error, strict=True)) / BATCH
    assert weighted_mse(prediction, image, attention, MEAN, STD).item() == pytest.approx(by_hand, rel=1e-6)


def test_soft_loss_does_not_depend_on_the_scale_of_the_map(case) -> None:
    prediction, image = case
    attention = guides()["soft"].double()
    once, thrice = (weighted_mse(prediction, image, attention * k, MEAN, STD) for k in (1, 3))
    torch.testing.assert_close(once, thrice)


def test_window_loss_is_the_released_formula(case) -> None:
    """Both images times the window, mean over all values: the window's share of the error inside it."""
    prediction, image = case
    mask = torch.zeros(BATCH, 1, SIZE, SIZE, dtype=torch.float64)
    for b, (row, column) in enumerate([(0, 1), (1, 0), (1, 1)]):
        mask[b, :, row * 3 : row * 3 + 9, column * 3 : column * 3 + 9] = 1
    target = (image.double() / 255 - MEAN) / STD
    released = (prediction * mask - target * mask).square().mean()
    ours = weighted_mse(prediction, image, guides()["window"], MEAN, STD)
    torch.testing.assert_close(ours, released, rtol=1e-6, atol=0)
    inside = ((prediction - target).square() * mask).sum() / (3 * mask.sum())
    torch.testing.assert_close(ours, 81 / 144 * inside, rtol=1e-6, atol=0)


def test_no_guide_is_the_plain_mean(case) -> None:
    prediction, image = case
    plain = torch.nn.functional.mse_loss(prediction, ((image.double() / 255 - MEAN) / STD).expand(-1, 3, -1, -1))
    for guide in (None, torch.zeros(BATCH, GRID, GRID)):
        torch.testing.assert_close(weighted_mse(prediction, image, guide, MEAN, STD), plain, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["soft", "window", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_worse_than_the_definition(case, name: str, dtype: torch.dtype, gradients, assert_no_worse) -> None:
    image, guide = case[1], guides()[name]
    prediction = case[0].bfloat16()
    target = (image.double() / 255 - MEAN) / STD
    ours, plain = (
        gradients(lambda p, f=f: f(p, image, guide, MEAN, STD), [prediction], dtype)
        for f in (weighted_mse, weighted_mse_ref)
    )
    exact = guide.double() if isinstance(guide, Tensor) else guide
    truth = gradients(lambda p: weighted_mse_ref(p, target, exact, MEAN, STD), [prediction], torch.float64)
    assert ours[0].dtype == torch.float32 and ours[1].dtype == dtype
    for part, *values in zip(("loss", "prediction"), ours, plain, truth, strict=True):
        assert_no_worse(part, *values)


def test_gradients(case) -> None:
    prediction, image = case
    attention = guides()["soft"].double()
    floats = (image.double() / 255 - MEAN) / STD
    leaf = prediction.contiguous(memory_format=torch.channels_last).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: weighted_mse(p, floats, attention, MEAN, STD), leaf)


@pytest.mark.parametrize("name", ["soft", "window", "none"])
def test_chunks_change_nothing(case, name: str, monkeypatch) -> None:
    prediction, image = case[0].float().requires_grad_(), case[1]
    results = []
    for values in (1, 2 * 3 * SIZE**2, 10**6):
        monkeypatch.setattr(module, "CHUNK_VALUES_CPU", values)
        loss = weighted_mse(prediction, image, guides_fixed()[name], MEAN, STD)
        results.append((loss, *torch.autograd.grad(loss, prediction)))
    for other in results[1:]:
        torch.testing.assert_close(results[0][0], other[0])
        torch.testing.assert_close(results[0][1], other[1], rtol=0, atol=0)


def guides_fixed() -> dict[str, Guide]:
    torch.manual_seed(3)
    return guides()


@pytest.mark.parametrize("name", ["soft", "window", "none"])
def test_no_samples_cost_nothing(case, name: str, device: str) -> None:
    prediction, image = case[0].float()[:0].to(device).requires_grad_(), case[1][:0].to(device)
    guide = guides()[name]
    if guide is not None:
        guide = Window(guide.origin[:0].to(device), 3, 3) if isinstance(guide, Window) else guide[:0].to(device)
    for backend in ("torch", "triton"):
        loss = weighted_mse(prediction, image, guide, MEAN, STD, backend=backend)
        assert loss == 0 and torch.autograd.grad(loss, prediction)[0].shape == prediction.shape


def test_refuses_an_image_of_another_size(case) -> None:
    with pytest.raises(ValueError, match="for a prediction"):
        weighted_mse(case[0], case[1][..., :-1], None, MEAN, STD)


def exact(prediction: Tensor, image: Tensor, guide: Guide) -> list[Tensor]:
    """[loss, its gradient for a cotangent of 1/2], float64."""
    target = image.double() if image.is_floating_point() else (image.double() / 255 - MEAN) / STD
    leaf = prediction.detach().double().requires_grad_()
    loss = weighted_mse_ref(leaf, target, guide.double() if isinstance(guide, Tensor) else guide, MEAN, STD)
    return [loss.detach(), *torch.autograd.grad(loss * 0.5, leaf)]


def in_triton(prediction: Tensor, image: Tensor, guide: Guide) -> list[Tensor]:
    leaf = prediction.detach().requires_grad_()
    loss = weighted_mse(leaf, image, guide, MEAN, STD, backend="triton")
    return [loss.detach(), *torch.autograd.grad(loss * 0.5, leaf)]


def assert_equal(ours: list[Tensor], truth: list[Tensor]) -> None:
    for mine, true in zip(ours, truth, strict=True):
        error = mine.double() - true
        assert error.norm() <= 1e-5 * true.norm()
        if true.numel():
            assert error.abs().max() <= 1e-5 * true.abs().max()


KINDS = st.sampled_from(["soft", "even", "window", "none"])
FORMATS = ("contiguous", "channels last", "sliced", "expanded")


def on(guide: Guide, device: torch.device | str) -> Guide:
    if isinstance(guide, Window):
        return Window(guide.origin.to(device), guide.extent, guide.cell)
    return None if guide is None else guide.to(device)


@settings(max_examples=16, deadline=None, derandomize=True)
@given(
    KINDS, st.integers(0, 3), st.integers(1, 4), st.integers(1, 21), st.integers(1, 7), st.sampled_from(FORMATS),
    st.booleans(),
)  # fmt: skip
def test_kernel(draw_guide, kind: str, batch: int, channels: int, size: int, cells: int, form: str, floats) -> None:
    torch.manual_seed(size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prediction = torch.randn(batch, channels, size, size, device=device)
    if form == "channels last":
        prediction = prediction.contiguous(memory_format=torch.channels_last)
    elif form == "sliced":
        prediction = torch.randn(batch, channels, size, 2 * size + 1, device=device)[..., 1::2]
    elif form == "expanded":
        prediction = torch.randn(batch, 1, size, size, device=device).expand(-1, channels, -1, -1)
    image = torch.randint(0, 256, (batch, 1, size, size), dtype=torch.uint8, device=device)
    if floats:
        image = torch.randn(batch, size, 1, size, device=device).transpose(1, 2)
    guide = draw_guide(kind, batch, cells, size, device)
    ours = in_triton(prediction, image, guide)
    if batch == 0:
        assert ours[0] == 0 and ours[1].shape == prediction.shape
        return
    assert_equal(ours, exact(prediction, image, guide))


@pytest.mark.parametrize("name", ["soft", "window", "none"])
def test_kernel_repeats_and_leaves_nothing_unwritten(case, name: str, device: str, poisoned_empty) -> None:
    prediction, image = case[0].float().to(device), case[1].to(device)
    first, again = (in_triton(prediction, image, on(guides_fixed()[name], device)) for _ in range(2))
    assert all(a.isfinite().all() and torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_kernel_makes_no_gradient_that_nobody_wants(case, device: str, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(module, "launch", lambda *a, **k: asked.append(k["GRADIENT"]))
    prediction, image = case[0].float().to(device), case[1].to(device)
    weighted_mse(prediction, image, None, MEAN, STD, backend="triton")
    with torch.no_grad():
        weighted_mse(prediction.requires_grad_(), image, None, MEAN, STD, backend="triton")
    weighted_mse(prediction, image, None, MEAN, STD, backend="triton")
    assert asked == [False, False, True]


@pytest.mark.parametrize("name", ["soft", "window", "none"])
def test_kernel_under_compile(case, name: str, device: str) -> None:
    prediction, image, guide = case[0].float().to(device), case[1].to(device), on(guides_fixed()[name], device)

    def loss(p: Tensor) -> Tensor:
        return weighted_mse(p, image, guide, MEAN, STD, backend="triton")

    leaf = prediction.clone().requires_grad_()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(leaf)
    ours = [compiled.detach(), *torch.autograd.grad(compiled * 0.5, leaf)]
    for a, b in zip(ours, in_triton(prediction, image, guide), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


def test_operator_registration(case, device: str) -> None:
    prediction = case[0].float().to(device).contiguous(memory_format=torch.channels_last).requires_grad_()
    made = weighting(guides_fixed()["soft"], BATCH, 3, SIZE, torch.device("cpu"))
    image, table = case[1].to(device), made.table.to(device)
    torch.library.opcheck(module._op, (prediction, image, table, 1, GRID, 1.0, 0.01, -1.5, True))


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_refusals(case, backend: str) -> None:
    prediction, image = case[0].float(), case[1]
    wrong = {
        "prediction is": (prediction[:, :, 1:], image, None),
        "image is torch.int32, must be uint8 or floating": (prediction, image.int(), None),
        "guide is .2, 4, 4., must be .3, G, G.": (prediction, image, torch.rand(2, 4, 4)),
        "guide is .3, 4, 5.": (prediction, image, torch.rand(3, 4, 5)),
        "guide is torch.int64, must be floating": (prediction, image, torch.ones(3, 4, 4, dtype=torch.int64)),
        "guide.origin is .3, 1., must be .3, 2.": (prediction, image, Window(torch.zeros(3, 1).long(), 3, 3)),
        "guide.origin is torch.float32, must be integer": (prediction, image, Window(torch.zeros(3, 2), 3, 3)),
        "guide is on meta": (prediction, image, torch.rand(3, 4, 4, device="meta")),
    }
    for message, arguments in wrong.items():
        with pytest.raises((ValueError, TypeError), match=f"weighted_mse: {message}"):
            weighted_mse(*arguments, MEAN, STD, backend=backend)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["soft", "window", "none"])
def test_kernel_in_bfloat16_on_a_gpu(case, name: str, gradients, assert_no_worse) -> None:
    image, guide = case[1].cuda(), on(guides_fixed()[name], "cuda")
    prediction = case[0].bfloat16().cuda().contiguous(memory_format=torch.channels_last)
    ours = in_triton(prediction, image, guide)
    leaf = prediction.clone().requires_grad_()
    plain = weighted_mse_ref(leaf, image, guide, MEAN, STD)
    truth = exact(prediction, image, guide)
    for part, *values in zip(
        ("loss", "prediction"), ours, [plain, *torch.autograd.grad(plain * 0.5, leaf)], truth, strict=True
    ):
        assert_no_worse(part, *values)


def test_compiled_pytorch_path_has_its_gradient(case) -> None:
    leaf, image = case[0].float(), case[1]
    compiled = torch.compile(weighted_mse, fullgraph=True, backend="aot_eager")
    found, expected = (
        torch.autograd.grad(
            function(mine := leaf.clone().requires_grad_(), image, None, MEAN, STD, backend="torch"), mine
        )
        for function in (compiled, weighted_mse)
    )
    torch.testing.assert_close(found[0], expected[0])
