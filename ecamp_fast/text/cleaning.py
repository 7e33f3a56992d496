"""From bytes to clean text: strict UTF-8, cp1252 where that fails, no control characters.

Nothing is dropped silently: bytes that neither encoding knows are an error that says where they stand.
"""

import codecs
import unicodedata

from ecamp_fast.errors import DataError

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BREAKS = "\x0b\x0c\x85\u2028\u2029"  # vertical tab, form feed and their like part words, so they become spaces
_KEPT = "\n\t"


def read_text(data: bytes) -> tuple[str, str]:
    """Decode and clean a file or a field.

    Returns (text, encoding), encoding being "utf-8" or "cp1252". A byte order mark is removed.
    Raises DataError for bytes that are neither; the caller adds the name of the file.
    """
    if data.startswith(_UTF16):
        raise DataError("the text is UTF-16", "save it as UTF-8")
    try:
        return clean(data.decode("utf-8-sig")), "utf-8"
    except UnicodeDecodeError as utf8_fault:
        try:
            return clean(data.decode("cp1252")), "cp1252"
        except UnicodeDecodeError:
            raise DataError(
                f"byte {utf8_fault.start} (0x{data[utf8_fault.start]:02x}) is not UTF-8, and the text is not cp1252",
                "save it as UTF-8",
            ) from None


def clean(text: str) -> str:
    """Line ends become "\\n"; control, direction and zero-width characters and lone surrogates go."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii() and text.isprintable():
        return text
    text = text.translate(dict.fromkeys(map(ord, _BREAKS), " "))
    # category C: control (NUL), format (right-to-left marks, zero-width), surrogate, private use, unassigned
    return "".join(c for c in text if c in _KEPT or not unicodedata.category(c).startswith("C"))


def is_empty(report: str) -> bool:
    """Whether nothing is left to learn from: no letter and no digit, as in blanks or a lone "___"."""
    return not any(c.isalnum() for c in report)
