"""What a predicted word is worth: negative descriptors little, the other descriptors what was saved (paper Eq. 3)."""

import torch
from torch import Tensor

from ecamp_fast.config import Recipe
from ecamp_fast.text.codes import INSIDE, Mark, has
from ecamp_fast.text.packing.descriptors import released_descriptors
from ecamp_fast.text.packing.rows import Rows

PHRASE_ROOM = 5  # the released scan stops where "there is no evidence of" would no longer fit


def token_weights(rows: Rows, recipe: Recipe) -> Tensor:
    """The weight of each text row under ``recipe.rebalance``. Returns (T,) float32."""
    if recipe.rebalance == "eq3":
        return eq3_weights(rows, recipe)
    if recipe.rebalance == "official":
        return released_weights(rows, recipe)
    return torch.ones(len(rows.codes), dtype=torch.float32, device=rows.codes.device)


def eq3_weights(rows: Rows, recipe: Recipe) -> Tensor:
    """lambda_neg N_neg + lambda_oth N_oth = N_a, per sample, counted in words; every piece has its word's weight.

    lambda_oth = (N_a - lambda_neg N_neg) / N_oth, at most ``rebalance_cap``; 1 where nothing is negative. Where every
    descriptor is negative, lambda_neg stands and nothing is made up for. All other words weigh 1. Returns (T,) float32.
    """
    low, cap = recipe.lambda_neg, recipe.rebalance_cap
    descriptor = rows.has(Mark.DESCRIPTOR)
    denied = Mark.NEGATIVE_LEXICON if recipe.negation == "lexicon" else Mark.NEGATIVE_PHRASE
    negative = descriptor & rows.has(denied)
    head = ~has(rows.codes, INSIDE)
    n_all, n_negative = rows.per_sample(descriptor & head), rows.per_sample(negative & head)
    high = (n_all - low * n_negative) / (n_all - n_negative).clamp_min(1)
    high = torch.where(n_negative > 0, high if cap is None else high.clamp_max(cap), 1.0)
    return torch.where(negative, low, torch.where(descriptor, high[rows.sample], 1.0))


def released_weights(rows: Rows, recipe: Recipe) -> Tensor:
    """The released code's weights: they sum to the number of rows, padding included. Returns (T,) float32.

    D: places inside the two negative phrases, d of them; M: the released descriptors, m of them; q are in both. D
    weighs low; M is multiplied by e = ((1 - low)(d - q) + m) / (m - (1 - low) q) where both exist; without M all
    weights are scaled up.
    """
    max_tokens, saved = recipe.text.max_tokens, 1 - recipe.lambda_neg
    start = rows.last(has(rows.codes, Mark.PHRASE_START))
    diminished = rows.has(Mark.PHRASE) & (rows.position[start] <= max_tokens - PHRASE_ROOM)
    described = released_descriptors(rows, max_tokens)
    d, m = rows.per_sample(diminished), rows.per_sample(described)
    q = rows.per_sample(diminished & described)
    count = rows.per_sample(torch.ones_like(diminished))
    boost = torch.where((m > 0) & (d > 0), (saved * (d - q) + m) / (m - saved * q).clamp_min(1e-6), 1.0)
    scale = torch.where((m == 0) & (d > 0), count / (count - saved * d).clamp_min(1e-6), 1.0)
    weights = torch.where(diminished, recipe.lambda_neg, 1.0)
    weights = weights * torch.where(described, boost[rows.sample], 1.0)
    return weights * scale[rows.sample]
