"""Whether an answer says what the report says: garbage by name, then entities, denials, doubts and words.

What is asked of an answer:

* each entity that it mentions is in the report, in the state that it gives: present, possible, absent;
* each finding of the report is stated, with the strongest of its states: where a report says that there is an effusion
  and, on the other side, none, the first may not be missing. Findings are those that the rules would state.
  Organs, which are there always, may be missing, and a denial of "tb", which the paper's own answer leaves out;
* each word that it says of an entity stands in a sentence of the report about that entity, is not denied there, and is
  not at odds with the side, the degree or the condition that the rules read.

Reading is by the rules' own eyes. Where these err, a good answer is refused and at last the rules' text taken, or a bad
one that makes the same error passes.
"""

from collections.abc import Iterator

from ecamp_fast.distill.answers import OURS, Item, UnreadableAnswer, read_json, read_text
from ecamp_fast.distill.distiller import Verdict
from ecamp_fast.distill.garbage import garbage
from ecamp_fast.distill.source import STRENGTH, ReportReading, State
from ecamp_fast.distill.vocabulary import exclude, limits_of, stands

GARBAGE = (
    *("empty", "control", "truncated", "refusal", "fenced", "json", "schema", "echo", "loop", "language", "long"),
    "prose",
)
UNFAITHFUL = ("other", "hallucinated", "flipped", "certainty", "invented", "dropped")


def judge(source: ReportReading, answer: str, finish: str, structured: bool = False) -> Verdict:
    """Whether an answer about a report is taken; its fault is one of ``GARBAGE`` or of ``UNFAITHFUL``.

    finish: why the server says that it ended ("stop", "length", ...)   structured: whether JSON was asked for
    """
    if fault := garbage(source, answer, finish, structured):
        return Verdict("", fault)
    try:
        items = read_json(answer, source) if structured else read_text(answer, source.known)
    except UnreadableAnswer as unreadable:
        return Verdict("", unreadable.fault)
    if fault := unfaithful(source, items):
        return Verdict("", fault)
    return Verdict(" ".join(item.text for item in _each_once(items)), "")


def unfaithful(source: ReportReading, items: list[Item]) -> str:
    """How the items of an answer are not what the report says; '' where they are."""
    faults = [fault for item in items for fault in _faults(source, item)]
    wrong = [fault for fault in faults if fault != "invented"]
    if len(wrong) > 1 and 2 * len(wrong) > len(items):
        return "other"  # so much is wrong that it is the answer to another report
    faults += _dropped(source, items)
    return min(faults, key=UNFAITHFUL.index, default="")


def _faults(source: ReportReading, item: Item) -> Iterator[str]:
    """What is wrong with an item, the worst alone."""
    states = source.states.get(item.entity, frozenset())
    if not states or not source.states.keys() >= item.others:
        yield "hallucinated"
    elif item.state not in states:
        yield "flipped" if State.ABSENT in (item.state, *states) else "certainty"
    elif item.state is not State.ABSENT and any(
        source.states[other] == {State.ABSENT} for other in item.others if other not in source.known.organs
    ):
        yield "flipped"  # "calcified nodule" of a nodule without calcification
    elif not _stands(source, item):
        yield "invented"


def _stands(source: ReportReading, item: Item) -> bool:
    """Whether the words of an item stand in the report, and may be said of this entity."""
    stated = source.of(item.entity, item.state)
    words = frozenset().union(*(one.words if item.state is State.ABSENT else one.held for one in stated))
    near = frozenset().union(*(one.near for one in stated))
    if not near >= item.others or not all(word in OURS or stands(word, words) for word in item.words):
        return False
    limits = limits_of(item.words, item.entity in source.known.organs)
    return any(not exclude(limits, one.limits) for one in stated)


def _dropped(source: ReportReading, items: list[Item]) -> Iterator[str]:
    told: dict[str, State] = {}
    for item in items:
        told[item.entity] = min(item.state, told.get(item.entity, item.state), key=STRENGTH.index)
    for finding, state in source.required.items():
        # a finding that only describes another is told with it: "calcified granuloma"
        beside = state is not State.ABSENT and any(
            finding in item.others and item.state is not State.ABSENT for item in items
        )
        beside = beside or any(finding in item.others and item.state is state for item in items)
        if not beside and (finding not in told or STRENGTH.index(told[finding]) > STRENGTH.index(state)):
            yield "dropped"


def _each_once(items: list[Item]) -> list[Item]:
    """The items without those that say no more than another of the same entity in the same state, in order."""
    kept: dict[str, Item] = {}
    for item in items:
        kept.setdefault(item.text, item)
    told = [(item, set(item.text[:-1].lower().split())) for item in kept.values()]
    return [
        item
        for item, words in told
        if not any(
            other.entity == item.entity and other.state is item.state and words < more
            for other, more in told
            if item.state is not State.ABSENT
        )
    ]
