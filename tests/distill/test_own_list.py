"""A list of entities of one's own: what is asked, judged, kept apart and put by it. The paper's changes nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ecamp_fast.cli import main
from ecamp_fast.distill.audit import draw_sample
from ecamp_fast.distill.by_rules import RulesDistiller, distill_report
from ecamp_fast.distill.journal import Finished, journal_name, read_texts
from ecamp_fast.distill.reports import Report, read_reports, report_digest
from ecamp_fast.distill.runner import identity_of
from ecamp_fast.distill.table_s2 import TableS2Distiller
from ecamp_fast.errors import ConfigError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.format.manifest import DISTILLED
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.phantom import PhantomSource
from ecamp_fast.text.entity_file import read_entities
from ecamp_fast.text.reading.entities import DEFAULT, EntityList

OWN = "name\tforms\tadjectives\tplural\torgan\n" + "\n".join(
    ("effusion", "scoliosis\tspinal curvature\tscoliotic\tscolioses", "vertebra\t\t\tvertebrae\tyes", "hilar")
)
REPORT = "Mild spinal curvature, no effusion. Possible edema. Vertebrae are intact."
# What it says by the two lists
BY_OWN = "There is mild spinal curvature. There is no effusion. There are intact vertebrae."
BY_PAPER = "There is no effusion. There may be edema."
PAPER = (
    "883cd605a2fa4da111fd59fa55412b71fb45bf2e9cb4dd82bc15e4bfe4359777"  # digest of the 44, as sets of before have it
)


@pytest.fixture
def own(tmp_path: Path) -> EntityList:
    (tmp_path / "own.tsv").write_text(OWN)
    return read_entities(tmp_path / "own.tsv")


def names(distiller: TableS2Distiller, report: str = REPORT) -> list[str]:
    tree = distiller.schema(report)
    assert tree
    return tree["properties"]["statements"]["items"]["properties"]["entity"]["enum"]


def test_it_is_asked_for_and_judged_by_the_list(own: EntityList) -> None:
    ours, paper = (TableS2Distiller(True, one) for one in (own, DEFAULT))
    assert names(ours) == ["scoliosis", "effusion", "vertebra"] and names(paper) == ["effusion", "edema"]
    assert "Entities: scoliosis, effusion, vertebra." in ours.messages(REPORT)[1]["content"]
    assert ours.messages("Lungs are clear.") == [] and ours.fallback(REPORT) == BY_OWN == distill_report(REPORT, own)
    plain = TableS2Distiller(False, own)
    assert plain.judge(REPORT, BY_OWN, "stop") == (BY_OWN, "") == RulesDistiller(own).judge(REPORT, BY_OWN, "stop")
    assert plain.judge(REPORT, "There is no effusion.", "stop").fault == "dropped"  # the curvature
    assert plain.judge(REPORT, BY_OWN.replace("is mild", "is no"), "stop").fault == "flipped"
    assert plain.judge(REPORT, BY_OWN.replace("is mild", "may be mild"), "stop").fault == "certainty"
    assert plain.judge(REPORT, BY_OWN.replace("mild", "severe"), "stop").fault == "invented"
    assert plain.judge("No effusion.", "There is no effusion. There is scoliosis.", "stop").fault == "hallucinated"
    assert (
        plain.judge(REPORT, "There is no effusion. There is mild scoliosis.", "stop").fault == ""
    )  # an organ may miss
    assert TableS2Distiller(False).judge(REPORT, BY_PAPER, "stop") == (BY_PAPER, "")


def test_a_structured_answer_is_told_in_the_words_of_the_list(own: EntityList) -> None:
    statements = [
        {"entity": "scoliosis", "state": "present", "adjectives": ["mild"]},
        {"entity": "effusion", "state": "absent", "adjectives": []},
        {"entity": "vertebra", "state": "present", "adjectives": []},  # there it is always
    ]
    answer = json.dumps({"statements": statements})
    verdict = TableS2Distiller(True, own).judge(REPORT, answer, "stop")
    assert verdict == ("There is mild spinal curvature. There is no effusion.", "")
    assert TableS2Distiller(True).judge(REPORT, answer, "stop").fault == "schema"
    scoliotic = "Scoliotic deformity. The hilar contours are normal."
    told = [
        {"entity": "scoliosis", "state": "present", "adjectives": []},
        {"entity": "hilar", "state": "present", "adjectives": ["normal"]},
    ]
    verdict = TableS2Distiller(True, own).judge(scoliotic, json.dumps({"statements": told}), "stop")
    assert verdict == ("There is scoliosis. There are normal hila.", "")


@pytest.mark.parametrize(
    ("report", "told", "stated"),
    [
        (
            "No interval change. Small effusion.",
            "There is no interval change. There is small effusion.",
            [("interval change", "absent"), ("effusion", "present", "small")],
        ),
        (
            "No prior surgery or effusion.",
            "There is no prior surgery. There is no effusion.",
            [("prior surgery", "absent"), ("effusion", "absent")],
        ),
        (
            "There is a line and tube. No effusion.",
            "There is line and tube. There is no effusion.",
            [("line and tube", "present"), ("effusion", "absent")],
        ),
        (
            "Mild bone and joint disease and small effusion.",
            "There is mild bone and joint disease. There is small effusion.",
            [("bone and joint disease", "present", "mild"), ("effusion", "present", "small")],
        ),
        ("Possible shift to the left.", "There may be shift to the left.", [("shift to the left", "possible")]),
        ("No evidence of trauma.", "There is no evidence of trauma.", [("evidence of trauma", "absent")]),
    ],
)
def test_words_of_a_mention_are_read_as_one(
    report: str, told: str, stated: list[tuple[str, ...]], tmp_path: Path
) -> None:
    names = "interval change;effusion;prior surgery;line and tube;bone and joint disease;shift to the left"
    (tmp_path / "long.tsv").write_text("\n".join(["name", *names.split(";"), "evidence of trauma"]))
    entities = read_entities(tmp_path / "long.tsv")
    assert distill_report(report, entities) == told
    assert TableS2Distiller(False, entities).judge(report, told, "stop") == (told, "")
    statements = [{"entity": name, "state": state, "adjectives": how} for name, state, *how in stated]
    answer = json.dumps({"statements": statements})
    assert TableS2Distiller(True, entities).judge(report, answer, "stop") == (told, "")


def test_answers_by_two_lists_never_mix(own: EntityList) -> None:
    """By the paper's list all is named as before, whether it is handed in or not."""
    assert DEFAULT.digest == PAPER
    for before, given, other in (
        (TableS2Distiller(True), TableS2Distiller(True, DEFAULT), TableS2Distiller(True, own)),
        (RulesDistiller(), RulesDistiller(DEFAULT), RulesDistiller(own)),
    ):
        assert before.identity == given.identity and before.identity["entities"] == PAPER
        assert set(before.identity) == {"prompt", "entities", "rules"}
        apart = {journal_name(identity_of("m", {"temperature": 0}, one)) for one in (before, given, other)}
        assert len(apart) == 2
    assert TableS2Distiller(True).identity["prompt"].startswith("b37b82ec")
    assert TableS2Distiller(False).identity["prompt"].startswith("0648c890")


