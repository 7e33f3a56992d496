"""A raw radiograph report cut into its sections: findings and impression are what a model learns from.

Written for the free text of MIMIC-CXR: a title (FINAL REPORT), then sections that begin with a name in capitals and a
colon. What precedes the final report (wet read, addendum) and sections on other matters (indication, comparison,
technique, who was called and when) are left out.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ecamp_fast.text.reading.cleaning import is_empty

_FINDINGS, _IMPRESSION, _JOINT, _OTHER = "findings", "impression", "joint", "other"

_NAMES = {
    "finding": _FINDINGS,
    "findings": _FINDINGS,
    "report": _FINDINGS,
    "impression": _IMPRESSION,
    "impressions": _IMPRESSION,
    "conclusion": _IMPRESSION,
    "conclusions": _IMPRESSION,
    "opinion": _IMPRESSION,
    "findings and impression": _JOINT,
    "findings/impression": _JOINT,
    "impression and findings": _JOINT,
    "impression/findings": _JOINT,
}
# Words of the names of sections on other matters.
_ELSEWHERE = re.compile(
    r"addend|clinical|comparison|correlat|date|diagnosis|dictat|dose|exam|histor|indication|information|notif|order|"
    r"procedure|reason|recommend|reference|request|signed|study|technique|wet|comment|preamble|pfi"
)
# A section may bear the name of the views; older reports have their findings there.
_VIEWS = re.compile(r"\b(?:chest|views?|radiographs?|film|frontal|lateral|portable|upright|supine|ap|pa|cxr)\b")
_TITLE = re.compile(
    r"^[ \t]*(?:(?P<final>(?:FINAL|INTERIM|PRELIMINARY) REPORT)|(?P<aside>(?:FINAL )?ADDENDUM|WET READ))\b[^\n]*$", re.M
)
_HEADING = re.compile(r"^[ \t]*(?P<name>[A-Za-z][A-Za-z0-9 ()/,.&'_-]{1,70}?)[ \t]*(?P<end>:|$)", re.M)
_NAMED = re.compile(r"\A\s*[A-Z][A-Z0-9 ()/,.&'_-]*:")
_LINE = re.compile(r"^[ \t]*[_=*-]{5,}[ \t]*$", re.M)  # drawn between parts
_PARAGRAPH = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True, slots=True)
class Sections:
    """Blanks and line breaks inside a section are single blanks; '' where the report has no such section.

    findings    what the picture shows
    impression  what it means
    joint       one section that holds both, under both names
    last        the last paragraph of the report, whatever it is
    """

    findings: str = ""
    impression: str = ""
    joint: str = ""
    last: str = ""

    @property
    def text(self) -> str:
        """Findings, then impression; '' if there is neither."""
        parts = [self.findings, self.joint, "" if self.impression == self.findings else self.impression]
        return " ".join(part for part in parts if not is_empty(part))


@dataclass(frozen=True, slots=True)
class _Section:
    kind: str
    body: str


def cut(report: str) -> Sections:
    """The sections of a report, cleaned text of any length (see ``cleaning.clean``)."""
    body = _final(_LINE.sub("", report))
    found: dict[str, list[str]] = {_FINDINGS: [], _IMPRESSION: [], _JOINT: []}
    for section in _sections(body):
        text = " ".join(section.body.split())
        if section.kind in found and text and text not in found[section.kind]:
            found[section.kind].append(text)
    paragraphs = [part for part in _PARAGRAPH.split(body) if not is_empty(part)]
    last = " ".join(_NAMED.sub("", paragraphs[-1]).split()) if paragraphs else ""
    return Sections(last=last, **{kind: " ".join(texts) for kind, texts in found.items()})


def _final(report: str) -> str:
    """What stands below the title of a report; all of it where there is none."""
    titles = list(_TITLE.finditer(report))
    if not titles:
        return report
    ends = [title.start() for title in titles[1:]] + [len(report)]
    final = [report[title.end() : end] for title, end in zip(titles, ends, strict=True) if title["final"]]
    if final:
        return "\n".join(final)
    if is_empty(report[: titles[0].start()]):
        return report[titles[-1].end() :]  # an addendum or a wet read alone
    return report[: titles[0].start()]


def _sections(body: str) -> Iterator[_Section]:
    kind, start = _OTHER, 0
    for heading in _HEADING.finditer(body):
        follows = _kind(heading["name"], bare=heading["end"] != ":", within=kind)
        if follows:
            yield _Section(kind, body[start : heading.start()])
            kind, start = follows, heading.end()
    yield _Section(kind, body[start:])


def _kind(name: str, *, bare: bool, within: str) -> str | None:
    """What section a heading begins; None: it is no heading, or one inside the section ``within``.

    bare: the name stands alone on its line, without a colon
    """
    plain = " ".join(name.lower().split())
    if plain in _NAMES:
        return _NAMES[plain] if name.isupper() or not bare else None
    elsewhere = _ELSEWHERE.search(plain)
    if bare or not name.isupper():
        begins = name[0].isupper() and not bare and _ELSEWHERE.match(plain)
        return _OTHER if begins and len(plain.split()) <= 3 else None
    slip = difflib.get_close_matches(plain, (_FINDINGS, _IMPRESSION), n=1, cutoff=0.8)
    if slip:
        return slip[0]
    views = _VIEWS.search(plain)
    if elsewhere and (not views or elsewhere.start() == 0):  # not CHEST EXAMINATION, but REASON FOR CHEST FILM
        return _OTHER
    if within != _OTHER:
        return None  # LUNGS:, HEART: and the like structure the findings
    return _FINDINGS if views else _OTHER


class Tally:
    """Chooses the text of reports and counts what they lack.

    use_last: take the last paragraph where a report has neither findings nor impression, instead of dropping it
    """

    def __init__(self, *, use_last: bool = False) -> None:
        self._use_last = use_last
        self._seen: Counter[str] = Counter()

    def choose(self, sections: Sections) -> str:
        """The text to learn from; '' where the report is to be dropped."""
        self._seen["reports"] += 1
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

    def __str__(self) -> str:
        counts = self.counts
        fate = "last paragraph used" if self._use_last else "dropped"
        return (
            f"{counts['reports']:,} reports: {counts['without_findings']:,} have no findings, "
            f"{counts['without_impression']:,} no impression, {counts['without_both']:,} neither ({fate}), "
            f"{counts['empty']:,} are empty (dropped)"
        )
