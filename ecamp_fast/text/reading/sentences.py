"""Where sentences begin and end in a report: at full stops that are no decimal point and no abbreviation."""

import re

# A run of stops, or an empty line. Not within a number (1.5 cm), not behind a title, an initial (Dr. J. Smith), the
# parts of e.g. and p.m., or the number of a list's item (1. No effusion. 2. ...).
_STOP = re.compile(r"[.!?]+|\n[ \t]*\n")
_TITLE = r"(?:dr|mr|mrs|ms|prof|vs|approx|fig|st|e\.g|i\.e|cf|resp|incl)"
_ABBREVIATION = re.compile(rf"(?:\b{_TITLE}|\b(?:dr|mr|mrs|ms|prof)\.? [a-z]|(?:\A|[.!?:\n])\s*\d\d?)\Z", re.IGNORECASE)
_LETTER = re.compile(r"(?<![^\W_])[^\W\d_]\Z")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """The characters [start, end) of each sentence, end to end over the whole text."""
    ends = [match.end() for match in _STOP.finditer(text) if _ends_sentence(text, match)]
    if not ends or text[ends[-1] :].strip():
        ends.append(len(text))
    return list(zip([0, *ends], ends, strict=False))


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    if match[0] != ".":
        return True
    before, after = text[max(0, match.start() - 8) : match.start()], text[match.end() : match.end() + 1]
    if before[-1:].isdigit() and after.isdigit():
        return False
    if after.isalpha() and _LETTER.search(before):
        return False
    return not (after and _ABBREVIATION.search(before))
