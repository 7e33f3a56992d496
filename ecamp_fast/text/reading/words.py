"""What a reader calls a word: "1.5 cm", "5mm", "non-calcified", "patient's", "w/o" are one each."""

import re

Span = tuple[int, int]

_NUMBER = r"\d+(?:[.,]\d+)*(?:-\d+(?:[.,]\d+)*)?"
_UNIT = r"(?:mm|cm|m|ml|cc|l|mg|kg|fr|french|kvp?|mas|degrees?|%)"
# A measure: one number or several ("3 x 4"), and its unit, with a blank between them or without
_MEASURE = rf"{_NUMBER}(?:\s?[x×]\s?{_NUMBER})*[\s-]?{_UNIT}(?![\w-])"
# Letters and digits, joined by a hyphen or an apostrophe; a point, comma, colon or slash joins digits; a point or slash
# also single letters ("w/o", "e.g")
_RUN = r"[^\W_][^\W_\u0300-\u036f]*(?:[\u0300-\u036f]+[^\W_]*)*"
_PLAIN = rf"{_RUN}(?:[-\u2010\u2011'’]{_RUN}|(?<=\d)[.,:/](?=\d){_RUN}|(?<=\b[^\W\d_])[./][^\W\d_]\b)*"
_WORD = re.compile(rf"{_MEASURE}|{_PLAIN}", re.IGNORECASE)


def word_spans(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    """The characters [first, last) of every word in [start, end) of ``text``, in order. Punctuation is no word."""
    return [match.span() for match in _WORD.finditer(text, start, len(text) if end is None else end)]
