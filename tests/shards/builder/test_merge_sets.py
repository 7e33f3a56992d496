"""Sets that were built by themselves, joined: every shard as it was, and a set that every reader opens."""

import csv
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from ecamp_fast.commands.shard import merge as command
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder import merge_sets as module
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.builder.merge_sets import merge_sets
from ecamp_fast.shards.builder.put import put
from ecamp_fast.shards.check.repair import repair
from ecamp_fast.shards.check.verify import verify
from ecamp_fast.shards.describe.rules import build_command
from ecamp_fast.shards.format.manifest import TOKENIZER, read_manifest
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.phantom import PhantomSource

Sets = tuple[Path, Path]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="session")
def merged(two_sets: Sets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("merged") / "set"
    merge_sets(two_sets, out)
    return out


def test_every_shard_and_sample_is_as_it_was(two_sets: Sets, merged: Path) -> None:
    shards = ShardSet(merged)
    for split in ("train", "val"):
        samples = [
            dict(sample) | {"key": sample.key} for one in map(ShardSet, two_sets) for sample in one.samples(split)
        ]
        assert [dict(sample) | {"key": sample.key} for sample in shards.samples(split)] == samples
    before = sorted(shard.sha256 for folder in two_sets for shard in read_manifest(folder).shards)
    assert sorted(digest for name, digest in digests(merged).items() if name.endswith(".tar")) == before
    names = [shard.name for shard in shards.manifest.shards]
    assert names == [
        "train-000000.tar",
        *(f"train-{n:06d}.tar" for n in range(1, 5)),
        "val-000000.tar",
        "val-000001.tar",
    ]
    assert {stat.st_ino for stat in map(os.stat, merged.iterdir())}.isdisjoint(
        stat.st_ino for folder in two_sets for stat in map(os.stat, folder.iterdir())
    )


def test_the_manifest_counts_all_and_says_where_they_come_from(two_sets: Sets, merged: Path) -> None:
    verify(merged)
    found, held = read_manifest(merged), [read_manifest(folder) for folder in two_sets]
    for name in ("samples", "studies", "patients", "dropped_empty", "without_text"):
        assert found.counts[name] == sum(one.counts[name] for one in held)
    assert found.source["kind"] == "phantom"
    assert [(one["name"], one["manifest"]) for one in found.source["sets"]] == [
        (folder.name, one.digest) for folder, one in zip(two_sets, held, strict=True)
    ]
    assert found.labels == held[0].labels and found.masks == held[0].masks
    total = [one.counts["samples"] for one in held]
    mean = sum(one.text["report_mean"] * count for one, count in zip(held, total, strict=True)) / sum(total)
    assert found.text["report_mean"] == pytest.approx(mean, abs=1e-3)
    assert found.text["tokens_max"] == max(one.text["tokens_max"] for one in held)
    assert build_command(found) == "ecamp-fast shard merge a b NEW_SET"


def test_tar_and_webdataset_open_it(merged: Path) -> None:
    wds = pytest.importorskip("webdataset")
    paths = sorted(map(str, merged.glob("*.tar")))
    keys = [sample["__key__"] for sample in wds.WebDataset(paths, shardshuffle=False)]
    listed = []
    for path in paths:
        with tarfile.open(path) as file:
            listed += [name.partition(".")[0] for name in file.getnames() if name.endswith(".jpg")]
    assert keys == listed and len(keys) == 39


def test_text_can_be_put_into_it(merged: Path, tmp_path: Path) -> None:
    key = ShardSet(merged).key("train", 25)
    put(merged, tmp_path / "put", {key: "no effusion."}, workers=1, reject_budget=1.0)
    verify(tmp_path / "put")


def test_a_merge_that_is_killed_goes_on_to_the_same_bytes(
    two_sets: Sets, merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, copied = tmp_path / "set", list[str]()
    real = module.write_new

    def killed(path: Path, chunks: Any) -> str:
        if len(copied) == 3:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        copied.append(path.name)
        return real(path, chunks)

    monkeypatch.setattr(module, "write_new", killed)
    with pytest.raises(KeyboardInterrupt):
        merge_sets(two_sets, out)
    assert not out.exists() and (tmp_path / "set.building").is_dir()
    (tmp_path / "set.building" / "set" / "stray.tar").write_bytes(b"of nobody")
    copied.clear()
    monkeypatch.setattr(module, "write_new", lambda path, chunks: copied.append(path.name) or real(path, chunks))
    report = merge_sets(two_sets, out)
    assert len(copied) == 4 and report.resumed == 8 + 8 + 4
    assert digests(out) == digests(merged) and os.listdir(tmp_path) == ["set"]


def test_the_same_merge_again_is_complete(two_sets: Sets, tmp_path: Path) -> None:
    words = [*map(str, two_sets), str(tmp_path / "set")]
    first, again = (CliRunner().invoke(command, [*words, "--json"]) for _ in range(2))
    assert first.exit_code == again.exit_code == 0
    told = [json.loads(result.stdout) for result in (first, again)]
    assert [one["finished"] for one in told] == [False, True]
    assert [one["resumed"] for one in told] == [0, 39] and told[0]["manifest"] == told[1]["manifest"]
    assert CliRunner().invoke(command, words).stdout.startswith(f"{tmp_path / 'set'}: complete, nothing to do: ")
    with pytest.raises(ConfigError, match="exists already"):
        merge_sets(two_sets[::-1], tmp_path / "set")


def test_a_set_is_not_merged_into_one_of_its_sources(two_sets: Sets, tmp_path: Path) -> None:
    sets = [Path(shutil.copytree(one, tmp_path / one.name)) for one in two_sets]
    (tmp_path / "link").symlink_to(sets[0])
    before = sorted(tmp_path.rglob("*"))
    for out in (sets[0] / "M", sets[1] / "deep" / "M", tmp_path / "link" / "M", sets[1]):
        with pytest.raises(ConfigError, match="or lies in it: it is only read"):
            merge_sets(sets, out)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_merged_is_repaired_at_its_origin(two_sets: Sets, merged: Path, tmp_path: Path) -> None:
    shutil.copytree(merged, tmp_path / "set")
    (tmp_path / "set" / "val-000000.tar").unlink()
    with pytest.raises(DataError, match="merged of a, b") as caught:
        repair(PhantomSource(24, 1, 64), tmp_path / "set", 1)
    assert "merge again" in str(caught.value.hint)


@pytest.mark.parametrize("count", [1, 3])
def test_two_different_sets_are_needed(two_sets: Sets, tmp_path: Path, count: int) -> None:
    with pytest.raises(ConfigError, match="alone" if count == 1 else "twice"):
        merge_sets([two_sets[0]] * count, tmp_path / "set")


def test_sets_and_parts_do_not_mix(two_sets: Sets, tmp_path: Path) -> None:
    build(PhantomSource(6, 1, 64), tmp_path / "part", Options(workers=1, vocab_size=150), part=(1, 2))
    with pytest.raises(ConfigError, match=r"is a whole set, .*part is none"):
        module.are_sets([two_sets[0], tmp_path / "part"])
    assert module.are_sets(two_sets) and not module.are_sets([tmp_path / "part"])


def test_a_damaged_shard_is_not_passed_on(two_sets: Sets, tmp_path: Path) -> None:
    shutil.copytree(two_sets[1], tmp_path / "b")
    shard = tmp_path / "b" / "train-000001.tar"
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1  # in a picture, which is not looked into
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"train-000001\.tar: SHA-256 differs"):
        merge_sets((two_sets[0], tmp_path / "b"), tmp_path / "set")
    shutil.copy(two_sets[1] / shard.name, shard)
    merge_sets((two_sets[0], tmp_path / "b"), tmp_path / "set")
    verify(tmp_path / "set")


Table = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path, two_sets: Sets) -> Table:
    """A set of a table: studies by name, split and patient, each with a picture of its own grey."""

    def make(name: str, rows: list[tuple[str, str, str]], **columns: str) -> Path:
        with open(tmp_path / f"{name}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["study_id", "image_path", "report", "patient_id", "split", *columns])
            for number, (study, patient, split) in enumerate(rows):
                picture = tmp_path / f"{name}-{number}.png"
                Image.linear_gradient("L").rotate(90 * (len(name) % 4)).resize((64 + number, 70)).save(picture)
                writer.writerow([study, picture.name, f"No effusion in {study}.", patient, split, *columns.values()])
        options = Options(workers=1, tokenizer=two_sets[0] / TOKENIZER)
        build(CsvSource(tmp_path / f"{name}.csv"), tmp_path / name, options)
        return tmp_path / name

    return make


def test_keys_that_collide_are_refused(table: Table, tmp_path: Path) -> None:
    sets = [table(name, [("S1", f"{name}1", "train"), ("S2", f"{name}2", "val")]) for name in ("one", "four")]
    for index, folder in enumerate(sets):  # names of pictures are in the keys: the same ones
        assert read_manifest(folder).counts["samples"] == 2, index
    merge_sets(sets, tmp_path / "apart")
    with pytest.raises(DataError, match="2 keys come in more than one set") as caught:
        merge_sets(_same_keys(sets, tmp_path), tmp_path / "set")
    assert "without merging: --data A --data B" in str(caught.value.hint)


def _same_keys(sets: list[Path], folder: Path) -> list[Path]:
    """The first set, and one of the same names with other pictures."""
    for number in range(2):
        Image.radial_gradient("L").resize((90 + number, 70)).save(folder / f"one-{number}.png")
    build(CsvSource(folder / "one.csv"), folder / "other", Options(workers=1, tokenizer=sets[0] / TOKENIZER))
    return [sets[0], folder / "other"]


def test_keys_are_compared_as_a_file_system_may(table: Table, tmp_path: Path) -> None:
    """A disk that knows no upper and lower case would unpack one over the other."""
    for name, study in (("one", "s1"), ("ONE", "S1")):
        table(name, [(study, f"{name}1", "train"), (f"{name}2", f"{name}2", "val")])
    with pytest.raises(DataError, match="2 keys come in more than one set"):
        merge_sets([tmp_path / "one", tmp_path / "ONE"], tmp_path / "set")


def test_patients_who_are_not_named_are_nobody_in_particular(table: Table, tmp_path: Path) -> None:
    sets = [table(name, [(f"{name}1", "", "train"), (f"{name}2", "", "val")]) for name in ("one", "three")]
    assert merge_sets(sets, tmp_path / "set").manifest.counts["patients"] == 0
    verify(tmp_path / "set")


def test_a_patient_on_both_sides_is_refused(table: Table, tmp_path: Path) -> None:
    one = table("one", [("S1", "P1", "train"), ("S2", "P2", "val")])
    same_side, other_side = (
        table(name, [(f"{name}1", "P1", split), (f"{name}2", "P9", "train")])
        for name, split in (("three", "train"), ("fourth", "val"))
    )
    assert merge_sets([one, same_side], tmp_path / "good").manifest.counts["patients"] == 3
    verify(tmp_path / "good")
    with pytest.raises(DataError, match="1 patients are in one split of one set and in another"):
        merge_sets([one, other_side], tmp_path / "bad")
    assert not (tmp_path / "bad").exists() and not (tmp_path / "bad.building").exists()


def test_other_tokenizers_are_refused(two_sets: Sets, tmp_path: Path) -> None:
    build(PhantomSource(12, 7, 64), tmp_path / "c", Options(workers=1, vocab_size=150))
    with pytest.raises(DataError, match="another tokenizer") as caught:
        merge_sets([two_sets[1], tmp_path / "c"], tmp_path / "set")
    assert f"--tokenizer {two_sets[1]}/tokenizer.json" in str(caught.value.hint)


def test_classes_that_mean_other_things_are_refused(two_sets: Sets, table: Table, tmp_path: Path) -> None:
    """Phantoms state which findings are absent; a table lists what is present."""
    listed = table("one", [("S1", "P1", "train"), ("S2", "P2", "val")], labels="Edema")
    with pytest.raises(DataError, match="absent in one set and unknown in another"):
        merge_sets([two_sets[0], listed], tmp_path / "set")
    plain = table("three", [("T1", "T1", "train"), ("T2", "T2", "val")])
    found = merge_sets([two_sets[0], plain], tmp_path / "set").manifest
    assert found.labels == read_manifest(two_sets[0]).labels and found.source["kind"] == "merged"
    verify(tmp_path / "set")
