"""What was distilled comes into a set: `distill run`, then `shard put`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecamp_fast.cli import command
from ecamp_fast.distill.journal import read_texts
from ecamp_fast.errors import EcampError
from ecamp_fast.shards.builder.build import Options, build, build_phantoms
from ecamp_fast.shards.format.manifest import DISTILLED, REPORT
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.phantom import PhantomSource
from ecamp_fast.text.reading.rules import distill


def invoke(*words: object) -> str:
    done = CliRunner().invoke(command, [*map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("named", ["folder", "file"])
def test_answers_come_to_their_reports(tmp_path: Path, named: str) -> None:
    given, journal, out = tmp_path / "set", tmp_path / "answers", tmp_path / "out"
    build_phantoms(6, given, size=64, options=Options(workers=1, vocab_size=200))
    invoke("distill", "run", given, journal, "--rules")
    (file,) = journal.glob("answers-*.jsonl")
    invoke("shard", "put", given, out, "--distilled", journal if named == "folder" else file, "--workers", 1)
    options = ["--distilled", journal if named == "folder" else file, "--workers", 1, "--json"]
    for place, finished in ((out, True), (tmp_path / "other", False)):
        told = invoke("shard", "put", given, place, *options).splitlines()[-1]
        assert json.loads(told)["finished"] is finished
    found = ShardSet(out)
    samples = [one for split in found.splits for one in found.samples(split, (REPORT, DISTILLED))]
    assert len(samples) == found.manifest.counts["samples"] > 5
    assert [one.get(DISTILLED, b"").decode() for one in samples] == [distill(one[REPORT].decode()) for one in samples]
    assert found.manifest.source["put"][0]["distilled"] == (journal.name if named == "folder" else file.name)


def refused(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(command, [*map(str, words)])
    assert isinstance(done.exception, EcampError)
    return done.exception.exit_code, f"{done.exception} {done.exception.hint}"


def test_each_way_to_give_texts_names_the_other(tmp_path: Path) -> None:
    """By study, to a build; by sample or by report, to a finished set."""
    given, journal = tmp_path / "set", tmp_path / "answers"
    build_phantoms(4, given, size=64, options=Options(workers=1, vocab_size=200))
    invoke("distill", "run", given, journal, "--rules")
    by_study, by_key, source = (tmp_path / name for name in ("study.csv", "key.jsonl", "t.csv"))
    by_study.write_text('study_id,text\n1,"There is edema."\n')
    by_key.write_text('{"key": "a_1", "text": "There is edema."}\n')
    source.write_text("study_id,image_path,report,patient_id\na,1.png,Edema.,p\n")
    code, text = refused("shard", "put", given, tmp_path / "new", "--distilled", by_study)
    assert code == 3 and "shard build --distilled" in text
    for path in (journal, next(journal.glob("answers-*")), by_key):
        code, text = refused("shard", "build", "--from", "csv", source, tmp_path / "new", "--distilled", path)
        assert code == 3 and "ecamp-fast shard put SET OUT --distilled" in text and "edema" not in text.lower()


def test_answers_about_other_reports_are_named_as_such(tmp_path: Path) -> None:
    given, other, journal = tmp_path / "set", tmp_path / "other", tmp_path / "answers"
    build_phantoms(4, given, size=64, options=Options(workers=1, vocab_size=200))
    build(PhantomSource(5, 99, 64), other, Options(workers=1, vocab_size=200))
    invoke("distill", "run", other, journal, "--rules")
    code, text = refused("shard", "put", given, tmp_path / "new", "--distilled", journal)
    key = next(iter(ShardSet(given).manifest.shards[0].keys))
    assert (
        code == 3 and f"none of its {len(read_texts(journal))} texts is of a report of {given}" in text and key in text
    )


def test_what_was_put_is_told_once(tmp_path: Path) -> None:
    given, journal = tmp_path / "set", tmp_path / "answers"
    build_phantoms(4, given, size=64, options=Options(workers=1, vocab_size=200))
    invoke("distill", "run", given, journal, "--rules")
    told = invoke("shard", "put", given, tmp_path / "new", "--distilled", journal, "--workers", 1)
    assert told.count("distilled text") == 1, told
    assert "put into a finished set" in (tmp_path / "new" / "MANIFEST.json").read_text()
