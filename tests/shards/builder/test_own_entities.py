"""Reports read for a list of one's own: it is in the manifest, and all that reads the set reads by it."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from ecamp_fast.commands.shard import command
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.builder.merge import merge
from ecamp_fast.shards.check.repair import repair
from ecamp_fast.shards.check.verify import verify
from ecamp_fast.shards.describe.rules import build_command
from ecamp_fast.shards.describe.stats import stats
from ecamp_fast.shards.format.manifest import DISTILLED, MANIFEST, TOKENS, read_manifest
from ecamp_fast.shards.format.tokens import unpack_tokens
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.text.codes import Mark, has
from ecamp_fast.text.reading.entities import DEFAULT, Entity, EntityList

OWN = EntityList([Entity("scoliosis"), Entity("stomach", organ=True)])
REPORTS = ["Mild scoliosis. Large effusion.", "No scoliosis.", "Normal stomach, small effusion.", "No effusion."] * 2
SMALL = {"workers": 1, "shard_size": 3, "vocab_size": 200, "holdout": 0.0}


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture
def source(table):
    return CsvSource(table([{"report": text} for text in REPORTS]))


@pytest.fixture
def own(source, tmp_path):
    build(source, tmp_path / "own", Options(**SMALL, entities=OWN))
    return tmp_path / "own"


def test_texts_and_marks_are_those_of_the_list(own, source, tmp_path):
    build(source, tmp_path / "paper", Options(**SMALL))
    texts = [sample[DISTILLED].decode() for sample in ShardSet(own).samples("train")]
    assert texts[:4] == ["There is mild scoliosis.", "There is no scoliosis.", "There is normal stomach.", ""]
    marked = [int(has(unpack_tokens(one[TOKENS])[0], Mark.ENTITY).any()) for one in ShardSet(own).samples("train")]
    assert marked == [1, 1, 1, 0] * 2
    paper = [sample[DISTILLED].decode() for sample in ShardSet(tmp_path / "paper").samples("train")]
    assert paper[:2] == ["There is large effusion.", ""]
    verify(own)


def test_the_manifest_holds_the_list_and_only_one_of_ones_own(own, source, tmp_path):
    build(source, tmp_path / "paper", Options(**SMALL))
    tree = json.loads((own / MANIFEST).read_bytes())
    assert tree["entities"] == [{"name": "scoliosis"}, {"name": "stomach", "organ": True}]
    assert tree["entities_digest"] == OWN.digest and read_manifest(own).entities == OWN
    assert "entities" not in (tmp_path / "paper" / MANIFEST).read_text()
    assert read_manifest(tmp_path / "paper").entities == DEFAULT
    assert "--entities ENTITIES" in build_command(read_manifest(own))


@pytest.mark.parametrize(
    "change",
    [
        {"entities": [{"name": "(a+)+"}]},
        {"entities": [{"name": "nodule"}]},
        {"entities_digest": "0"},
        {"entities": None},
    ],
)
def test_a_manifest_with_another_list_is_refused(own, change):
    raw = (own / MANIFEST).read_bytes()
    tree = json.loads(raw) | change
    del tree["sha256"]
    rest = json.dumps(tree).encode()[1:]
    (own / MANIFEST).write_bytes(b'{"sha256":"' + hashlib.sha256(rest).hexdigest().encode() + b'",' + rest)
    with pytest.raises(DataError, match="not a manifest"):
        read_manifest(own)


def test_flopsers_parts_and_repair_give_the_same_bytes(own, source, tmp_path):
    build(source, tmp_path / "two", Options(**SMALL | {"workers": 2}, entities=OWN))
    parts = [tmp_path / f"part{number}" for number in (1, 2)]
    for number, part in enumerate(parts, 1):
        build(source, part, Options(**SMALL, entities=OWN), part=(number, 2))
    merge(parts, tmp_path / "merged")
    damaged = shutil.copytree(own, tmp_path / "damaged")
    (damaged / "train-000001.tar").unlink()
    (damaged / "tokenizer.json").unlink()
    repair(source, damaged, workers=1)
    assert digests(own) == digests(tmp_path / "two") == digests(tmp_path / "merged") == digests(damaged)


def test_a_build_does_not_go_on_with_another_list(source, tmp_path, interrupted):
    interrupted(4, lambda: build(source, tmp_path / "set", Options(**SMALL)))
    said = []
    build(source, tmp_path / "set", Options(**SMALL, entities=OWN), said.append)
    assert "it had other entities: starting over" in said[0]
    parts = [tmp_path / f"part{number}" for number in (1, 2)]
    for number, (part, entities) in enumerate(zip(parts, (DEFAULT, OWN), strict=True), 1):
        build(source, part, Options(**SMALL, entities=entities), part=(number, 2))
    with pytest.raises((ConfigError, DataError), match="entities"):
        merge(parts, tmp_path / "merged")


def test_what_describes_a_set_reads_by_its_list(own, source, tmp_path):
    found = stats(own, threshold=0)
    assert found["descriptors"] == {"mild": {"count": 2, "denied": 0}, "normal": {"count": 2, "denied": 0}}
    assert found["imbalance"]["findings"]["other"] == 2  # the stomach is an organ
    file = tmp_path / "own.yaml"
    file.write_text("scoliosis:\nstomach: {organ: true}\n")
    words = ["annotate", "--from", "csv", str(source.folder / "reports.csv"), "--entities", str(file), "--json"]
    counted = json.loads(CliRunner().invoke(command, words, catch_exceptions=False).stdout)
    assert counted["entities"]["scoliosis"] == {"mentions": 4, "denied": 2, "doubted": 0}
    assert counted["without_entity"] == 2 and "effusion" not in counted["entities"]


def test_the_command_reads_a_file(own, source, tmp_path):
    file = tmp_path / "own.tsv"
    file.write_text("name\torgan\nstomach\tyes\nscoliosis\tno\n")
    words = [
        "build",
        "--from",
        "csv",
        str(source.folder / "reports.csv"),
        str(tmp_path / "set"),
        "--entities",
        str(file),
    ]
    words += ["--workers", "1", "--shard-size", "3", "--vocab-size", "200", "--holdout", "0"]
    done = CliRunner().invoke(command, [*words, "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["manifest"] == read_manifest(own).digest
    file.write_text("name\nno mass\n")
    error = CliRunner().invoke(command, words).exception
    assert isinstance(error, ConfigError) and "line 2" in str(error)


def test_evidence_and_training_read_by_the_list_of_the_set(own):
    torch = pytest.importorskip("torch")
    from ecamp_fast.evidence.entities import stated

    shards = ShardSet(own)
    labels = stated(shards, "train", [str(number) for number in range(8)], least=2)
    assert labels.entities == ["scoliosis"]
    assert torch.equal(labels.labels[:, 0], torch.tensor([True, False, False, False] * 2))
    assert np.array_equal(labels.rows, range(8))
