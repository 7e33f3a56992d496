"""Sentences for GLoRIA: words of wordpieces, who states what, and what is drawn when."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from ecamp_fast.batch import Sentences
from ecamp_fast.errors import ConfigError
from ecamp_fast.text.codes import CLS_ID, SEP_ID
from ecamp_fast.text.packing.bert_vocabulary import read_vocabulary
from ecamp_fast.text.packing.captions import CaptionEncoder, vocabulary_of
from ecamp_fast.text.wordpiece import Wordpiece


def texts(laid: Sentences, wordpiece: Wordpiece) -> list[str]:
    """The sentences, filler left out."""
    ends = laid.cu_seqlens.tolist()
    parts = [laid.ids[a:b].tolist() for a, b in pairwise(ends) if b > a]
    assert all(part[0] == CLS_ID and part[-1] == SEP_ID for part in parts)
    assert laid.real.sum() == len(parts)
    return [" ".join(wordpiece.decode(part[1:-1])).replace(" ##", "") for part in parts]


def test_words_are_numbered_by_their_first_piece(encode: CaptionEncoder, wordpiece: Wordpiece) -> None:
    ids, numbers = encode("There is pneumothoraxes.")
    names = wordpiece.decode(ids)
    assert sum(name.startswith("##") for name in names) >= 1
    word, wanted = 0, [0]
    for name in names[1:-1]:
        word += not name.startswith("##")
        wanted.append(word)
    assert numbers == [*wanted, -1] and ids[0] == CLS_ID and ids[-1] == SEP_ID


def test_a_long_sentence_is_cut_and_still_ends(wordpiece: Wordpiece) -> None:
    short = CaptionEncoder(vocabulary_of(wordpiece), 8)("There is no left pneumothorax, no hernia and no mass.")
    assert len(short.ids) == len(short.words) == 8 and short.ids[-1] == SEP_ID


def test_everyone_who_states_a_sentence_is_its_positive(
    lay_out: Callable[..., Sentences], wordpiece: Wordpiece
) -> None:
    laid = lay_out()
    found = texts(laid, wordpiece)
    by_text = {text: laid.stated[:, number].tolist() for number, text in enumerate(found)}
    assert by_text["there is no hernia ."] == [True, True, True]
    assert by_text["there is no pneumothorax ."] == [False, True, True]
    assert by_text["there is large left pneumothorax ."] == [True, False, False]
    assert len(found) == len(set(found)) == 9
    assert laid.stated.shape == (3, 16) and not laid.stated[:, 9:].any()
    assert laid.max_seqlen % 4 == 0 and laid.max_words % 4 == 0


def test_a_drawn_sentence_belongs_to_others_too(lay_out: Callable[..., Sentences], wordpiece: Wordpiece) -> None:
    seen = set()
    for epoch in range(12):
        laid, again = lay_out(each=1, epoch=epoch), lay_out(each=1, epoch=epoch)
        assert laid.ids.equal(again.ids) and laid.stated.equal(again.stated)
        found = texts(laid, wordpiece)
        assert len(found) <= 3
        seen |= set(found)
        if "there is tortuous aorta ." in found:
            assert laid.stated[:, found.index("there is tortuous aorta .")].tolist() == [False, True, True]
    assert len(seen) >= 7  # of nine: another one in other epochs


def test_the_diagonal_repeats_what_two_drew(lay_out: Callable[..., Sentences], wordpiece: Wordpiece) -> None:
    for epoch in range(6):
        laid = lay_out(each=1, diagonal=True, epoch=epoch)
        assert len(texts(laid, wordpiece)) == 3
        assert laid.stated[:, :3].tolist() == [[True, False, False], [False, True, False], [False, False, True]]


def test_poles_are_each_others_negation(lay_out: Callable[..., Sentences], wordpiece: Wordpiece) -> None:
    laid = lay_out(poles=True)
    found = texts(laid, wordpiece)
    yes, no = found.index("there is pneumothorax ."), found.index("there is no pneumothorax .")
    assert laid.negation[yes] == no and laid.negation[no] == yes
    assert laid.stated[:, yes].tolist() == [True, False, False]
    assert laid.worth[0, yes] > 0 and laid.worth[0, no] == 0 and laid.worth.sum() == pytest.approx(1)
    assert laid.worth[:, found.index("there is no hernia .")].sum() == 0  # all say it


def test_a_berts_vocabulary(tmp_path: Path) -> None:
    lines = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "there", "is", "pneumo", "##thorax", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(lines) + "\n")
    caption = CaptionEncoder(read_vocabulary(tmp_path), 97)("There is Pneumothorax.")
    assert caption.ids == [3, 5, 6, 7, 8, 9, 4] and caption.words == [0, 1, 2, 3, 3, 4, -1]


@pytest.mark.parametrize("content", [None, "[PAD]\n[UNK]\n[CLS]\n"])
def test_a_folder_without_one_is_named(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "vocab.txt").write_text(content)
    with pytest.raises(ConfigError, match=r"vocab\.txt"):
        read_vocabulary(tmp_path)
