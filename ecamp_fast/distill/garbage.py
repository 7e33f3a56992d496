"""Answers that are none, by name, before anybody asks whether they are true (RELIABILITY B7, L3)."""

import re
from itertools import groupby

from ecamp_fast.distill.prompt import EXAMPLE, MARKS
from ecamp_fast.distill.source import ReportReading
from ecamp_fast.distill.vocabulary import words_of
from ecamp_fast.text.reading.cleaning import clean

LENGTH, FILTER = "length", "content_filter"  # why servers say that an answer ended
_FENCE = re.compile(r"```|~~~")
_REFUSAL = re.compile(
    r"\b(?:i(?:['’]m| am) (?:sorry|unable|afraid|not able)|i (?:apologi[sz]e|can ?not|can['’]?t|won['’]?t|must decline)"
    r"|as an? (?:ai|artificial|language)|(?:ai|language) (?:model|assistant)|not (?:able|qualified) to"
    r"|consult (?:a|your|with)|medical advice|against (?:my|our) (?:policy|guidelines))\b",
    re.IGNORECASE,
)
_FOREIGN = re.compile(
    r"\b(?:hay|existe|presencia|derrame|sin|neumot[oó]rax|pleurale[rs]?|es gibt|kein(?:e|en)?|leichte[rs]?|eine?"
    r"|il y a|pas de|absence de|[ée]panchement|pl[ée]vre|ci sono|nessun[ao]?|versamento|c['’]è|não|sem|há|geen)\b",
    re.IGNORECASE,
)
_OTHER_LETTER = re.compile(r"[^\W\d_a-zA-Z\u00c0-\u024f]")  # neither English nor any other with Latin letters
_SENTENCE = re.compile(r"[.;!\n]+")
_TIMES = 3  # that one sentence comes
_RUN = re.compile(r"(\b\w+\b(?:\W+\w+\b){0,7}?)(?:\W+\1\b){3,}", re.IGNORECASE)
_WORDS_OF_A_SENTENCE = 10  # the template, and a place told twice


def garbage(source: ReportReading, answer: str, finish: str, structured: bool) -> str:
    """The class of an answer that is none; '' where it may be one.

    finish: why the server says that it ended, as OpenAI names it   structured: whether JSON was asked for
    """
    if not answer.strip():
        return "empty"
    if clean(answer) != answer.replace("\r\n", "\n").replace("\r", "\n"):
        return "control"
    if finish == LENGTH:
        return "truncated"
    if finish == FILTER or _REFUSAL.search(answer):
        return "refusal"
    if _FENCE.search(answer):
        return "fenced"
    if structured:
        return "loop" if _loops(answer) else ""
    if answer.lstrip()[:1] in ("{", "[") and ":" in answer:
        return "json"
    if MARKS.search(answer) or _echoes(source, answer):
        return "echo"
    if _loops(answer):
        return "loop"
    if _is_foreign(source, answer):
        return "language"
    if len(words_of(answer)) > source.count + _WORDS_OF_A_SENTENCE * max(1, len(source.stated)):
        return "long"
    return ""


def _echoes(source: ReportReading, answer: str) -> bool:
    """Whether an answer is that of the prompt's example, and the report another."""
    lower, report = answer.lower(), source.text.lower()
    return sum(part in lower and part not in report for part in EXAMPLE) > 1


def _loops(answer: str) -> bool:
    """Whether a sentence comes over and over: in a row, or as all others do; or a few words do."""
    sentences = list(filter(None, (" ".join(words_of(one)) for one in _SENTENCE.split(answer))))
    in_a_row = max((len(list(same)) for _, same in groupby(sentences)), default=0)
    return in_a_row >= _TIMES or len(sentences) >= _TIMES * len(set(sentences)) > 0 or _RUN.search(answer) is not None


def _is_foreign(source: ReportReading, answer: str) -> bool:
    return not set(source.text).issuperset(_OTHER_LETTER.findall(answer)) or len(_FOREIGN.findall(answer)) > 1
