"""The three losses and their sum."""

from typing import Any

from mutant import mutants


def losses() -> Any:
    """Each term under each setting, on small tensors."""
    import torch

    from ecamp_fast import objectives
    from ecamp_fast.config import load_recipe
    from ecamp_fast.kernels.sr_torch import Convolutions

    def recipe(*overrides: str) -> Any:
        return load_recipe("paper", ["image.high_size=64", "image.low_size=32", "model.vision.patch=8", *overrides])

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    draw = torch.Generator().manual_seed(0)
    prediction, low, masked = some(2, 16, 192), some(2, 1, 32, 32), torch.tensor([[3, 7], [0, 15]])
    picture, image = some(2, 3, 32, 32), torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8, generator=draw)
    head = Convolutions(some(3, 3, 3, 3), some(3), some(3, 3, 3, 3), some(3))
    attention, window = torch.rand(2, 7, 7, generator=draw), torch.tensor([[0, 1], [1, 0]])
    rows = some(5, 4), some(9, 4), some(9), torch.tensor([1, 0, 8, 3, 3]), torch.rand(5, generator=draw)
    one, two = torch.tensor(1.5), torch.tensor(2.0)
    numbers = [
        objectives.mim_loss(recipe("losses.sr=false", setting), prediction, low, masked)
        for setting in ("losses.mim_scale=0.5", "losses.norm_pix=true")
    ]
    numbers += [
        objectives.super_resolution_loss(recipe(setting), picture, head, image, attention, window)
        for setting in ("sr.guidance=soft", "sr.guidance=window_aligned", "sr.guidance=none", "sr.final_relu=true")
    ]
    numbers += [
        objectives.mlm_loss(recipe(f"losses.mlm_normaliser={name}"), *rows, batch=2)
        for name in ("budget", "weighted_mean", "sum")
    ]
    for sums in (objectives.total(one, None, two), objectives.total(None, one, None)):
        numbers += [sums.total, sums.mim, sums.sr, sums.mlm]
    return [round(float(number), 5) for number in numbers]


TESTS = "tests/test_objectives.py"

MUTANTS = mutants(
    "ecamp_fast/objectives.py",
    f"{TESTS}::test_total_is_the_plain_sum_and_terms_that_are_off_are_zero",
    losses,
    {
        "the total is the mean of the terms": ("torch.stack(given).sum()", "torch.stack(given).mean()"),
        "a term that is off counts as much as the first": (
            "torch.zeros_like(given[0], requires_grad=False)",
            "given[0].detach()",
        ),
        "super-resolution is told as the loss on words": (
            "is None else term for term in (mim, sr, mlm)]",
            "is None else term for term in (mim, mlm, sr)]",
        ),
    },
)
MUTANTS += mutants(
    "ecamp_fast/objectives.py",
    f"{TESTS}::test_mim_scale {TESTS}::test_pixels_are_standardised_within_their_patch_where_the_recipe_says_so",
    losses,
    {
        "the scale of the reconstruction is left out": ("losses.mim_scale * masked_mse(", "masked_mse("),
        "pixels are never standardised": ("norm_pix=losses.norm_pix", "norm_pix=False"),
    },
)
MUTANTS += mutants(
    "ecamp_fast/objectives.py",
    f"{TESTS}::test_guidance_of_each_mode",
    losses,
    {
        "the window spans the whole grid": ("window_size(recipe.grid)", "recipe.grid"),
        "the window is measured in pixels of the small image": (
            "2 * recipe.model.vision.patch",
            "recipe.model.vision.patch",
        ),
        "soft guidance is none": ('if recipe.sr.guidance == "none":', 'if "window" not in recipe.sr.guidance:'),
    },
)
MUTANTS += mutants(
    "ecamp_fast/objectives.py",
    f"{TESTS}::test_the_loss_of_super_resolution_is_what_the_recipe_says",
    losses,
    {
        "mean and deviation of the pixels are swapped": ("pixels.mean, pixels.std,", "pixels.std, pixels.mean,"),
        "the final ReLU is left out": ("recipe.sr.final_relu)", "False)"),
    },
)
MUTANTS += mutants(
    "ecamp_fast/objectives.py",
    f"{TESTS}::test_mlm_normalisers",
    losses,
    {
        "every word weighs one": (
            "labels, weights) / mlm_divisor",
            "labels, torch.ones_like(weights)) / mlm_divisor",
        ),
        "the budget is that of one sample": (
            "return batch * recipe.text.max_tokens if",
            "return recipe.text.max_tokens if",
        ),
        "the weighted mean divides by the number of words": (
            "weights.sum().clamp_min(",
            "weights.ne(0).sum().clamp_min(",
        ),
        "the sum over words is not divided by the samples": ('"budget" else batch', '"budget" else 1'),
    },
)
