"""What a predicted word is worth: Eq. 3 of the paper, and the released code's weights."""

from typing import Any

from mutant import mutants


def weights() -> Any:
    """Denied and other descriptors of one and of several pieces, alone and together, beside phrases up to the end."""
    import numpy as np
    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.text.codes import Mark, pack
    from ecamp_fast.text.packing.rebalance import token_weights
    from ecamp_fast.text.packing.rows import place_rows

    more, entity, other = Mark.CONTINUATION, Mark.ENTITY | Mark.PIECE_ENTITY, Mark.DESCRIPTOR
    lexicon = other | Mark.NEGATIVE_LEXICON
    phrase = lexicon | Mark.NEGATIVE_PHRASE | Mark.PHRASE
    start = Mark.PHRASE | Mark.PHRASE_START
    both = [0, start, phrase, phrase, phrase | more, entity, Mark.PERIOD, other, other | more, entity]
    late = [0, lexicon, entity, *[0] * 8, start, Mark.PHRASE, Mark.PHRASE, 0, 0]  # the last that the scan finds
    later = [0, other, entity, *[0] * 9, start, Mark.PHRASE, Mark.PHRASE, 0]  # one it does not
    bare = [0, start, Mark.PHRASE, Mark.PHRASE, *[0] * 12]
    much = [0, *[lexicon] * 13, other, entity]
    marks = [both + [0] * 6, late, later, bare, much]
    codes = pack(np.arange(10, 10 + 80, dtype=np.int32), np.array(marks, np.int32).reshape(-1))
    rows = place_rows(
        torch.from_numpy(codes),
        torch.arange(0, 81, 16, dtype=torch.int32),
        torch.tensor([10, 16, 16, 10, 16], dtype=torch.int32),
    )
    changes = (["rebalance_cap=3"], ["rebalance_cap=null"], ["lambda_neg=0.3"], ["negation=phrases"], ["rebalance=off"])
    recipes = [("official", []), *(("paper", change) for change in changes)]
    return [token_weights(rows, load_recipe(n, ["text.max_tokens=16", *c])).tolist() for n, c in recipes]


MUTANTS = mutants(
    "ecamp_fast/text/packing/rebalance.py",
    "tests/text/packing/test_rebalance.py",
    weights,
    {
        "a denied descriptor weighs what is saved": ("torch.where(negative, low,", "torch.where(negative, 1 - low,"),
        "pieces are counted, not words": (
            "rows.per_sample(descriptor & head), rows.per_sample(negative & head)",
            "rows.per_sample(descriptor), rows.per_sample(negative)",
        ),
        "denied pieces are counted, not words": ("rows.per_sample(negative & head)", "rows.per_sample(negative)"),
        "the first piece alone has its word's weight": (
            "torch.where(descriptor, high",
            "torch.where(descriptor & head, high",
        ),
        "the cap is a floor": ("high.clamp_max(cap)", "high.clamp_min(cap)"),
        "there is no cap": ("high if cap is None else high.clamp_max(cap)", "high"),
        "denied descriptors give all they have": ("(n_all - low * n_negative)", "n_all"),
        "what is saved is divided among all descriptors": (
            "(n_all - n_negative).clamp_min(1)",
            "n_all.clamp_min(1)",
        ),
        "all other words get what is saved": (
            "torch.where(descriptor, high[rows.sample], 1.0)",
            "high[rows.sample]",
        ),
        "lexicon and phrases are swapped": ('recipe.negation == "lexicon"', 'recipe.negation != "lexicon"'),
        "released: the weight itself is saved": ("1 - recipe.lambda_neg", "recipe.lambda_neg"),
        "released: what is in both counts twice": ("(saved * (d - q) + m)", "(saved * d + m)"),
        "released: a phrase too few": ("<= max_tokens - PHRASE_ROOM", "< max_tokens - PHRASE_ROOM"),
        "released: a phrase needs room for three words": ("PHRASE_ROOM = 5", "PHRASE_ROOM = 3"),
        "released: all weights are scaled up beside descriptors too": (
            "torch.where((m == 0) & (d > 0)",
            "torch.where((d > 0)",
        ),
        "released: padding is not counted": ("torch.ones_like(diminished)", "rows.real"),
    },
)