def test_the_page_marks_by_the_list(own: EntityList) -> None:
    digest = report_digest(REPORT)
    (one,) = draw_sample([Report("a", "p", REPORT)], {digest: Finished(digest, BY_OWN, "model")}, own)
    assert (
        {name for _, name, _ in one.report_marks} == {name for _, name, _ in one.text_marks} == {*own.names} - {"hilar"}
    )
    assert one.rules == BY_OWN


# The commands


@pytest.fixture
def says(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def call(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main([*map(str, words)])
        out, err = capfd.readouterr()
        return int(left.value.code or 0), out + err

    return call


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text(f'study_id,image_path,report,patient_id\na,1.png,"{REPORT}",p\n')
    return tmp_path / "t.csv"


def test_a_table_by_a_list(table: Path, tmp_path: Path, own: EntityList, says) -> None:
    out, words = tmp_path / "answers", ("--entities", tmp_path / "own.tsv")
    code, text = says("distill", "run", table, out, "--rules")
    assert code == 0 and "also holds" not in text
    (first,) = out.glob("answers-*")
    code, text = says("distill", "run", table, out, "--rules", *words)
    assert code == 0 and "also holds" in text and first.name in text
    assert says("distill", "audit", table, out)[0] == says("distill", "audit", table, out, *words)[0] == 0
    texts = {next(iter(read_texts(path).values())): path for path in out.glob("answers-*")}
    assert texts.keys() == {BY_OWN, BY_PAPER}
    assert says("distill", "audit", table, texts[BY_OWN], *words)[0] == 0
    code, text = says("distill", "audit", table, texts[BY_OWN])
    assert code == 2 and own.digest[:12] in text and "another list of entities" in text
    code, text = says("distill", "export-sft", table, texts[BY_PAPER], tmp_path / "sft", *words)
    assert code == 2 and "another list of entities" in text
    code, text = says("distill", "export-sft", table, texts[BY_OWN], tmp_path / "sft", *words)
    assert code == 3 and "1 are the rules' own" in text and "--endpoint" in text
    (tmp_path / "bad.tsv").write_text("name\n!\n")
    assert says("distill", "run", table, out, "--rules", "--entities", tmp_path / "bad.tsv")[0] == 2


def test_a_set_is_read_by_its_own_list(tmp_path: Path, says) -> None:
    """`distill run` takes it from the set; answers by another list are not put."""
    (tmp_path / "own.yaml").write_text("effusion:\nheart:\n  organ: true\n")
    own = read_entities(tmp_path / "own.yaml")
    options = {"workers": 1, "vocab_size": 200}
    for name, entities in (("own", own), ("paper", DEFAULT)):
        build(PhantomSource(6, 3, 64), tmp_path / name, Options(**options, entities=entities))
        assert read_reports(str(tmp_path / name)).entities == entities
    code, text = says("distill", "run", tmp_path / "own", tmp_path / "a", "--rules", "--json")
    assert code == 0 and "2 entities of its own" in text
    assert (
        says("distill", "run", tmp_path / "own", tmp_path / "a", "--rules", "--entities", tmp_path / "own.yaml")[0] == 0
    )
    (file,) = (tmp_path / "a").glob("answers-*")
    code, text = says(
        "distill", "run", tmp_path / "paper", tmp_path / "b", "--rules", "--entities", tmp_path / "own.yaml"
    )
    assert code == 2 and "read by the paper's entities" in text and not (tmp_path / "b").exists()
    (tmp_path / "other.yaml").write_text("mass:\n")
    with pytest.raises(ConfigError, match="another list's entities"):
        read_reports(str(tmp_path / "own"), (), read_entities(tmp_path / "other.yaml"))

    assert says("shard", "put", tmp_path / "own", tmp_path / "new", "--distilled", file, "--workers", 1)[0] == 0
    found = ShardSet(tmp_path / "new")
    texts = [one.get(DISTILLED, b"").decode() for split in found.splits for one in found.samples(split, (DISTILLED,))]
    assert "heart" in " ".join(texts) and "edema" not in " ".join(texts).lower()
    code, text = says("shard", "put", tmp_path / "paper", tmp_path / "no", "--distilled", file, "--workers", 1)
    assert code == 2 and "another list of entities" in text and not (tmp_path / "no").exists()
