"""A finished set, or part, is one where the same command would make it again: else it is refused, or found damaged."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.builder.merge import merge
from ecamp_fast.shards.builder.put import put
from ecamp_fast.shards.check.finished import finished_build, require_whole
from ecamp_fast.shards.format.manifest import read_manifest
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.phantom import PhantomSource
from ecamp_fast.text.reading.entities import DEFAULT, EntityList

SOURCE = PhantomSource(12, 42, 64)
OPTIONS = Options(workers=1)


def spoil(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:3000] + bytes([data[3000] ^ 1]) + data[3001:])


def options_of(folder: Path) -> Options:
    """Those the fixture's set was built with."""
    source = read_manifest(folder).source
    return replace(OPTIONS, shard_size=source["shard_size"], holdout=source["holdout"], vocab_size=source["vocab_size"])


def test_the_same_again_is_nothing_to_do(copied: Path) -> None:
    before = sorted((file.name, file.read_bytes()) for file in copied.iterdir())
    found = finished_build(SOURCE, copied, options_of(copied))
    assert found and found.finished and found.manifest.digest == read_manifest(copied).digest
    assert before == sorted((file.name, file.read_bytes()) for file in copied.iterdir())


@pytest.mark.parametrize(
    ("source", "changes", "differs"),
    [
        (PhantomSource(13, 42, 64), {}, "studies"),
        (PhantomSource(12, 43, 64), {}, "seed"),
        (SOURCE, {"holdout": 0.31}, "holdout"),
        (SOURCE, {"short_side": 60}, "short_side"),
        (SOURCE, {"shard_size": 2}, "shard_size"),
        (SOURCE, {"vocab_size": 70}, "vocab_size"),
        (SOURCE, {"entities": EntityList(DEFAULT._entities[:5])}, "entities"),
    ],
)
def test_another_source_or_option_is_named(
    copied: Path, source: PhantomSource, changes: dict[str, object], differs: str
) -> None:
    with pytest.raises(ConfigError, match=f"exists already.*differs in .*{differs}"):
        finished_build(source, copied, replace(options_of(copied), **changes))


def test_where_nothing_is_there_is_something_to_do(tmp_path: Path) -> None:
    assert finished_build(SOURCE, tmp_path / "none", OPTIONS) is None
    assert finished_build(SOURCE, tmp_path, OPTIONS) is None
    (tmp_path / "notes.txt").touch()
    assert finished_build(SOURCE, tmp_path, OPTIONS) is None  # the builder refuses it


@pytest.mark.parametrize("harm", ["a byte", "a shard", "the tokenizer", "the manifest"])
def test_a_damaged_one_is_refused(copied: Path, harm: str) -> None:
    options, shard = options_of(copied), copied / read_manifest(copied).shards[0].name
    if harm == "a byte":
        spoil(shard)
    elif harm == "a shard":
        shard.unlink()
    else:
        file = copied / {"the tokenizer": "tokenizer.json", "the manifest": "MANIFEST.json"}[harm]
        file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(DataError):
        finished_build(SOURCE, copied, options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"report": "Another report of the heart."}, "1 rows: texts"),
        ({"patient_id": "p77"}, "rows: texts|rows"),
        ({"study_id": "s99"}, "rows"),
    ],
)
def test_rows_and_texts_of_a_table_count(
    table: Callable[..., Path], tmp_path: Path, change: dict[str, str], said: str
) -> None:
    rows: list[dict[str, str]] = [{"split": "train"} for _ in range(4)]
    source = CsvSource(table(rows))
    build(source, tmp_path / "set", OPTIONS)
    again = CsvSource(table([rows[0] | change, *rows[1:]]))
    if said:
        with pytest.raises(ConfigError, match=said):
            finished_build(again, tmp_path / "set", OPTIONS)
    else:
        assert finished_build(again, tmp_path / "set", OPTIONS)


def test_a_part_is_finished_alike(tmp_path: Path) -> None:
    for number in (1, 2):
        build(SOURCE, tmp_path / f"part{number}", OPTIONS, part=(number, 2))
    assert finished_build(SOURCE, tmp_path / "part1", OPTIONS, (1, 2))
    with pytest.raises(ConfigError, match="differs in part"):
        finished_build(SOURCE, tmp_path / "part1", OPTIONS, (2, 2))
    parts = [tmp_path / "part1", tmp_path / "part2"]
    assert not merge(parts, tmp_path / "set").finished
    assert merge(parts, tmp_path / "set").finished
    build(SOURCE, tmp_path / "other", replace(OPTIONS, holdout=0.4))
    with pytest.raises(ConfigError, match="differs in its parts"):
        merge(parts, tmp_path / "other")
    spoil(next((tmp_path / "part1").glob("*.tar")))
    with pytest.raises(DataError, match="damaged"):
        finished_build(SOURCE, tmp_path / "part1", OPTIONS, (1, 2))


def test_what_was_put_is_put(copied: Path, tmp_path: Path) -> None:
    keys = [key for shard in read_manifest(copied).shards for key in shard.keys]
    texts, out = dict.fromkeys(keys, "There is edema."), tmp_path / "out"
    assert not put(copied, out, texts, workers=1).finished
    again = put(copied, out, texts, workers=1)
    assert again.finished and again.texts == len(keys) and again.manifest.digest == read_manifest(out).digest
    with pytest.raises(ConfigError, match="the set, texts or maps that were put"):
        put(copied, out, texts | {keys[0]: "There is no edema."}, workers=1)
    spoil(out / read_manifest(out).shards[0].name)
    with pytest.raises(DataError, match="finished, but damaged"):
        require_whole(out)
