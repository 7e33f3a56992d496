"""The report card that needs no label, of one model or of two side by side: as Markdown, and as a page to share."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from ecamp_fast import __version__
from ecamp_fast.evidence.label_free import LabelFree, Measure
from ecamp_fast.report.html import document
from ecamp_fast.scores import Estimate

TITLE = "Report card without labels"
_FOOT = (
    "Intervals hold 95 % of draws of patients. An arrow down: less is better. Nothing here is a medical result: it "
    "says what a model learned of these images and reports, not whether it is right about a patient."
)


@dataclass(frozen=True)
class _Table:
    head: list[str]
    rows: list[list[str]]
    notes: list[str]


def card_markdown(cards: Mapping[str, LabelFree]) -> str:
    """cards: by name of the run, one or two, of the same samples"""
    table = _table(cards)

    def line(cells: list[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    rows = [line(table.head), line(["---"] * len(table.head)), *map(line, table.rows)]
    return "\n".join(
        [f"# {TITLE}", "", _source(cards), "", *rows, "", *(f"- {note}" for note in table.notes), _FOOT, ""]
    )


def card_html(cards: Mapping[str, LabelFree]) -> str:
    """The whole document as text: numbers alone, no image and no word of a report."""
    table = _table(cards)
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = "".join(
        f"<tr><th>{escape(title)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for title, *cells in table.rows
    )
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in table.notes)
    body = [
        f'<header><h1>{TITLE}</h1><p class="under">{escape(_source(cards))}</p></header>',
        f'<div class="card wide"><table><tr>{head}</tr>{rows}</table></div>{notes}',
        f"<footer>Made by ecamp-fast {escape(__version__)}. {_FOOT}</footer>",
    ]
    return document(TITLE, body)


def _source(cards: Mapping[str, LabelFree]) -> str:
    card = next(iter(cards.values()))
    trained = ", which were trained on" if card.split == "train" else ""
    return f"{' and '.join(cards)}: {card.samples:,} samples of {card.patients:,} patients, split {card.split}{trained}"


def _table(cards: Mapping[str, LabelFree]) -> _Table:
    names = list(cards)
    first, *others = cards.values()
    if not others:
        head = ["", names[0], "without learning it", "better by, at least"]
        rows = [[_title(one), _spread(one.value), *_against(one)] for one in first.measures.values()]
        return _Table(head, rows, _notes(cards))
    (other,) = others
    better = first.better_than(other)
    rows = []
    for name in dict.fromkeys([*first.measures, *other.measures]):
        both = [card.measures.get(name) for card in (first, other)]
        title = next(_title(one) for one in both if one)
        cells = [_spread(one.value) if one else "not measured" for one in both]
        chance = next(_against(one)[0] for one in both if one)
        rows.append([title, *cells, _signed(better[name]) if name in better else "not compared", chance])
    notes = _notes(cards)
    if keys := first.hides_otherwise(other):
        notes.append(
            f"The recipes differ in {', '.join(keys)}: what depends on what they hide is shown and not compared."
        )
    return _Table(["", *names, f"{names[0]} better by", f"without learning it, {names[0]}"], rows, notes)


def _notes(cards: Mapping[str, LabelFree]) -> list[str]:
    return [f"{run}: no {name}: {why}." for run, card in cards.items() for name, why in card.absent.items()]


def _title(one: Measure) -> str:
    return f"{one.title} {chr(0x2193) if one.lower else ''}".strip()


def _against(one: Measure) -> list[str]:
    """The opponents, and by how much the model is better than the one that comes nearest."""
    if not one.opponents:
        return ["", ""]
    told = ", ".join(f"{name} {resampled[0]:.3f}" for name, resampled in one.opponents.items())
    return [
        told,
        _signed(min((one.better(resampled) for resampled in one.opponents.values()), key=lambda by: by.value)),
    ]


def _spread(number: Estimate) -> str:
    return f"{number.value:.3f} ({number.low:.3f} to {number.high:.3f})"


def _signed(number: Estimate) -> str:
    return f"{number.value:+.3f} ({number.low:+.3f} to {number.high:+.3f})"
