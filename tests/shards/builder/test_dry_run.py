"""A dry run says what a build would make and cost, by packing some samples; it writes nothing."""

import os

import pytest

from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder import dry_run
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.builder.dry_run import preview
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.phantom import PhantomSource

SMALL = Options(workers=1, shard_size=50, vocab_size=300)


@pytest.mark.parametrize("studies", [1, 3, 90])
def test_bytes_are_about_those_of_the_build(tmp_path, studies, monkeypatch):
    monkeypatch.setattr(dry_run, "_SECONDS", 100.0)  # a busy machine would measure fewer
    source = PhantomSource(studies, 42, 64)
    planned = preview(source, SMALL if studies > 1 else Options(workers=1, holdout=0, vocab_size=300))
    report = build(source, tmp_path / "set", SMALL)
    size = sum(int(c.size[c.size > 0].sum()) for shard in report.manifest.shards for c in shard.members.values())
    assert planned["samples"] == studies and planned["shards"] == len(report.manifest.shards)
    stored = sum(shard.bytes for shard in report.manifest.shards)
    assert size < planned["forecast"]["bytes"] < 1.15 * stored
    assert planned["forecast"]["measured_on"] == min(studies, 64) and planned["forecast"]["minutes"] >= 0


def test_samples_come_from_all_parts_of_the_set_even_if_time_is_short(monkeypatch):
    seen = []
    monkeypatch.setattr(dry_run, "_SECONDS", -1.0)
    load = PhantomSource.load
    monkeypatch.setattr(
        PhantomSource, "load", lambda self, record, short: seen.append(record.row) or load(self, record, short)
    )
    assert preview(PhantomSource(90, 42, 64), SMALL)["forecast"]["measured_on"] == 1
    monkeypatch.setattr(dry_run, "_SECONDS", 100.0)
    seen.clear()
    preview(PhantomSource(90, 42, 64), SMALL)
    assert len(set(seen)) == 64 and max(seen[:9]) - min(seen[:9]) > 60


def test_of_a_part_the_part_is_forecast():
    source, options = PhantomSource(90, 42, 64), Options(workers=1, shard_size=10, vocab_size=300)
    whole = preview(source, options)
    parts = [preview(source, options, (number, 3)) for number in (1, 2, 3)]
    for count in ("samples", "shards"):
        assert sum(part[count] for part in parts) == whole[count] and all(part[count] < whole[count] for part in parts)
    assert sum(part["forecast"]["bytes"] for part in parts) == pytest.approx(whole["forecast"]["bytes"], rel=0.1)
    empty = preview(source, options, (40, 40))
    assert empty["samples"] == empty["forecast"]["bytes"] == empty["forecast"]["measured_on"] == 0


def test_more_workers_need_less_time(monkeypatch):
    monkeypatch.setattr(dry_run, "_pack", lambda packer, records: ([1000], [], 6.0))
    monkeypatch.setattr(dry_run, "_train", lambda plan, options, path: 0.0 if path.touch() is None else 1)
    monkeypatch.setattr(dry_run, "Packer", lambda *arguments: None)
    one, four = (preview(PhantomSource(90, 42, 64), Options(workers=n))["forecast"] for n in (1, 4))
    assert one["minutes"] == 9.0 and four["minutes"] == 2.25 and one["bytes"] == 90_000


def test_bad_images_among_the_samples_are_counted(table, tmp_path):
    path = table([{} for _ in range(8)])
    (path.parent / "s3.jpg").write_bytes(b"")
    planned = preview(CsvSource(path), SMALL)["forecast"]
    assert sum(planned["rejected"].values()) == 1 and planned["measured_on"] == 8 and planned["bytes"] > 0
    for number in range(8):
        (path.parent / f"s{number}.jpg").write_bytes(b"")
    assert preview(CsvSource(path), SMALL)["forecast"]["bytes"] == 0


def test_the_listings_faults_are_raised_and_nothing_is_written(table, tmp_path):
    path = table([{}, {}, {"report": ""}])
    result = preview(CsvSource(path))
    assert result["samples"] == 2 and result["dropped_empty"] == 1 and result["splits"] == {"train": 1, "val": 1}
    (path.parent / "s0.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 2 rows left out, 0 may be: --reject-budget\n.*no such file"):
        preview(CsvSource(path))
    assert os.listdir(tmp_path) == ["data"]
