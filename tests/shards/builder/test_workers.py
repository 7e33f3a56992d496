"""Packing in processes: in order, and with a bounded number of samples in memory."""

import os
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

from ecamp_fast.shards.builder import workers
from ecamp_fast.shards.builder.pack import distilled
from ecamp_fast.shards.sources.phantom import PhantomSource


class Pool:
    """Runs tasks at once, and counts those whose result nobody has taken."""

    def __init__(self):
        self.waiting = self.max_waiting = 0

    def submit(self, task, records):
        self.waiting += 1
        self.max_waiting = max(self.max_waiting, self.waiting)
        future = Future()
        future.set_result([record.row for record in records])
        future.result = lambda: self._take(records)
        return future

    def _take(self, records):
        self.waiting -= 1
        return [record.row for record in records]


def test_what_waits_is_bounded_and_comes_in_order():
    records = PhantomSource(100, 1, 64).list_records().records
    pool = Pool()
    assert list(workers._ordered(pool, records, depth=5)) == list(range(100))
    assert pool.max_waiting == 5


def test_distilled_text_is_written_once():
    (record,) = PhantomSource(1, 1, 64).list_records().records
    assert distilled(record) is record and record.distilled is not None
    record.distilled = "mine"
    assert distilled(record).distilled == "mine"


BUILD = ("shard", "build", "--from", "phantom", "40", "SET", "--size", "64", "--vocab-size", "400", "--workers", "2")


def test_workers_of_a_job_whose_temporary_folder_has_a_long_path(tmp_path: Path):
    """Linux takes sockets of 107 bytes."""
    place = tmp_path / "a" / ("b" * 120)
    place.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "ecamp_fast.cli", *BUILD],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(place)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "40 samples" in done.stdout
    assert list(place.iterdir()) == []
