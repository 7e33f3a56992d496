import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.text.codes import Mark, has, token_ids
from ecamp_fast.text.packing.assemble import assemble
from ecamp_fast.text.packing.descriptors import released_descriptors
from ecamp_fast.text.packing.masking import mask_text, place_rows
from ecamp_fast.text.reading.annotate import Annotator
from ecamp_fast.text.reading.entities import PIECES

NONE = np.zeros(0, np.int32)
OFFICIAL, PAPER = load_recipe("official"), load_recipe("paper")
GOLDEN = "There is no pneumothorax. There is no evidence of consolidation. There is mild edema."


def rows_of(text: str, recipe: Recipe, annotator: Annotator) -> list[torch.Tensor]:
    codes, keys = annotator.codes(text), np.zeros(1, np.int64)
    parts = assemble([codes], [NONE], keys, recipe.text, padded=recipe.padded_text)
    return [torch.from_numpy(part) for part in (*parts, keys)]


def weigh(text: str, recipe: Recipe, annotator: Annotator) -> list[float]:
    """The weights of the words of a text, [CLS] and padding left out."""
    weights = mask_text(*rows_of(text, recipe, annotator), recipe).weights
    return weights[1 : 1 + len(annotator.codes(text))].tolist()


def test_golden_released_weights(golden_annotator: Annotator) -> None:
    weights = mask_text(*rows_of(GOLDEN, OFFICIAL, golden_annotator), OFFICIAL).weights
    expected = "1 .05 .223 .223 1 1 .05 .05 .05 .223 .223 1 1 1 4.455 4.455 1 1"
    # The golden list writes 0.05 x 4.4545 as .223.
    assert weights[:18].tolist() == pytest.approx([float(x) for x in expected.split()], abs=5e-4)
    assert weights[18:].eq(1).all()
    assert weights.sum().item() == pytest.approx(256, abs=1e-3)


def test_golden_eq3_weights(golden_annotator: Annotator) -> None:
    weights = dict(zip(["there", "is", "no", "pneumothorax"], weigh(GOLDEN, PAPER, golden_annotator)[:4], strict=True))
    assert weights == pytest.approx({"there": 1, "is": 0.05, "no": 0.05, "pneumothorax": 1})
    assert weigh(GOLDEN, PAPER, golden_annotator)[12:16] == pytest.approx([1, 2.9, 2.9, 1])  # there is mild edema


@pytest.mark.parametrize(
    ("negatives", "released", "ours"), [(3, (0.236, 4.72), (0.05, 3.85)), (5, (0.335, 6.70), (0.05, 5.75))]
)
def test_flopsed_values(negatives: int, released: tuple, ours: tuple, annotator: Annotator) -> None:
    text = "there is no pneumothorax. " * negatives + "there is mild edema."
    for recipe, (negative, other) in ((OFFICIAL, released), (PAPER, ours)):
        weights = weigh(text, recipe, annotator)
        assert weights[1:3] == pytest.approx([negative] * 2, rel=5e-3)
        assert weights[-4:-2] == pytest.approx([other] * 2, rel=5e-3)


def test_golden_released_descriptors(golden_annotator: Annotator) -> None:
    text = "lungs show bibasilar opacities, massive effusion 1.5 cm."
    codes, cu_seqlens, lengths, _ = rows_of(text, OFFICIAL, golden_annotator)
    found = released_descriptors(place_rows(codes, cu_seqlens, lengths), 256)
    words = "[CLS] lungs show bibasilar opacities , massive effusion 1 . 5 cm .".split()  # noqa: SIM905
    assert [words[i] for i in found.nonzero()[:, 0].tolist()] == [",", "massive"]


def test_released_descriptors_spare_cls_full_stops_and_the_last_place(annotator: Annotator) -> None:
    recipe = load_recipe("official", ["text.max_tokens=16"])

    def described(text: str) -> list[int]:
        codes, cu_seqlens, lengths, _ = rows_of(text, recipe, annotator)
        return released_descriptors(place_rows(codes, cu_seqlens, lengths), 16).nonzero()[:, 0].tolist()

    assert described("edema") == []
    assert described("lungs. mild edema") == [3]
    assert described("lungs " * 14 + "edema") == []
    assert described("lungs " * 13 + "edema") == [12, 13]


def test_the_released_scan_ends_five_words_before_the_end(annotator: Annotator) -> None:
    recipe = load_recipe("official", ["text.max_tokens=16"])
    found = weigh("lungs " * 10 + "there is no", recipe, annotator)  # "there" in place 11 = 16 - 5
    scale = 16 / (16 - 0.95 * 3)
    assert found == pytest.approx([scale] * 10 + [0.05 * scale] * 3)
    assert weigh("lungs " * 11 + "there is no", recipe, annotator) == [1.0] * 14


