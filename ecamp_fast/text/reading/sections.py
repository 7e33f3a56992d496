"""A raw radiograph report cut into its sections: findings and impression are what a model learns from.

Written for the free text of MIMIC-CXR: a title (FINAL REPORT), then sections that begin with a heading and a colon
(``headings`` has the tables). What precedes the final report (wet read, addendum) and sections on other matters
(indication, comparison, technique, who was called and when) are left out, and counted by heading.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ecamp_fast.text.reading.cleaning import is_empty
from ecamp_fast.text.reading.headings import (
    FINDINGS,
    IMPRESSION,
    JOINT,
    OTHER,
    label,
    names_anatomy,
    section_kind,
    tells_history,
)
from ecamp_fast.text.reading.words import word_spans

NO_HEADING, OTHER_HEADINGS = "(no heading)", "other headings"
FEWEST = 5  # reports: a heading that fewer use may name a person

# "FINAL REPORT: Clear." goes on behind the title; "FINAL REPORT IMPRESSION:" and "ADDENDUM TO FINDINGS:" are headings.
_TITLE = re.compile(
    r"^[ \t]*(?P<name>(?P<report>(?:FINAL|INTERIM|PRELIMINARY) REPORT)|(?:FINAL )?ADDENDUM|WET READ)\b"
    r"(?!(?<!READ)[ \t]+(?:(?:TO|ON) )?(?:THE )?(?:FINDINGS?|IMPRESSIONS?)[A-Z /&]{0,30}:)"
    r"(?:(?=[ \t]*:[ \t]*\S)|[^\n]*$)",
    re.M,
)
_ENDED = "FINAL REPORT"
# A heading may be an item of a list, in brackets or marked: 1. FINDINGS:, [FINDINGS]:, **IMPRESSION:**
_OPEN, _CLOSE = r"[\[({<*=~\"']{1,3}", r"[\])}>*=~\"']{0,3}"
_HEADING = re.compile(
    rf"^[ \t]*(?P<item>(?:\d{{1,2}}[.)]|[-\u2022\u2013]|[#*]+[ \t])[ \t]*)?(?:(?P<open>{_OPEN})[ \t]*)?"
    r"(?P<name>[A-Za-z](?:\d\d?:\d\d(?!\d)|[A-Za-z0-9 ()\[\]#/\\,.&+'_-]){1,70}?)"  # 10:30 ends none
    rf"[ \t]*(?P<close>{_CLOSE})[ \t]*(?P<end>:|$)(?P<after>(?(open){_CLOSE}))",
    re.M,
)
_SET_OFF = re.compile(r"\S\s*\n[ \t]*\n\Z")  # by an empty line, from text of its section
_NAMED = re.compile(r"\A\s*[A-Z][A-Z ()/\\,.&+'_-]*:")
_LINE = re.compile(r"^[ \t]*[_=*-]{5,}[ \t]*$", re.M)  # drawn between parts
_PARAGRAPH = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True, slots=True)
class Sections:
    """Blanks and line breaks inside a section are single blanks; '' where the report has no such section.

    findings    what the picture shows
    impression  what it means
    joint       one section that holds both, under both names
    last        the last paragraph of the report, whatever it is
    left_out    heading and number of words of all other text, in the report's order
    """

    findings: str = ""
    impression: str = ""
    joint: str = ""
    last: str = ""
    left_out: tuple[tuple[str, int], ...] = ()

    @property
    def text(self) -> str:
        """Findings, then impression; '' if there is neither."""
        parts = [self.findings, self.joint, "" if self.impression == self.findings else self.impression]
        return " ".join(part for part in parts if not is_empty(part))


@dataclass(frozen=True, slots=True)
class _Section:
    kind: str
    heading: str
    body: str


def cut(report: str) -> Sections:
    """The sections of a report, cleaned text of any length (see ``cleaning.clean``)."""
    body, aside = _final(_LINE.sub("", report))
    found: dict[str, list[str]] = {FINDINGS: [], IMPRESSION: [], JOINT: []}
    for section in _without_history(list(_sections(body))):
        text = " ".join(section.body.split())
        if section.kind == OTHER:
            aside.append((section.heading, text))
        elif text and text not in found[section.kind]:
            found[section.kind].append(text)
    paragraphs = [part for part in _PARAGRAPH.split(body) if not is_empty(part)]
    last = " ".join(_NAMED.sub("", paragraphs[-1]).split()) if paragraphs else ""
    texts = {kind: " ".join(texts) for kind, texts in found.items()}
    return Sections(last=last, left_out=left_out(aside), **texts)


def left_out(parts: Iterable[tuple[str, str]]) -> tuple[tuple[str, int], ...]:
    """Headings and texts of what is not learned from, as headings and numbers of words; nothing for empty texts."""
    counted = ((heading, len(word_spans(text))) for heading, text in parts)
    return tuple((heading if heading == NO_HEADING else label(heading), words) for heading, words in counted if words)


def _final(report: str) -> tuple[str, list[tuple[str, str]]]:
    """What stands below the title of a report, or all of it where there is none; and the rest, by title."""
    titles = list(_TITLE.finditer(report))
    if not titles:
        return report, []
    before = report[: titles[0].start()]
    ends = [title.start() for title in titles[1:]] + [len(report)]
    parts = list(zip(titles, ends, strict=True))
    kinds = {title["report"] for title in titles} - {None}
    wanted = {_ENDED} if _ENDED in kinds else kinds  # what was preliminary counts no more
    final = [_below(title, report[title.end() : end]) for title, end in parts if title["report"] in wanted]
    others = [(title["name"], report[title.end("name") : end]) for title, end in parts if title["report"] not in wanted]
    if final:
        return "\n".join(final), [(NO_HEADING, before), *others]
    if is_empty(before):
        return report[titles[-1].end() :], others[:-1]  # an addendum or a wet read alone
    return before, others


def _below(title: re.Match[str], text: str) -> str:
    """The text of a report below its title; where it begins behind a colon on the same line, as a section."""
    return f"REPORT{text.lstrip()}" if text.lstrip(" \t")[:1] == ":" and title["report"] else text


def _sections(body: str) -> Iterator[_Section]:
    kind, heading, start, shown = OTHER, NO_HEADING, 0, ""
    is_item = False  # the heading is one: then items are no list inside its section
    for match in _HEADING.finditer(body):
        name, close = match["name"], match["close"]
        follows = section_kind(name, bare=match["end"] != ":", within=kind)
        if not follows or (match["open"] and not (close or match["after"])):  # (Comparison: none.)
            continue
        text = body[start : match.start()]
        if match["item"] and not is_item and follows == OTHER:
            continue
        is_organ = follows == FINDINGS and names_anatomy(name)
        is_quiet = not name.isupper() or (match["item"] is not None and not is_item)
        if is_organ and is_quiet and tells_history(heading) and not _SET_OFF.search(text):
            continue
        yield _Section(kind, heading, shown + text)
        kind, heading, start = follows, name if match["open"] else name + close, match.end()
        shown, is_item = f"{heading}: " if is_organ else "", match["item"] is not None
    yield _Section(kind, heading, shown + body[start:])


def _without_history(sections: list[_Section]) -> list[_Section]:
    """Sections on organs that stand above the findings by name belong to the history."""
    filled = ((number, one) for number, one in enumerate(sections) if not is_empty(one.body))
    named = (number for number, one in filled if one.kind in (FINDINGS, JOINT) and not _is_organ(one))
    first = next(named, 0)
    return [
        replace(one, kind=OTHER) if number < first and one.kind == FINDINGS and _is_organ(one) else one
        for number, one in enumerate(sections)
    ]


def _is_organ(section: _Section) -> bool:
    return names_anatomy(section.heading) or label(section.heading) == "CHEST"


class Tally:
    """Chooses the text of reports and counts what they lack.

    use_last: take the last paragraph where a report has neither findings nor impression, instead of dropping it
    """

    def __init__(self, *, use_last: bool = False) -> None:
        self._use_last = use_last
        self._seen: Counter[str] = Counter()
        self._reports: Counter[str] = Counter()  # with text left out, by heading
        self._words: Counter[str] = Counter()

    def choose(self, sections: Sections) -> str:
        """The text to learn from; '' where the report is to be dropped."""
        self._seen["reports"] += 1
        text = self._choose(sections)
        beside: Counter[str] = Counter()
        taken = len(word_spans(text)) if text and text == sections.last != sections.text else 0
        for heading, words in reversed(sections.left_out):  # the last paragraph is their end
            beside[heading] += max(0, words - taken)
            taken = max(0, taken - words)
        self._words.update(beside)
        self._reports.update(heading for heading, words in beside.items() if words)
        return text

    def _choose(self, sections: Sections) -> str:
        missing = [
            name
            for name, text in (("findings", sections.findings), ("impression", sections.impression))
            if is_empty(text) and is_empty(sections.joint)
        ]
        if len(missing) == 1:
            self._seen[f"without_{missing[0]}"] += 1
        if len(missing) < 2:
            return sections.text
        if is_empty(sections.last):
            self._seen["empty"] += 1
            return ""
        self._seen["without_both"] += 1
        return sections.last if self._use_last else ""

    @property
    def counts(self) -> dict[str, int]:
        """How many reports there were, and how many of these lack something.

        reports             all
        without_findings    but with an impression
        without_impression  but with findings
        without_both        though they say something
        empty               nothing to learn from
        """
        names = ("reports", "without_findings", "without_impression", "without_both", "empty")
        return {name: self._seen[name] for name in names}

    @property
    def left_out(self) -> dict[str, dict[str, int]]:
        """By heading, what is not learned from: in how many reports, how many words. By falling number of words.

        Headings that fewer than ``FEWEST`` reports use are counted together, last, with how many they are; a report
        that has two of them counts twice.
        """
        rare = {heading for heading, reports in self._reports.items() if reports < FEWEST} - {NO_HEADING}
        ranked = sorted(self._reports.keys() - rare, key=lambda heading: (-self._words[heading], heading))
        table = {heading: {"reports": self._reports[heading], "words": self._words[heading]} for heading in ranked}
        if rare:
            sums = (sum(counter[heading] for heading in rare) for counter in (self._reports, self._words))
            table[OTHER_HEADINGS] = {"headings": len(rare), **dict(zip(("reports", "words"), sums, strict=True))}
        return table

    def __str__(self) -> str:
        counts = self.counts
        noun = "report" if counts["reports"] == 1 else "reports"
        fate = "last paragraph used" if self._use_last else "dropped"
        return (
            f"{counts['reports']:,} {noun}: {counts['without_findings']:,} have no findings, "
            f"{counts['without_impression']:,} no impression, {counts['without_both']:,} neither ({fate}), "
            f"{counts['empty']:,} are empty (dropped)"
        )
