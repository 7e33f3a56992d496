"""What samples state: single sentences, what these say of findings, and who says so in a micro-batch."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecamp_fast.batch import Sentences
from ecamp_fast.phantom import FINDINGS, describe
from ecamp_fast.text.codes import CLS_ID
from ecamp_fast.text.packing.single_sentences import SentenceCapacity, SentenceEncoder, pack_sentences
from ecamp_fast.text.packing.single_sentences import lay_out_sentences as lay_out
from ecamp_fast.text.reading.rules import distill
from ecamp_fast.text.statements import finding_of, prompt, read_claim, read_statements
from ecamp_fast.text.wordpiece import Wordpiece, train_wordpiece

FIRST = "There is large left pneumothorax. There is no pleural effusion."
SECOND = "There are small pleural effusions. There is no pneumothorax. There is tortuous aorta."
THIRD = "There is no pneumothorax. There may be nodule."


def lay_out_sentences(
    texts: list[str], encode: SentenceEncoder, limit: int, room: SentenceCapacity | None = None
) -> Sentences:
    """Of distilled texts, at most ``limit`` sentences of each."""
    return lay_out([read_statements(text, limit) for text in texts], encode, room)


@pytest.fixture(scope="module")
def wordpiece() -> Wordpiece:
    texts = [describe(1, index).report for index in range(100)]
    return train_wordpiece([*texts, *map(distill, texts)], 500)


@pytest.fixture(scope="module")
def encode(wordpiece: Wordpiece) -> SentenceEncoder:
    return SentenceEncoder(wordpiece, 64)


@pytest.fixture(scope="module")
def read(wordpiece: Wordpiece) -> Callable[[Sentences], list[str]]:
    """The sentences by their tokens, as far as they are real."""

    def words(found: Sentences) -> list[str]:
        ends = found.cu_seqlens.tolist()
        rows = [found.ids[a:b].tolist() for a, b in pairwise(ends)][: int(found.real.sum())]
        assert all(row[0] == CLS_ID for row in rows)
        return [" ".join(wordpiece.decode(row[1:])).replace(" ##", "") for row in rows]

    return words


@pytest.mark.parametrize(
    ("sentence", "finding", "denied"),
    [
        ("There is large right apical pneumothorax.", "pneumothorax", False),
        ("There are moderate bilateral pleural effusions.", "effusion", False),
        ("There is no focal consolidation.", "consolidation", True),
        ("There is calcified granuloma.", "granuloma", False),
        ("There is mild hyperinflation.", "hyperinflation", False),
        ("There may be edema.", None, False),
        ("There is tortuous aorta.", None, False),
        ("There is normal cardiac silhouette.", None, False),
        ("There are nothing but wires.", None, False),
        ("No pneumothorax.", None, False),
    ],
)
def test_what_a_sentence_says(sentence: str, finding: str | None, denied: bool) -> None:
    assert read_claim(sentence) == (finding, denied)


def test_a_prompt_is_read_as_what_it_says() -> None:
    assert (prompt("mass", False), prompt("mass", True)) == ("There is mass.", "There is no mass.")
    for name in (*FINDINGS, "Pleural Effusion", "Lung Opacity"):
        noun = finding_of(name)
        assert noun is not None
        for denied in (False, True):
            assert read_claim(prompt(noun, denied)) == (noun, denied)
    assert finding_of("Support Devices") is None


def test_statements_are_true_of_the_picture() -> None:
    """What phantoms are said to have or not to have, against what was drawn."""
    told = 0
    for index in range(200):
        study = describe(3, index)
        holds = dict(read_statements(distill(study.report), 24).poles)
        for finding in FINDINGS:
            there, absent = prompt(finding, False), prompt(finding, True)
            told += (there in holds) + (absent in holds)
            assert (absent if finding in study.labels else there) not in holds
            assert holds.get(there, absent) == absent and holds.get(absent, there) == there
    assert told > 800


def test_a_micro_batch_of_three(encode: SentenceEncoder, read: Callable[[Sentences], list[str]]) -> None:
    found = lay_out_sentences([FIRST, SECOND, THIRD], encode, 24)
    sentences = read(found)
    assert sentences == [
        "there is large left pneumothorax .",
        "there is no pleural effusion .",
        "there is pneumothorax .",
        "there is no pneumothorax .",
        "there is no effusion .",
        "there is effusion .",
        "there are small pleural effusions .",
        "there is tortuous aorta .",
        "there may be nodule .",
    ]
    assert [row.nonzero()[:, 0].tolist() for row in found.stated] == [[0, 1, 2, 4], [3, 5, 6, 7], [3, 8]]
    assert found.negation.tolist() == [0, 1, 3, 2, 5, 4, 6, 7, 8]
    worth = torch.zeros(3, 9)
    worth[0, 2], worth[1, 3], worth[2, 3] = 1 / 4, 1 / 8, 1 / 8
    worth[1, 5], worth[0, 4] = 1 / 4, 1 / 4
    torch.testing.assert_close(found.worth, worth)
    assert found.real.all() and not found.overflow


def test_what_a_sample_both_states_and_denies_is_there(encode: SentenceEncoder) -> None:
    found = lay_out_sentences(["There is no left nodule. There is right nodule.", "There is no nodule."], encode, 24)
    assert found.worth.sum(1).tolist() == [0.5, 0.5]
    affirmed = int(found.negation[found.worth[1].argmax()])
    assert found.stated[0, affirmed] and not found.stated[0, found.negation[affirmed]]


def test_what_all_say_is_no_choice(encode: SentenceEncoder) -> None:
    found = lay_out_sentences(["There is no mass.", "There is no mass."], encode, 24)
    assert found.worth.sum() == 0 and found.real.sum() == 2


def test_the_first_statements_of_a_sample_count(encode: SentenceEncoder) -> None:
    assert lay_out_sentences([SECOND], encode, 1).stated.sum() == 2
    assert lay_out_sentences([SECOND], encode, 3).stated.sum() == 4


def test_one_sentence_at_least_though_nobody_says_a_word(encode: SentenceEncoder) -> None:
    found = lay_out_sentences(["", ""], encode, 24)
    assert (found.real.tolist(), found.stated.tolist(), len(found.ids)) == ([False], [[False]] * 2, 1)


def test_long_sentences_are_cut(wordpiece: Wordpiece) -> None:
    encode = SentenceEncoder(wordpiece, 8)
    found = lay_out_sentences([f"There is {'very ' * 30}large mass."], encode, 24)
    assert found.cu_seqlens.diff().max() == found.max_seqlen == 8


TEXTS = st.lists(st.sampled_from(["", FIRST, SECOND, THIRD, *(distill(describe(2, i).report) for i in range(6))]))


@given(TEXTS.filter(bool))
def test_capacity_changes_shapes_and_nothing_else(encode: SentenceEncoder, texts: list[str]) -> None:
    room = SentenceCapacity(sentences=100, rows=900)
    exact, fixed = lay_out_sentences(texts, encode, 24), lay_out_sentences(texts, encode, 24, room)
    count, rows = len(exact.real), int(exact.cu_seqlens[len(exact.real)])
    assert fixed.ids[:rows].equal(exact.ids[:rows]) and fixed.ids[rows:].sum() == 0
    assert fixed.real.sum() == exact.real.sum() and fixed.real[: int(exact.real.sum())].all()
    for name in ("stated", "worth"):
        one, other = getattr(exact, name), getattr(fixed, name)
        assert other[:, :count].equal(one) and not other[:, count:].any()
    assert fixed.negation[:count].equal(exact.negation)
    assert fixed.negation.sort().values.equal(torch.arange(100))
    assert (len(fixed.ids), len(fixed.real), len(fixed.cu_seqlens)) == (900, 100, 101 + -(-900 // 64))
    assert fixed.cu_seqlens[-1] == 900 and fixed.cu_seqlens.diff().max() <= fixed.max_seqlen == 64


def test_more_than_the_capacity_gets_more_room_and_says_so(encode: SentenceEncoder) -> None:
    texts = [FIRST, SECOND, THIRD]
    exact = lay_out_sentences(texts, encode, 24)
    for room in (SentenceCapacity(8, 900), SentenceCapacity(16, 16)):
        found = lay_out_sentences(texts, encode, 24, room)
        assert found.overflow and found.real.sum() == exact.real.sum()
        assert len(found.real) >= 9 and len(found.ids) >= len(exact.ids)


def test_prompts_are_packed_in_their_order(encode: SentenceEncoder, read: Callable[[Sentences], list[str]]) -> None:
    found = pack_sentences(["There is mass.", "There is no mass."], encode)
    assert read(found) == ["there is mass .", "there is no mass ."]
    assert found.stated.shape == found.worth.shape == (0, 2)
