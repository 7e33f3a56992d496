"""The page on which a person reads what was distilled beside the reports. It holds their text."""

from collections import Counter
from collections.abc import Sequence
from html import escape

from ecamp_fast import __version__
from ecamp_fast.distill.audit import Audited, Mark
from ecamp_fast.distill.source import State
from ecamp_fast.report.html import document

TITLE = "Audit of distilled reports"
CONFIDENTIAL = "This file contains reports of patients: handle it as they are handled, and send it to nobody."
_HOW = {
    "model": "by the model",
    "re-asked": "by the model, asked again",
    "rules": "by the rules, as no answer was taken",
    "nothing": "nothing to ask",
}
_ORDER = "shown in random order, without names or numbers of patients"


def audit_html(sample: Sequence[Audited], seed: int) -> str:
    """The whole document as text: one card a report, in the order of the sample, and a legend."""
    states = "".join(f'<span class="word {state}">{state}</span> ' for state in State)
    told = Counter(one.how for one in sample)
    under = ", ".join(f"{told[how]:,} {name}" for how, name in _HOW.items() if told[how])
    body = [
        f'<header><h1>{TITLE}</h1><p class="under">{len(sample):,} reports, seed {seed}, {_ORDER}: {under}.</p>',
        "</header>",
        f'<p class="notice">{CONFIDENTIAL}</p>',
        f'<p class="soft">Entities of the list, as the rules read them: {states}</p>',
        *(_card(number, one) for number, one in enumerate(sample, 1)),
        f"<footer>Made by ecamp-fast {escape(__version__)}.</footer>",
    ]
    return document(TITLE, body)


def _card(number: int, one: Audited) -> str:
    faults = ", ".join(f"{name} {count}" for name, count in one.faults.items())
    rejected = f'<p class="soft">rejected before: {escape(faults)}</p>' if faults else ""
    rules = "" if one.rules == one.text else f'<p class="soft asis">the rules: {escape(one.rules) or "nothing"}</p>'
    text = marked(one.text, one.text_marks).replace(". <", ".\n<").replace(". There", ".\nThere")
    return (
        f'<h2>{number} <span class="chip">{escape(_HOW.get(one.how, one.how))}</span></h2><div class="pair">'
        f'<div class="card"><h3>Report</h3><p class="asis">{marked(one.report, one.report_marks)}</p></div>'
        f'<div class="card"><h3>Distilled</h3><p class="asis">{text or "nothing"}</p>{rejected}{rules}</div></div>'
    )


def marked(text: str, marks: Sequence[Mark]) -> str:
    """A text with its entities coloured by their states.  marks: in order, none overlapping another"""
    parts: list[str] = []
    at = 0
    for (start, end), entity, state in marks:
        parts.append(escape(text[at:start]))
        parts.append(f'<span class="word {state}" title="{escape(entity)}, {state}">{escape(text[start:end])}</span>')
        at = end
    return "".join([*parts, escape(text[at:])])
