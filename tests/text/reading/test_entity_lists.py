"""A list of one's own: the paper's findings under other names are read as they are, whatever is asked of a text."""

import csv
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from ecamp_fast.errors import ConfigError
from ecamp_fast.phantom import describe as phantom
from ecamp_fast.text.codes import Mark, has
from ecamp_fast.text.entity_file import parse_entities, read_entities
from ecamp_fast.text.reading.annotate import Annotator, describe
from ecamp_fast.text.reading.doubt import Doubts
from ecamp_fast.text.reading.entities import ANATOMY, DEFAULT, FORMS, PIECES, Entity, EntityList, find_mentions
from ecamp_fast.text.reading.rules import distill
from ecamp_fast.text.reading.sentences import sentence_spans
from ecamp_fast.text.statements import finding_of, read_statements
from ecamp_fast.text.wordpiece import train_wordpiece

# Word of the paper's list -> one that nobody has heard of, which ends alike
OTHERS = {
    "effusions": "zorbions",
    "effusion": "zorbion",
    "atelectasis": "melictasis",
    "atelectases": "melictases",
    "atelectatic": "melictatic",
    "hemidiaphragms": "gizzards",
    "hemidiaphragm": "gizzard",
    "pneumothoraces": "snarks",
    "pneumothorax": "snark",
}
RENAMED = [
    Entity("zorbion"),
    Entity("melictasis", adjectives=("melictatic",)),
    Entity("gizzard", organ=True),
    Entity("snark"),
]
BACK = {"zorbion": "effusion", "melictasis": "atelectasis", "gizzard": "hemidiaphragm", "snark": "pneumothorax"}
OWN = EntityList([*(one for one in DEFAULT if one.name not in BACK.values()), *RENAMED])
_WORD = re.compile(rf"\b(?:{'|'.join(sorted(OTHERS, key=len, reverse=True))})\b", re.IGNORECASE)


def renamed(text: str) -> str:
    return _WORD.sub(lambda found: OTHERS[found[0].lower()], text)


def texts() -> list[str]:
    """Labelled sentences, and reports of phantoms, that name one of these."""
    with open(Path(__file__).with_name("sentences.tsv"), newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file, delimiter="\t") for cell in row if " " in cell]
    cells += [phantom(0, number).report for number in range(60)]
    plain = [re.sub(r"\b(?:hydro|hemi-|hydropneumo)\w*", "", cell) if "hydropneumo" in cell else cell for cell in cells]
    return [text for text in plain if _WORD.search(text)]


def test_findings_under_other_names_are_read_alike() -> None:
    told = 0
    for text in texts():
        other = renamed(text)
        here, there = describe(text), describe(other, OWN)
        assert [BACK.get(one.mention.entity, one.mention.entity) for one in there] == [o.mention.entity for o in here]
        assert [(one.denied, one.denied_by_phrase) for one in there] == [(o.denied, o.denied_by_phrase) for o in here]
        assert [[other[slice(*s)] for s in o.words] for o in there] == [
            [renamed(text[slice(*s)]) for s in o.words] for o in here
        ]
        assert distill(other, OWN) == renamed(distill(text)), other
        for (start, end), (first, last) in zip(sentence_spans(text), sentence_spans(other, OWN), strict=True):
            ours, theirs = Doubts(text, (start, end)), Doubts(other, (first, last), OWN)
            mine = [ours.cover(one.mention) for one in here if start <= one.mention.start < end]
            assert [theirs.cover(o.mention) for o in there if first <= o.mention.start < last] == mine
        told += bool(distill(text))
    assert told > 50


