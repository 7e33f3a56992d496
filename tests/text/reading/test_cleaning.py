import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecamp_fast.text.reading.cleaning import clean, is_empty, read_text


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        ("Größe".encode(), "Größe", "utf-8"),
        (b"\xef\xbb\xbfmild", "mild", "utf-8"),
        (b"\x93mild\x94 edema", "“mild” edema", "cp1252"),
        (b"\x81\xe9", "é", "latin-1"),  # a byte that cp1252 lacks
        (b"a\r\nb\rc", "a\nb\nc", "utf-8"),
        (b"a\x00b\x1b[31mc\x07", "ab[31mc", "utf-8"),
        (b"edema\x0ceffusion", "edema effusion", "utf-8"),
        ("pneumo\u00adthorax\u200b".encode(), "pneumothorax", "utf-8"),
        ("\u202emild\u202c \u2066edema\u2069".encode(), "mild edema", "utf-8"),
        (b"\xff\xfem\x00m\x00", "mm", "utf-16"),  # either order of the bytes
        (b"\xfe\xff\x00m\x00m", "mm", "utf-16"),
    ],
)
def test_reading(data: bytes, text: str, encoding: str) -> None:
    assert read_text(data) == (text, encoding)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp"])))
def test_ordinary_text_is_kept(text: str) -> None:
    assert read_text(text.encode())[0] == text


@given(st.binary())
def test_any_bytes_are_read_and_cleaning_twice_changes_nothing(data: bytes) -> None:
    text, _ = read_text(data)
    assert clean(text) == text
    assert "\x00" not in text


@pytest.mark.parametrize(
    ("report", "empty"),
    [
        ("", True),
        (" \n\t", True),
        ("___", True),
        ("_ ._-", True),
        ("no", False),
        ("XXXX, XXXXX.", True),
        ("XXX", False),
        ("XX", False),
    ],
)
def test_empty(report: str, empty: bool) -> None:
    assert is_empty(report) is empty
