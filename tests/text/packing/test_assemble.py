import numpy as np
import pytest

from ecamp_fast.config import TextConfig
from ecamp_fast.keyed_random import Stream, sample_keys, uniform
from ecamp_fast.text.codes import token_ids
from ecamp_fast.text.packing.assemble import assemble
from ecamp_fast.text.reading.annotate import Annotator
from ecamp_fast.text.wordpiece import Wordpiece

REPORT, DISTILLED = "mild edema. no effusion.", "there is edema."


@pytest.fixture
def put_together(annotator: Annotator, wordpiece: Wordpiece):
    """The texts that come out for many keys."""

    def run(report: str, distilled: str, padded: bool = False, count: int = 2000, **text: object) -> list[str]:
        keys = sample_keys(1, 0, np.arange(count))
        settings = TextConfig(**({"max_tokens": 64} | text))
        codes, cu_seqlens, lengths = assemble(
            [annotator.codes(report)] * count,
            [annotator.codes(distilled)] * count,
            keys,
            settings,
            padded=padded,
        )
        assert codes.dtype == cu_seqlens.dtype == lengths.dtype == np.int32
        words = wordpiece.decode(token_ids(codes))
        return [" ".join(words[a : a + n]) for a, n in zip(cu_seqlens[:-1], lengths, strict=True)]

    return run


def test_distilled_text_takes_every_sentence_slot_alike(put_together) -> None:
    texts = put_together(REPORT, DISTILLED)
    shares = {text: texts.count(text) / len(texts) for text in set(texts)}
    d = "there is edema ."
    assert shares.keys() == {
        "[CLS] mild edema . no effusion .",
        f"[CLS] {d} mild edema . no effusion .",
        f"[CLS] mild edema . {d} no effusion .",
        f"[CLS] mild edema . no effusion . {d}",
    }
    assert shares.pop("[CLS] mild edema . no effusion .") == pytest.approx(0.2, abs=0.03)
    assert all(share == pytest.approx(0.8 / 3, abs=0.03) for share in shares.values())


def test_a_first_draw_says_whether_and_a_second_where(put_together) -> None:
    d, plain = "there is edema .", "[CLS] mild edema . no effusion ."
    slots = [
        f"[CLS] {d} mild edema . no effusion .",
        f"[CLS] mild edema . {d} no effusion .",
        f"[CLS] mild edema . no effusion . {d}",
    ]
    draws = uniform(sample_keys(1, 0, np.arange(60)), Stream.DISTILLED, 2).tolist()
    expected = [slots[int(3 * where)] if whether < 0.8 else plain for whether, where in draws]
    assert put_together(REPORT, DISTILLED, count=60) == expected


def test_appended_always(put_together) -> None:
    texts = put_together(REPORT, DISTILLED, distilled_probability=1.0, distilled_position="append", count=20)
    assert set(texts) == {"[CLS] mild edema . no effusion . there is edema ."}


def test_switched_off_or_nothing_distilled(put_together) -> None:
    assert set(put_together(REPORT, DISTILLED, distilled_probability=0.0, count=20)) == {
        "[CLS] mild edema . no effusion ."
    }
    assert set(put_together(REPORT, "", count=20)) == {"[CLS] mild edema . no effusion ."}


def test_released_slots(put_together) -> None:
    """A report of n parts split at "." has n + 1 slots; behind the last "." two of them coincide."""
    texts = put_together("edema. 1.5 cm.", DISTILLED, padded=True, distilled_probability=1.0)
    d = "there is edema ."
    share = {text: texts.count(text) / len(texts) for text in set(texts)}
    assert share.pop(f"[CLS] edema . 1 . 5 cm . {d}") == pytest.approx(2 / 5, abs=0.04)
    assert share.keys() == {
        f"[CLS] {d} edema . 1 . 5 cm .",
        f"[CLS] edema . {d} 1 . 5 cm .",
        f"[CLS] edema . 1 . {d} 5 cm .",
    }
    unfinished = put_together("edema", DISTILLED, padded=True, distilled_probability=1.0, count=50)
    assert set(unfinished) == {f"[CLS] {d} edema .", f"[CLS] edema . {d}"}


def test_truncation_keeps_the_head(put_together) -> None:
    texts = put_together(REPORT, DISTILLED, max_tokens=8, distilled_probability=1.0, distilled_position="append")
    assert set(texts) == {"[CLS] mild edema . no effusion . there"}


@pytest.mark.parametrize("padded", [False, True])
def test_rows(annotator: Annotator, padded: bool) -> None:
    reports = [annotator.codes(text) for text in (REPORT, "", "edema " * 100)]
    none = [np.zeros(0, np.int32)] * 3
    keys = sample_keys(0, 0, np.arange(3))
    codes, cu_seqlens, lengths = assemble(reports, none, keys, TextConfig(max_tokens=16), padded=padded)
    assert lengths.tolist() == [7, 1, 16]
    assert cu_seqlens.tolist() == ([0, 16, 32, 48] if padded else [0, 7, 8, 24])
    assert len(codes) == cu_seqlens[-1]
    if padded:
        assert (codes[7:16] == 0).all() and codes[16] == 2
