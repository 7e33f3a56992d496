"""What an empty cell is, and the one form of an identifier, for the tables and the metadata of every source."""

import re

from ecamp_fast.text.reading.cleaning import is_empty

# What programs write where they have no value (pandas, numpy, Excel, databases), alone or several in a row: a table of
# findings and impression joined by str() holds "nan nan". Quotes, brackets, dashes and full stops around say no more.
_MARKS = r"""[\s"'`<>()\[\]{}#\\_.,;:!\-\u2010-\u2015\u2212]*+"""
_NONE = r"nan|nat|null|none|na|n\s?/\s?a|n\.\s?a|1\.\#(?:ind|qnan|snan)|(?<=\\)n"
_EMPTY = re.compile(rf"{_MARKS}(?:(?:{_NONE})(?![^\W_]){_MARKS})*+", re.IGNORECASE)
_WHOLE_FLOAT = re.compile(r"(\d+)\.0+")


def is_blank(value: str) -> bool:
    """Whether a cell or a report holds nothing: blanks, dashes, marks of de-identification, nan, None, NULL, N/A."""
    return is_empty(value) or _EMPTY.fullmatch(value) is not None


def cell(value: str) -> str:
    """The value without blanks around it, '' where it holds nothing."""
    return "" if is_blank(value) else value.strip()


def identifier(value: str) -> str:
    """The name of a patient or a study as all tables of a build have it, '' where it is none.

    A whole float is its integer, since pandas writes a column of numbers with holes as 123.0. Leading zeros and letters
    stay, and so does scientific notation: what a spreadsheet has rounded cannot be had back.
    """
    name = cell(value)
    whole = _WHOLE_FLOAT.fullmatch(name)
    return whole[1] if whole else name
