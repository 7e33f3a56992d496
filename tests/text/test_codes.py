"""Codes as stored shards hold them: what a bit means may never change."""

import numpy as np

from ecamp_fast.text.codes import CLS_ID, MASK_ID, PAD_ID, SEP_ID, SPECIALS, UNK_ID, Mark, has, pack, token_ids

BITS = """
CONTINUATION SENTENCE_START ENTITY DESCRIPTOR NEGATIVE_LEXICON NEGATIVE_PHRASE PIECE_ENTITY PERIOD PHRASE PHRASE_START
JOINED
""".split()  # noqa: SIM905


def test_every_mark_has_its_bit_above_the_id() -> None:
    assert [mark.name for mark in Mark] == BITS
    for bit, name in enumerate(BITS, 20):
        code = pack(7, int(Mark[name]))
        assert code == 7 + 2**bit
        assert [other.name for other in Mark if has(code, other)] == [name]


def test_the_largest_id_with_every_mark_fits_int32() -> None:
    codes = pack(np.array([2**20 - 1], np.int32), np.array([2 ** len(BITS) - 1], np.int32))
    assert codes.dtype == np.int32 and codes.tolist() == [2**31 - 1]
    assert token_ids(codes).tolist() == [2**20 - 1]


def test_specials_have_their_ids() -> None:
    assert (PAD_ID, UNK_ID, CLS_ID, MASK_ID, SEP_ID) == (0, 1, 2, 3, 4)
    assert SPECIALS == ("[PAD]", "[UNK]", "[CLS]", "[MASK]", "[SEP]")