def test_the_list_of_the_paper_is_the_default() -> None:
    assert set(DEFAULT.names) == set(FORMS) and DEFAULT.organs == ANATOMY and DEFAULT.pieces == PIECES
    assert parse_entities(None) == parse_entities(DEFAULT.tree()) == DEFAULT != OWN
    assert len(DEFAULT) == 44
    again = pickle.loads(pickle.dumps(OWN))
    assert again == OWN and hash(again) == hash(OWN) and again.digest == OWN.digest
    text = renamed("No effusions. Atelectatic left base, pneumothorax.")
    assert describe(text, again) == describe(text, OWN)
    assert EntityList(reversed(list(OWN))) == OWN  # in any order


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Mild scoliosis of the thoracic spine.", "There is mild scoliosis of the thoracic spine."),
        ("The spine is mildly scoliotic.", "There is mild scoliosis of the spine."),
        ("No pacemakers. No NG tubes.", "There is no pacemaker. There is no ng tube."),
        ("Intact sternal wires.", "There are intact sternal wires."),
        ("No sternal wires.", "There are no sternal wires."),
        ("Possible right apical scarring.", "There may be right apical scarring."),
        ("Apical scarring pattern.", "There is apical scarring."),
        ("Left scoliotic changes.", "There are left scoliotic changes."),
        ("Old scar in the left apex\nScoliosis", "There is old scar in the left apex. There is scoliosis."),
        ("Portacath in place, another port-a cath.", "There is portacath."),
        ("Bilateral lenses. There is no lens.", "There are bilateral lenses. There is no lens."),
        ("The stomach is normal. No stomach.", "There is normal stomach."),
        (
            "Heart failure exacerbation, no heart failure.",
            "There is heart failure exacerbation. There is no heart failure.",
        ),
        ("Non-scoliotic spine, subscarring, scarringly. Effusion.", ""),
    ],
)
def test_what_the_rules_say_of_other_names(text: str, told: str) -> None:
    entities = EntityList(
        [
            Entity("scoliosis", adjectives=("scoliotic",)),
            Entity("pacemaker", ("pulse generator",)),
            Entity("nasogastric tube", ("ng tube",)),
            Entity("sternal wires", plural="sternal wires"),
            Entity("scarring", ("scar",)),
            Entity("port-a-cath"),
            Entity("lens"),
            Entity("stomach", organ=True),
            Entity("heart failure exacerbation"),
            Entity("chf"),
        ]
    )
    assert distill(text, entities) == told


def test_the_longest_mention_wins_whichever_list_it_is_of() -> None:
    entities = EntityList(
        [Entity("heart", organ=True), Entity("chf"), Entity("heart failure crisis"), Entity("failure")]
    )
    found = find_mentions("heart failure crisis, heart failure, heart, failure, hearts", entities)
    assert [one.entity for one in found] == ["heart failure crisis", "chf", "heart", "failure", "heart"]


def test_what_is_written_in_several_ways_and_whose_plural_it_is() -> None:
    entities = EntityList([Entity("port a cath", ("portacath",)), Entity("bra"), Entity("bras", ("t-tube",))])
    found = find_mentions("portacaths, PORT-A-CATH, port a cath; bras; Ttubes, t tube, t  tube, ports a cath", entities)
    assert [one.entity for one in found] == ["port a cath"] * 3 + ["bras"] * 3
    assert find_mentions("the lınes", EntityList([Entity("lines")]))[0].entity == "lines"  # a dotless i


def test_statements_of_other_names() -> None:
    assert finding_of("large left zorbion", OWN) == "zorbion" and finding_of("large left zorbion") is None
    assert finding_of("raised gizzard", OWN) is None
    assert read_statements("There is no large snark.", 9, OWN).poles == (("There is no snark.", "There is snark."),)
    verb = EntityList([Entity("obscure", ("haze",))])  # a noun here, whatever it is in the paper's list
    assert finding_of("an obscure", verb) == "obscure" and finding_of("obscures it") == "obscuration"


def test_marks_and_pieces_are_those_of_the_list() -> None:
    text = "there is no large zorbion . gizzard and effusion"
    wordpiece = train_wordpiece([text] * 20, 120)
    codes = Annotator(wordpiece, OWN).codes(text)
    pieces = wordpiece.decode(codes & 0xFFFFF)
    named = {piece for piece, one in zip(pieces, has(codes, Mark.ENTITY), strict=True) if one}
    assert "effusion" not in named and {"zorbion", "gizzard"} <= named | {"".join(pieces)}
    assert OWN.pieces >= {"zorbion", "gizzard", "copd"} and "effusion" not in OWN.pieces
    assert EntityList([Entity("ng tube"), Entity("port-a-cath"), Entity("lens")]).pieces == {"lens"}
    assert np.array_equal(has(codes, Mark.PIECE_ENTITY), [piece in OWN.pieces for piece in pieces])


