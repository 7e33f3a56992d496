"""Bytes to text without silent loss: the encoding is decided for the whole file and said, control characters go."""

import re

# C0 and C1 controls but tab and newline, surrogates, byte-order marks, soft hyphens, characters of no width, and the
# marks that reverse reading direction.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\ud800-\udfff\ufeff\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069]"
)
_BREAK = re.compile("[\x0b\x0c\x85\u2028\u2029]")  # vertical tab, form feed, ...: they part words, so a space remains
_NOTHING = re.compile(r"(?:[\s_.,;:\-]|X{4,}+)*")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # byte-order marks


def read_text(data: bytes) -> tuple[str, str]:
    """Decode a file: UTF-16 by its mark, strict UTF-8, else Windows cp1252, else Latin-1, which takes every byte.

    returns the text, cleaned (``clean``), and the name of the encoding.
    """
    marked = ("utf-16",) if data.startswith(_UTF16) else ()
    for encoding in (*marked, "utf-8-sig", "cp1252", "latin-1"):
        try:
            return clean(data.decode(encoding)), encoding.removesuffix("-sig")
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes every byte")


def clean(text: str) -> str:
    """Line ends become newlines; characters that no reader sees are removed."""
    return _UNPRINTABLE.sub("", _BREAK.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n")))


def is_empty(report: str) -> bool:
    """Whether a report says nothing: blanks, punctuation and the marks of de-identification (___, XXXX) alone."""
    return _NOTHING.fullmatch(report) is not None
