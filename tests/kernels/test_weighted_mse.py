import pytest
import torch
from torch import Tensor

from ecamp_fast.kernels import weighted_mse as module
from ecamp_fast.kernels.weighted_mse import Guide, Window, soft_weights, weighted_mse, weighted_mse_ref

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


def test_relative_attention_is_clipped_and_an_empty_grid_is_even() -> None:
    attention = torch.zeros(2, 28, 28)
    attention[0, 3, 4] = 1.0
    weights = soft_weights(attention)
    assert weights[0].min() == 0.25 and weights[0].max() == 4.0
    assert (weights[1] == 1).all()


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


def test_window_of_the_released_sizes_scores_144_of_196() -> None:
    weights = module.pixel_weights(Window(torch.tensor([[0, 2]]), 12, 32), 1, 3, 448, torch.device("cpu"))
    assert (weights.sum() * 3).item() == pytest.approx(144 / 196)
    assert weights[0, 0, :384, 64:].min() > 0


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


def test_refuses_an_image_of_another_size(case) -> None:
    with pytest.raises(ValueError, match="for a prediction"):
        weighted_mse(case[0], case[1][..., :-1], None, MEAN, STD)