YAML = """
# what our hospital looks for
Scoliosis: {adjectives: [scoliotic]}
pacemaker: [pulse  generator]
sternal wires: {plural: sternal wires}
stomach: {organ: true}
aorta:
effusion:
"""
TSV = "name\tforms\tadjectives\tplural\torgan\n" + "\n".join(
    (
        "scoliosis\t\tscoliotic\t\t",
        "Pacemaker\tpulse generator ; ",
        "",
        "sternal wires\t\t\tsternal wires",
        "stomach\t\t\t\tyes",
        "aorta",
        "effusion",
    )
)


def test_files_of_both_kinds_hold_the_same_list(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(YAML)
    (tmp_path / "a.tsv").write_bytes(TSV.replace("\n", "\r\n").encode("utf-8-sig"))
    one, other = read_entities(tmp_path / "a.yaml"), read_entities(tmp_path / "a.tsv")
    assert one == other == parse_entities(one.tree())
    assert one.organs == {"stomach", "aorta"} and len(one) == 6
    assert find_mentions("AORTIC, pulse generators, effusions", one)[-1].entity == "effusion"
    (tmp_path / "paper.yaml").write_text("".join(f"{name}:\n" for name in FORMS))
    assert read_entities(tmp_path / "paper.yaml") == DEFAULT


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("''", 1, "empty name or form"),
        ("ab: ['']", 1, "empty name or form"),
        ("ab:\nab:", 2, "key 'ab' appears twice"),
        ("ab:\nAB:", 2, "'ab' comes twice, first in line 1"),
        ("ab: [cd, cd]", 1, "a form of 'ab' comes twice"),
        ("ab: [cd]\nef: [c-d]", 2, "'c-d' is a form of 'ab' too, line 1"),
        ("ab:\ncd: {plural: ab}", 2, "'ab' is a form of 'ab' too, line 1"),
        ("effusion:\nfluid: [effusions]", 2, "'effusions' is a form of the paper's 'effusion' too, line 1"),
        (f"ab: [{'c' * 61}]", 1, "more than 60 characters"),
        ("ab: [a b c d e f g]", 1, "6 words"),
        ("ab: ['(a+)+b']", 1, "words of letters and digits"),
        ("ab: [a.*]", 1, "words of letters and digits"),
        ("ab: [c]", 1, "two letters at least"),
        ("'12':", 1, "two letters at least"),
        ("ab:\nis seen:", 2, "names nothing"),
        ("ab: [no cd]", 1, "deny or doubt"),
        ("possible cd:", 1, "deny or doubt"),
        ("cd is absent:", 1, "deny or doubt"),
        ("ab: 3", 1, "write nothing behind a name"),
        ("ab: {colour: red}", 1, "write nothing behind a name"),
        ("ab: {organ: maybe}", 1, "organ is true or false"),
        ("ab: {forms: cd}", 1, "lists of words"),
        ("ab: [1]", 1, "lists of words"),
    ],
)
def test_a_line_at_fault_is_named(text: str, line: int, what: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{text}:\n" if text == "''" else f"{text}\n")
    with pytest.raises(ConfigError, match=rf"line \d: .*{re.escape(what)}") as error:
        read_entities(tmp_path / "a.yaml")
    assert f"line {line}: " in str(error.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "header of a table"),
        ("entity\tforms\nab\t", "header of a table"),
        ("name\nab\tcd", "line 2: too many cells"),
        ("name\torgan\nab\tperhaps", "line 2: organ is yes or no"),
        ("name\tforms\n\tab", "line 2: an empty name"),
        ("name\n", "no entity"),
        ("name\n" + "\n".join(f"name {n:04d}x" for n in range(1001)), "line 1002: more than 1,000 entities"),
        ("name\n" + "a" * 2**20, "larger than"),
    ],
)
def test_a_table_at_fault(text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(ConfigError, match=what):
        read_entities(tmp_path / "a.tsv")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_entities(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "tree",
    [
        [],
        {},
        [1],
        [{}],
        [{"name": 1}],
        [{"name": "a.*"}],
        [{"name": "ab", "forms": "cd"}],
        [{"name": "ab", "forms": [1]}],
        [{"name": "ab", "organ": 1}],
        [{"name": "ab", "other": 1}],
        [{"name": "ab"}, {"name": "ab"}],
    ],
)
def test_a_tree_that_is_no_list(tree: object) -> None:
    with pytest.raises(ValueError, match=r"entit|comes twice|form"):
        parse_entities(tree)
