"""Parts of a build, joined, are the set that one build makes, byte for byte."""

import hashlib
import os
import shutil

import pytest

from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder import merge as module
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.builder.journal import JOURNAL
from ecamp_fast.shards.builder.merge import merge
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.phantom import PhantomSource

SMALL = Options(workers=1, shard_size=3, vocab_size=200)


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def part(folder, number, of, options=SMALL, studies=10):
    out = folder / f"part{number}"
    build(PhantomSource(studies, 42, 64), out, options, part=(number, of))
    return out


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return [part(folder, number, 3) for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "set"
    build(PhantomSource(10, 42, 64), out, SMALL)
    return digests(out)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_order_of_parts_does_not_matter(parts, expected, tmp_path, order):
    report = merge([parts[number] for number in order], tmp_path / "set")
    assert digests(tmp_path / "set") == expected and report.manifest.counts["samples"] == 10
    assert os.listdir(tmp_path) == ["set"]


def test_more_parts_than_shards(tmp_path, expected):
    many = [part(tmp_path, number, 7) for number in range(1, 8)]
    merge(many, tmp_path / "set")
    assert digests(tmp_path / "set") == expected


def test_without_links_shards_are_copied(parts, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    merge(parts, tmp_path / "set")
    assert digests(tmp_path / "set") == expected


def test_the_budget_holds_for_all_parts_together(table, tmp_path):
    source = CsvSource(table([{} for _ in range(8)]))
    for name in ("s1.jpg", "s6.jpg"):
        (source.folder / name).write_bytes(b"")
    built = {}
    for budget in (0.125, 0.25):
        options = Options(workers=1, shard_size=3, vocab_size=200, reject_budget=budget)
        built[budget] = [tmp_path / f"{budget}-{number}" for number in (1, 2)]
        for number, out in enumerate(built[budget], 1):
            build(source, out, options, part=(number, 2))
    with pytest.raises(DataError, match="2 of 8 rows left out, 1 may be: --reject-budget"):
        merge(built[0.125], tmp_path / "set")
    report = merge(built[0.25], tmp_path / "set")
    build(source, tmp_path / "whole", Options(workers=1, shard_size=3, vocab_size=200, reject_budget=0.25))
    assert digests(tmp_path / "set") == digests(tmp_path / "whole")
    assert len(report.manifest.quarantined) == 2 and report.manifest.counts["samples"] == 6


def test_parts_that_are_not_one_whole_are_refused(parts, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="part 2/3 is missing"):
        merge([parts[0], parts[2]], tmp_path / "set")
    with pytest.raises(ConfigError, match="name each once"):
        merge([*parts, parts[0]], tmp_path / "set")
    with pytest.raises(ConfigError, match="not parts of one build: they differ in tokenizer_digest, vocab_size"):
        merge([*parts[:2], part(tmp_path, 3, 3, Options(workers=1, shard_size=3, vocab_size=201))], tmp_path / "set")
    monkeypatch.setattr("ecamp_fast.shards.builder.plan.RULES_DIGEST", "of other rules")
    with pytest.raises(ConfigError, match="they differ in rules_digest"):
        merge([*parts[:2], part(tmp_path / "other", 3, 3)], tmp_path / "set")
    with pytest.raises(DataError, match="no finished part"):
        merge([*parts[:2], tmp_path], tmp_path / "set")
    assert not (tmp_path / "set").exists() and not (tmp_path / "set.building").exists()


def test_a_set_that_exists_is_found_before_the_parts_are_read(parts, tmp_path, monkeypatch):
    (tmp_path / "set").write_text("mine")
    monkeypatch.setattr(module, "intact", lambda *_: pytest.fail("read the shards"))
    with pytest.raises(ConfigError, match="exists already"):
        merge(parts, tmp_path / "set")


def test_checking_shards_is_progress(parts, tmp_path):
    ticks = []
    merge(parts, tmp_path / "set", lambda done, total: ticks.append((done, total)))
    assert ticks == [(number, 4) for number in range(1, 5)]


@pytest.mark.parametrize("victim", ["shard", "journal"])
def test_a_damaged_part_is_refused(parts, tmp_path, victim):
    broken = shutil.copytree(parts[0], tmp_path / "broken")
    path = next(broken.glob("*.tar")) if victim == "shard" else next((broken / JOURNAL).glob("train*"))
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(DataError, match="damaged"):
        merge([broken, *parts[1:]], tmp_path / "set")


def test_a_part_goes_on_after_a_fault_and_no_part_takes_anothers_work(tmp_path, expected, interrupted):
    interrupted(4, lambda: part(tmp_path, 1, 2))
    lines = []
    report = build(PhantomSource(10, 42, 64), tmp_path / "part1", SMALL, lines.append, part=(1, 2))
    assert report.resumed == 3
    merge([tmp_path / "part1", part(tmp_path, 2, 2)], tmp_path / "set")
    assert digests(tmp_path / "set") == expected
