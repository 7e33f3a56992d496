"""What holds of every distilled sentence, whatever the report: template, number, own words, no cue, none invented."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecamp_fast.text.reading import modifiers
from ecamp_fast.text.reading.annotate import describe
from ecamp_fast.text.reading.doubt import Doubts
from ecamp_fast.text.reading.entities import ANATOMY, find_mentions
from ecamp_fast.text.reading.modifiers import Kind, kind
from ecamp_fast.text.reading.nouns import NOMINAL, degree, is_plural, singular
from ecamp_fast.text.reading.rules import distill
from ecamp_fast.text.reading.sentences import sentence_spans
from ecamp_fast.text.reading.words import word_spans

CUES = """
no not nor without w/o nil neg negative none absent absence lack free resolved resolution cleared clearing denies
never neither ruled rule excluded exclude r/o s/o s/p h/o c/w d/t can't cannot unable query question questionable
possible possibly probable probably likely unlikely may might could suspected suspicion presumed versus vs if suggest
suggests suggesting suggestive represent represents representing reflect consistent compatible concerning worrisome
leaving showing showed obscuring causing demonstrated developing resolving removed status post history prior previous
previously unchanged stable however but although except which who that there is are was were has have and/or
"""
ENTITIES = """
effusion effusions edema mass masses aorta aortic silhouette hilar hila opacity opacities nodule nodular hyperinflated
calcified granuloma dilated obscures obscured hemidiaphragm contours perihilar fracture fractured catheter collapsed
consolidation thickening pneumothoraces aerated vasculature cardiomegaly
"""
OTHERS = """
the a of in on at and or to with left right bilateral bilaterally mild mildly small large very normal tortuous enlarged
prominent elevated non-displaced ill-defined left-sided non-segmental ill defined non shaped appearing 5th 6th T12 1.5
5mm xxxx lobe base rib ribs lung lungs heart upper lower elevation changes disease areas amount area of within limits
rll lul b/l lingula retro-cardiac recently-healed left-base likely-acute trace moderate
seen noted remains appear greater than multiple two new acute hernia repair size tip stripe , . ; : - ( ) there this
"""
REPORTS = st.lists(st.sampled_from(CUES.split() + 3 * ENTITIES.split() + 2 * OTHERS.split()), max_size=25).map(
    lambda words: re.sub(r" (?=[,.;:])", "", " ".join(words))
)
TEMPLATE = re.compile(r"There (?:(is|are)( no)?|may be) ([^.;:,()]+)\.")
TEMPLATE_WORDS = {"of", "in", "the", "normal", "bilateral"}


def sentences(text: str) -> list[str]:
    return [text[start:end].strip() for start, end in sentence_spans(text) if text[start:end].strip()]


def words(text: str) -> list[str]:
    return [text[start:end].lower() for start, end in word_spans(text)]


def noun(said: str) -> str:
    """The noun of a sentence: the last word before "of the left ..." or "in the ..." that is not part of a place."""
    place = re.search(r" (?:of|in|on|at|within|over|near)(?= )", said)
    return words(said[: place.start()] if place else said)[-1]


@settings(max_examples=300, deadline=None)
@given(REPORTS)
def test_every_sentence_keeps_to_the_template(report: str) -> None:
    for sentence in sentences(distill(report)):
        match = TEMPLATE.fullmatch(sentence)
        assert match, sentence
        if match[1]:
            assert (match[1] == "are") == is_plural(noun(match[3])), sentence


@settings(max_examples=300, deadline=None)
@given(REPORTS)
def test_one_entity_a_sentence_said_as_the_report_says_it(report: str) -> None:
    source = describe(report)
    doubted, certain = set(), set()
    for span in sentence_spans(report):
        doubts = Doubts(report, span)
        inside = [one.mention for one in source if span[0] <= one.mention.start < span[1]]
        doubted |= {mention.entity for mention in inside if doubts.cover(mention)}
        certain |= {mention.entity for mention in inside if not doubts.cover(mention)}
    for sentence in sentences(distill(report)):
        found = describe(sentence)
        assert found, sentence
        for one in found:
            assert (one.mention.entity, one.denied) in {(each.mention.entity, each.denied) for each in source}, sentence
        for one, following in pairwise(found):
            assert re.fullmatch(r"[\s-]?", sentence[one.mention.end : following.mention.start]), sentence
        entities = {one.mention.entity for one in found}
        if sentence.startswith("There may be"):
            assert entities & doubted, sentence
        elif not found[-1].denied and not entities & ANATOMY:
            assert entities & certain, sentence


@settings(max_examples=300, deadline=None)
@given(REPORTS)
def test_words_are_the_reports_and_none_of_a_cue(report: str) -> None:
    own = set(words(report))
    own |= {singular(word) for word in own} | {degree(word) for word in own} | set(NOMINAL.values()) | TEMPLATE_WORDS
    for sentence in sentences(distill(report)):
        match = TEMPLATE.fullmatch(sentence)
        assert match, sentence
        said = words(match[3])
        assert own.issuperset(said), sentence
        assert not set(CUES.split()).intersection(said), sentence


@pytest.mark.parametrize("prefix", ["non-", "non ", "non- ", "ill-", "ill ", "ill- ", "poorly ", "poorly-", "not "])
@pytest.mark.parametrize("adjective", ["displaced", "defined", "segmental", "marginated", "depressed", "loculated"])
@pytest.mark.parametrize("report", ["A {} left fracture.", "{} opacity in the left base.", "Mild {}, large mass."])
def test_no_adjective_becomes_its_opposite(prefix: str, adjective: str, report: str) -> None:
    """ "Non-displaced" and "ill defined" are kept whole, or left out whole."""
    text = distill(report.format(prefix + adjective)).lower()
    assert text
    assert adjective not in text.replace(prefix + adjective, ""), text


@pytest.mark.parametrize("cue", sorted(set(CUES.split())))
@pytest.mark.parametrize(
    "report", ["{} effusion.", "{} small effusion.", "Edema {} large left effusion.", "{}: effusion."]
)
def test_no_cue_is_an_adjective(cue: str, report: str) -> None:
    text = distill(report.format(cue))
    assert cue not in words(text.replace("There is no", "").replace("There is", "").replace("There may be", "")), text


def table_words() -> list[str]:
    """Every word of the tables of modifiers."""
    tables = [
        table for name, table in vars(modifiers).items() if isinstance(table, frozenset) and name.strip("_").isupper()
    ]
    return sorted(set().union(*tables))


def test_what_stands_in_a_table_is_no_cue_and_no_entity() -> None:
    kept = [word for word in table_words() if kind(word) not in (Kind.PASSED, Kind.END) and word != "non"]
    assert len(kept) > 500
    for word in kept:
        assert word not in CUES.split() and not find_mentions(word), word
        sentence = f"There is {word} effusion."
        (one,) = describe(sentence)
        assert not one.denied and not Doubts(sentence, (0, len(sentence))).cover(one.mention), word


@pytest.mark.parametrize(("entity", "nominal"), NOMINAL.items())
def test_a_noun_mentions_its_entity(entity: str, nominal: str) -> None:
    assert [mention.entity for mention in find_mentions(nominal)] == [entity]
    assert not is_plural(nominal)


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("effusions", "effusion"),
        ("masses", "mass"),
        ("abscesses", "abscess"),
        ("opacities", "opacity"),
        ("pneumothoraces", "pneumothorax"),
        ("pneumothoraxes", "pneumothorax"),
        ("atelectases", "atelectasis"),
        ("granulomata", "granuloma"),
        ("emboli", "embolus"),
        ("hila", "hilum"),
        ("silhouettes", "silhouette"),
        ("hernias", "hernia"),
        ("picc lines", "picc line"),
        ("diseases", "disease"),
        ("processes", "process"),
        ("branches", "branch"),
    ],
)
def test_number(plural: str, one: str) -> None:
    assert is_plural(plural) and singular(plural) == one
    assert not is_plural(one) and singular(one) == one


@pytest.mark.parametrize(
    "part",
    [
        "and small ",
        "small, ",
        "aorta, ",
        "aorta and ",
        "area of ",
        "left and ",
        "5th, ",
        "effusion of the lung of ",
        "very ",
    ],
)
def test_a_long_sentence_takes_no_longer_per_word(part: str) -> None:
    """Neither the stack nor the time grows with what came before: 40 times the words are read within seconds."""
    assert distill(20000 // len(part) * part + "effusion in the left and right lung.").endswith(".")
