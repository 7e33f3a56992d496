"""What was distilled comes into a set: `distill run`, then `shard put`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from ecamp_fast.cli import command
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.format.manifest import DISTILLED, REPORT
from ecamp_fast.shards.load.read import ShardSet
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
    found = ShardSet(out)
    samples = [one for split in found.splits for one in found.samples(split, (REPORT, DISTILLED))]
    assert len(samples) == found.manifest.counts["samples"] > 5
    assert [one.get(DISTILLED, b"").decode() for one in samples] == [distill(one[REPORT].decode()) for one in samples]
    assert found.manifest.source["put"][0]["distilled"] == (journal.name if named == "folder" else file.name)