@pytest.mark.fault("T3.denied")
def test_all_negative_reports(annotator: Annotator) -> None:
    assert weigh("There is no pneumothorax.", PAPER, annotator) == pytest.approx([1, 0.05, 0.05, 1, 1])
    released = weigh("There is no pneumothorax.", OFFICIAL, annotator)  # the released code turns it round
    assert released[:3] == pytest.approx([0.05, 1.475, 1.475], rel=1e-3)
    assert weigh("There is no evidence of pneumothorax.", OFFICIAL, annotator)[3] == pytest.approx(2.425, rel=1e-3)


@pytest.mark.fault("T3.no-entity")
def test_without_negatives_or_descriptors_all_weigh_one(annotator: Annotator) -> None:
    for text in ("There is mild edema.", "lungs are normal", "", "edema"):
        assert weigh(text, PAPER, annotator) == [1.0] * len(annotator.codes(text))


def test_switches(annotator: Annotator) -> None:
    text = "no mild effusion. " * 30 + "there is mild edema."
    capped = weigh(text, PAPER, annotator)
    assert max(capped) == 10
    free = weigh(text, load_recipe("paper", ["rebalance_cap=null"]), annotator)
    assert max(free) == pytest.approx((62 - 0.05 * 60) / 2)
    assert weigh(text, load_recipe("paper", ["rebalance=off"]), annotator) == [1.0] * len(free)
    assert min(weigh(text, load_recipe("paper", ["lambda_neg=0.5"]), annotator)) == 0.5
    # "no" alone is no phrase of the two, so nothing is negative
    assert set(weigh(text, load_recipe("paper", ["negation=phrases"]), annotator)) == {1.0}


def test_pieces_weigh_what_their_word_weighs(annotator: Annotator) -> None:
    assert weigh("no réseau effusion", PAPER, annotator) == pytest.approx([0.05] * 5 + [1])
    # réseau is one word of four pieces: (2 - 0.05) / 1
    assert weigh("no effusion. réseau edema", PAPER, annotator) == pytest.approx([0.05, 1, 1, *[1.95] * 4, 1])


def test_words_are_counted_not_pieces(annotator: Annotator) -> None:
    weights = weigh("no réseau effusion. mild edema", PAPER, annotator)
    assert weights == pytest.approx([0.05] * 5 + [1, 1, 3 - 0.05 * 2, 1])


VOCABULARY = "there is no evidence of mild left effusion edema mass lungs . but réseau"
WORDS = st.sampled_from(VOCABULARY.split())


@settings(max_examples=80, deadline=None)
@given(words=st.lists(WORDS, max_size=80))
def test_eq3_conserves_the_weight_of_descriptors(words: list[str], annotator: Annotator) -> None:
    text = " ".join(words)
    recipe = load_recipe("paper", ["rebalance_cap=null"])
    codes = annotator.codes(text)
    heads = has(codes, Mark.DESCRIPTOR) & ~has(codes, Mark.CONTINUATION)
    negative = heads & has(codes, Mark.NEGATIVE_LEXICON)
    weights = np.array(weigh(text, recipe, annotator))
    if 0 < negative.sum() < heads.sum():
        assert weights[heads].sum() == pytest.approx(heads.sum(), rel=1e-5)
    else:
        assert set(weights[heads & ~negative]) <= {1.0}
        assert np.allclose(weights[negative], 0.05)


@settings(max_examples=60, deadline=None)
@given(words=st.lists(WORDS, max_size=120))
def test_released_weights_sum_to_the_rows(words: list[str], annotator: Annotator) -> None:
    weights = mask_text(*rows_of(" ".join(words), OFFICIAL, annotator), OFFICIAL).weights
    assert weights.sum().item() == pytest.approx(256, rel=1e-4)


def released_reading(words: list[str], low: float = 0.05) -> list[float]:
    """The released weights as their description reads: one padded sample, one token at a time."""
    weights, scan, diminished = [1.0] * len(words), 0, set()
    while scan <= len(words) - 5:
        five = words[scan : scan + 5]
        length = 5 if five == "there is no evidence of".split() else 3 * (five[:3] == ["there", "is", "no"])  # noqa: SIM905
        diminished |= set(range(scan, scan + length))
        scan += length or 1
    described = set()
    for i in range(1, len(words) - 1):
        if words[i] in PIECES:
            described |= {i - k for k in (1, 2) if i - k > 0 and words[i - k] != "."}
    for i in diminished:
        weights[i] = low
    d, m, q = len(diminished), len(described), len(diminished & described)
    if m and d:
        for i in described:
            weights[i] *= ((1 - low) * (d - q) + m) / (m - (1 - low) * q)
    elif d:
        weights = [w * len(words) / (len(words) - (1 - low) * d) for w in weights]
    return weights


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(["there is no", "there is no evidence of", *VOCABULARY.split(), "there is no edema. " * 30]),
        max_size=90,
    )
)
def test_released_weights_as_their_description_reads(parts: list[str], annotator: Annotator, wordpiece) -> None:
    rows = rows_of(" ".join(parts), OFFICIAL, annotator)
    words = wordpiece.decode(token_ids(rows[0]).tolist())
    assert mask_text(*rows, OFFICIAL).weights.tolist() == pytest.approx(released_reading(words), rel=1e-4)
