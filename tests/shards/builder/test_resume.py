"""A build that is killed goes on where it stopped, and ends with the bytes it would have had."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pytest

from ecamp_fast.errors import ConfigError, DataError, StorageError
from ecamp_fast.shards.builder import build as module
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.builder.journal import Journal
from ecamp_fast.shards.builder.plan import make_plan
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.phantom import PhantomSource

SMALL = {"shard_size": 2, "vocab_size": 200}

# Builds a set of phantoms, and kills itself before or after the n-th call that changes what is on the disk.
PROGRAM = """
import os, signal, sys
from ecamp_fast.shards.builder.build import Options, build_phantoms

out, workers, studies, fatal, after = sys.argv[1], *map(int, sys.argv[2:])
left = [fatal]

def deadly(call):
    def wrapped(*arguments, **named):
        left[0] -= 1
        if left[0] == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*arguments, **named)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return wrapped

for name in ("fsync", "replace", "rename", "unlink", "rmdir"):
    setattr(os, name, deadly(getattr(os, name)))
build_phantoms(studies, out, size=64, options=Options(workers=workers, shard_size=2, vocab_size=200))
"""


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def started(out, workers, studies, fatal=0, after=False):
    path = os.pathsep.join(entry for entry in sys.path if entry)
    arguments = [sys.executable, "-c", PROGRAM, str(out), *(str(int(v)) for v in (workers, studies, fatal, after))]
    return subprocess.Popen(arguments, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE, text=True)


def finished(process):
    """Whether it ended by itself; a fault other than being killed fails the test."""
    error = process.communicate()[1]
    assert process.returncode in (0, -signal.SIGKILL), error
    return process.returncode == 0


def phantoms(out, studies=8, say=lambda text: None, **options):
    return build(PhantomSource(studies, 42, 64), out, Options(**{"workers": 1} | SMALL | options), say)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    out = tmp_path_factory.mktemp("resume") / "set"
    phantoms(out)
    return digests(out)


@pytest.mark.fault("D10.crash")
def test_five_kills_at_five_places(tmp_path, expected):
    """While the tokenizer is written, within shards, between a shard and its entry in the journal."""
    places = [(2, False), (9, True), (12, False), (20, True), (7, False)]
    for fatal, after in places:
        assert not finished(started(tmp_path / "set", 1, 8, fatal, after))
        assert not (tmp_path / "set").exists()
    assert finished(started(tmp_path / "set", 1, 8))
    assert digests(tmp_path / "set") == expected and os.listdir(tmp_path) == ["set"]


@pytest.mark.slow
@pytest.mark.parametrize("stride", [4, pytest.param(1, marks=pytest.mark.complete)])
def test_a_kill_at_every_step_of_a_build(tmp_path, expected, stride):
    """Wherever it falls, the set is absent or whole, and the next build finishes it, or finds it and tidies up."""
    for number in range(1, 100, stride):
        folder = tmp_path / str(number)
        done = finished(started(folder / "set", 1, 8, number))
        whole = (folder / "set").exists()
        if whole:
            assert digests(folder / "set") == expected
        if not whole:
            assert finished(started(folder / "set", 1, 8))
        elif not done:
            with pytest.raises(ConfigError, match="exists already"):
                phantoms(folder / "set")
        assert digests(folder / "set") == expected and os.listdir(folder) == ["set"]
        if done:
            break
    assert number > 30


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "most"), [(2, 6), *(pytest.param(n, 50, marks=pytest.mark.complete) for n in (1, 2, 3))]
)
def test_kills_at_random_moments(tmp_path, expected, workers, most):
    chance = random.Random(workers)
    began = time.monotonic()
    assert finished(started(tmp_path / "timed", workers, 8))
    duration = time.monotonic() - began
    kills = rounds = 0
    while kills < most:
        folder = tmp_path / str(rounds)
        for _ in range(4):  # of one build
            process = started(folder / "set", workers, 8)
            time.sleep(chance.uniform(0.1, 1.05) * duration)
            process.kill()
            kills += not finished(process)
            if (folder / "set").exists():
                break
        if not (folder / "set").exists():
            assert finished(started(folder / "set", workers, 8))
        assert digests(folder / "set") == expected
        rounds += 1


def test_finished_shards_are_not_built_again(tmp_path, expected, monkeypatch):
    lines, loaded = [], []
    interrupt(monkeypatch, after=5, error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        phantoms(tmp_path / "set")
    monkeypatch.undo()
    load = PhantomSource.load
    monkeypatch.setattr(PhantomSource, "load", lambda self, *asked: loaded.append(asked) or load(self, *asked))
    report = phantoms(tmp_path / "set", say=lines.append)
    assert report.resumed == 4 and len(loaded) == 4 and "going on: 4 samples in 2 finished shards" in lines[0]
    assert digests(tmp_path / "set") == expected


@pytest.mark.parametrize("victim", ["shard", "entry", "lost"])
def test_what_is_damaged_meanwhile_is_built_again(tmp_path, expected, monkeypatch, victim):
    interrupt(monkeypatch, after=5, error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        phantoms(tmp_path / "set")
    monkeypatch.undo()
    folder = tmp_path / "set.building"
    shard = next((folder / "set").glob("train-000000.tar"))
    path = folder / "journal" / "train-000000.json" if victim == "entry" else shard
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    if victim == "lost":
        path.unlink()
    assert phantoms(tmp_path / "set").resumed == 2
    assert digests(tmp_path / "set") == expected


@pytest.mark.parametrize("change, named", [({"short_side": 48}, "short_side"), ({"seed": 7}, "seed"), ({}, "rows")])
def test_another_plan_starts_over_and_says_why(tmp_path, monkeypatch, change, named):
    interrupt(monkeypatch, after=5, error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        phantoms(tmp_path / "set")
    monkeypatch.undo()
    lines = []
    studies = 8 if change else 7
    assert phantoms(tmp_path / "set", studies, lines.append, **change).resumed == 0
    assert named in lines[0] and "holds 2 finished shards, but it had other" in lines[0] and "starting over" in lines[0]
    phantoms(tmp_path / "fresh", studies, **change)
    assert digests(tmp_path / "set") == digests(tmp_path / "fresh")


def test_more_budget_and_other_workers_go_on(tmp_path, expected, monkeypatch):
    interrupt(monkeypatch, after=5, error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        phantoms(tmp_path / "set")
    monkeypatch.undo()
    assert phantoms(tmp_path / "set", workers=2, reject_budget=0.5).resumed == 4
    assert digests(tmp_path / "set") == expected


def test_a_full_disk_keeps_what_is_finished(table, tmp_path, monkeypatch):
    source = CsvSource(table([{} for _ in range(6)]))
    interrupt(monkeypatch, after=5, error=StorageError("disk full"))
    with pytest.raises(StorageError):
        build(source, tmp_path / "set", Options(workers=1, **SMALL))
    monkeypatch.undo()
    assert Journal(tmp_path / "set.building" / "journal").header() is not None
    assert build(source, tmp_path / "set", Options(workers=1, **SMALL)).resumed > 0


def train(table, bad):
    """Six rows of one split in three shards, of which these images are bad; and what fixes them."""
    source = CsvSource(table([{"split": "train"} for _ in range(6)]))
    good = {number: (source.folder / f"s{number}.jpg").read_bytes() for number in bad}
    for number in bad:
        (source.folder / f"s{number}.jpg").write_bytes(b"")

    def hint(number):
        (source.folder / f"s{number}.jpg").write_bytes(good[number])

    return source, hint


def test_a_budget_passed_at_the_last_image_loses_nothing(table, tmp_path, monkeypatch):
    source, _ = train(table, bad=[5])
    with pytest.raises(DataError, match="1 of 6 rows left out, 0 may be: --reject-budget"):
        build(source, tmp_path / "set", Options(workers=1, **SMALL))
    assert not (tmp_path / "set").exists()
    more = Options(workers=1, reject_budget=0.2, **SMALL)
    assert build(source, tmp_path / "set", more).resumed == 5
    build(source, tmp_path / "fresh", more)
    assert digests(tmp_path / "set") == digests(tmp_path / "fresh")


@pytest.mark.parametrize("budget, bad, resumed", [(0.0, [1], 4), (0.2, [1, 4], 3), (0.2, [0, 1], 4)])
def test_fixed_images_come_into_their_shards_and_the_others_stay_out(table, tmp_path, budget, bad, resumed):
    source, hint = train(table, bad)
    options = Options(workers=1, reject_budget=budget, **SMALL)
    with pytest.raises(DataError, match=f"{len(bad)} of 6 rows left out"):
        build(source, tmp_path / "set", options)
    hint(1)
    report = build(source, tmp_path / "set", options)
    assert report.resumed == resumed and len(report.manifest.quarantined) == len(bad) - 1
    build(source, tmp_path / "fresh", options)
    assert digests(tmp_path / "set") == digests(tmp_path / "fresh")


def test_a_build_of_other_rules_starts_over(tmp_path, expected, monkeypatch):
    with monkeypatch.context() as other:
        other.setattr("ecamp_fast.shards.builder.plan.RULES_DIGEST", "of other rules")
        interrupt(other, after=5, error=KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            phantoms(tmp_path / "set")
    lines = []
    assert phantoms(tmp_path / "set", say=lines.append).resumed == 0
    assert "it had other rules_digest: starting over" in lines[0] and digests(tmp_path / "set") == expected


def test_an_interrupted_build_says_that_it_can_go_on(tmp_path, monkeypatch):
    lines = []
    interrupt(monkeypatch, after=5, error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        phantoms(tmp_path / "set", say=lines.append)
    assert lines[-1] == f"finished shards wait in {tmp_path / 'set.building'}: the same command goes on with them"
    interrupt(monkeypatch, after=1, error=KeyboardInterrupt)
    lines.clear()
    with pytest.raises(KeyboardInterrupt):
        phantoms(tmp_path / "other", say=lines.append)
    assert lines == ["training the tokenizer"] and not (tmp_path / "other.building").exists()


@pytest.mark.parametrize("victim", ["PLAN", "train-000000"])
def test_a_journal_of_another_version_is_built_again(tmp_path, expected, monkeypatch, victim):
    interrupt(monkeypatch, after=5, error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        phantoms(tmp_path / "set")
    monkeypatch.undo()
    path = tmp_path / "set.building" / "journal" / f"{victim}.json"
    body = json.dumps(json.loads(path.read_bytes().partition(b"\n")[2]) | {"field": 1}).encode()
    path.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    lines = []
    assert phantoms(tmp_path / "set", say=lines.append).resumed == (0 if victim == "PLAN" else 2)
    assert ("damaged or of another version: starting over" in lines[0]) == (victim == "PLAN")
    assert digests(tmp_path / "set") == expected


def test_versions_of_dicom_codecs_belong_to_a_plan_whose_images_may_be_dicom(table):
    pytest.importorskip("pydicom")
    path = table([{}, {}])
    before = make_plan(CsvSource(path), Options()).identity
    assert before["pydicom"] == ""
    (path.parent / "s1.jpg").rename(path.parent / "s1.dcm")
    path.write_text(path.read_text().replace("s1.jpg", "s1.dcm"))
    assert make_plan(CsvSource(path), Options()).identity["pydicom"] == version("pydicom")


def test_a_fault_in_the_listing_keeps_what_an_earlier_build_finished(table, tmp_path, monkeypatch):
    path = table([{} for _ in range(6)])
    interrupt(monkeypatch, after=5, error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        build(CsvSource(path), tmp_path / "set", Options(workers=1, **SMALL))
    monkeypatch.undo()
    good = path.read_text()
    path.write_text(good + "s9,\n")
    with pytest.raises(DataError):
        build(CsvSource(path), tmp_path / "set", Options(workers=1, **SMALL))
    path.write_text(good)
    assert build(CsvSource(path), tmp_path / "set", Options(workers=1, **SMALL)).resumed > 0


def interrupt(monkeypatch, after, error):
    """Make the build fail with its ``after``-th sample."""
    pack_all = module.pack_all

    def failing(*arguments):
        for number, item in enumerate(pack_all(*arguments), 1):
            if number == after:
                raise error
            yield item

    monkeypatch.setattr(module, "pack_all", failing)
