"""A finished set, or part, is one where the same command would make it again: else it is refused, or found damaged."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.builder.merge import merge
from ecamp_fast.shards.builder.put import put
from ecamp_fast.shards.check.finished import finished_build, require_whole
from ecamp_fast.shards.check.verify import verify
from ecamp_fast.shards.format.manifest import MERGED, read_manifest, write_manifest
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.phantom import PhantomSource
from ecamp_fast.shards.sources.webdataset import WebdatasetSource
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
        ({"report": "Another report of the heart."}, "1 row: texts"),
        ({"patient_id": "p77"}, "rows?: texts|rows"),
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


@pytest.fixture
def annotated(table: Callable[..., Path], film: Callable[..., Image.Image]) -> Callable[..., CsvSource]:
    """annotated(change): a table of three rows, of which the first has a map, a mask and a box, with a change to it."""
    folder = table([{}]).parent
    for name, seed in (("a", 50), ("b", 51)):
        film(seed, 30, 20).save(folder / f"map{name}.png")
        Image.fromarray((np.arange(70 * 90).reshape(70, 90) % seed == 0).astype(np.uint8) * 255).save(
            folder / f"mask{name}.png"
        )

    def write(change: dict[str, str], other: dict[str, str] | None = None) -> CsvSource:
        first = {
            "split": "train",
            "report": "There is a small effusion.",
            "attention_map": "mapa.png",
            "mask.lung": "maska.png",
            "mask.heart": "",
            "boxes": '[{"finding": "effusion", "x": 1, "y": 2, "width": 30, "height": 20}]',
        }
        return CsvSource(table([first | change, {"split": "train"} | (other or {}), {"split": "train"}]))

    return write


BOX = '[{"finding": "effusion", "x": 1, "y": 2, "width": 30, "height": 21}]'


@pytest.mark.parametrize(
    ("change", "other", "said"),
    [
        ({}, {}, ""),
        ({"attention_map": ""}, {}, "1 row: attention maps"),
        ({"attention_map": "mapb.png"}, {}, "1 row: attention maps"),
        ({}, {"attention_map": "mapb.png"}, "1 row: attention maps"),
        ({"mask.lung": "maskb.png"}, {}, "1 row: masks"),
        ({"mask.lung": "maskb.png", "boxes": BOX}, {}, "1 row: masks, of 1 row: boxes"),
        ({"mask.lung": "maska.png", "mask.heart": "maska.png"}, {}, "masks"),
        ({}, {"mask.lung": "maska.png"}, "1 row: masks"),
        ({"boxes": BOX}, {}, "1 row: boxes"),
        ({"boxes": ""}, {}, "1 row: boxes"),
        ({}, {"boxes": BOX}, "1 row: boxes"),
        ({"image_path": "other/s0.jpg", "study_id": "s0"}, {}, "1 row: which picture it is"),
    ],
)
def test_maps_masks_boxes_and_places_count(
    annotated: Callable[..., CsvSource], tmp_path: Path, change: dict[str, str], other: dict[str, str], said: str
) -> None:
    build(annotated({}), tmp_path / "set", OPTIONS)
    again = annotated(change, other)
    if said:
        with pytest.raises(ConfigError, match=f"differs in .*{said}"):
            finished_build(again, tmp_path / "set", OPTIONS)
    else:
        assert finished_build(again, tmp_path / "set", OPTIONS)


def test_files_of_maps_and_masks_are_read_again(annotated: Callable[..., CsvSource], tmp_path: Path) -> None:
    source = annotated({})
    build(source, tmp_path / "set", OPTIONS)
    for name, said in (("map", "attention maps"), ("mask", "masks")):
        file = source.folder / f"{name}a.png"
        before = file.read_bytes()
        file.write_bytes((source.folder / f"{name}b.png").read_bytes())
        with pytest.raises(ConfigError, match=f"1 row: {said}"):
            finished_build(annotated({}), tmp_path / "set", OPTIONS)
        file.write_bytes(before)
    assert finished_build(annotated({}), tmp_path / "set", OPTIONS)


def test_a_set_that_is_built_of_a_set_is_finished_alike(copied: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, tokenizer=copied / "tokenizer.json")
    build(WebdatasetSource(copied), tmp_path / "set", options)
    assert finished_build(WebdatasetSource(copied), tmp_path / "set", options)


@pytest.mark.parametrize("part", [(1, 1), (1, 2)])
def test_rows_that_were_left_out_are_looked_at_again(
    table: Callable[..., Path], film: Callable[..., Image.Image], tmp_path: Path, part: tuple[int, int]
) -> None:
    options = replace(OPTIONS, reject_budget=0.5)
    rows = [{"split": "train"} for _ in range(4)]
    path = table(rows)
    (path.parent / "s1.jpg").write_bytes(b"no picture")
    build(CsvSource(path), tmp_path / "set", options, part=part)
    assert finished_build(CsvSource(path), tmp_path / "set", options, part)
    (path.parent / "s1.jpg").write_bytes(b"nor this")
    assert finished_build(CsvSource(path), tmp_path / "set", options, part)
    film(1).save(path.parent / "s1.jpg", "JPEG")
    with pytest.raises(ConfigError, match=r"left out and can be read now: reports.csv row 3 \(s1.jpg\)"):
        finished_build(CsvSource(path), tmp_path / "set", options, part)


def test_what_keeps_rows_from_being_read_is_named(table: Callable[..., Path], tmp_path: Path) -> None:
    options = replace(OPTIONS, reject_budget=0.5)
    rows = [{"split": "train"} for _ in range(4)]
    path = table(rows)
    (path.parent / "s3.jpg").unlink()
    build(CsvSource(path), tmp_path / "set", options)
    assert finished_build(CsvSource(path), tmp_path / "set", options)
    with pytest.raises(ConfigError, match=r"1 of them is at fault now: .*row 3.*same image as in"):
        finished_build(CsvSource(table([rows[0], {"image_path": "s0.jpg"}, *rows[2:]])), tmp_path / "set", options)
    (path.parent / "s3.jpg").unlink()
    with pytest.raises(ConfigError, match=r"left out and are not listed now: .*row 5"):
        finished_build(CsvSource(table(rows[:3])), tmp_path / "set", options)
    path = table(rows)
    for name in ("s2.jpg", "s3.jpg"):
        (path.parent / name).unlink()
    with pytest.raises(ConfigError, match=r"1 row without an image now: .*row 4"):
        finished_build(CsvSource(path), tmp_path / "set", options)


def test_another_number_of_empty_reports_counts(table: Callable[..., Path], tmp_path: Path) -> None:
    rows = [{"split": "train"} for _ in range(3)]
    build(CsvSource(table([*rows, {"split": "train", "report": ""}])), tmp_path / "set", OPTIONS)
    with pytest.raises(ConfigError, match="differs in dropped_empty"):
        finished_build(CsvSource(table(rows)), tmp_path / "set", OPTIONS)


def test_what_mends_a_damaged_set_depends_on_what_it_was_made_of(copied: Path, tmp_path: Path) -> None:
    build(SOURCE, tmp_path / "plain", OPTIONS)
    keys = [key for shard in read_manifest(copied).shards for key in shard.keys]
    put(copied, tmp_path / "put", dict.fromkeys(keys, "There is edema."), workers=1)
    _merged(tmp_path / "merged")
    for name, hint in (("plain", "shard repair"), ("put", "put again"), ("merged", "merge again")):
        spoil(next((tmp_path / name).glob("*.tar")))
        with pytest.raises(DataError) as caught:
            require_whole(tmp_path / name)
        assert hint in (caught.value.hint or "") and ("shard repair" in caught.value.hint) == (name == "plain")
        with pytest.raises(DataError) as caught:
            verify(tmp_path / name)
        assert hint in (caught.value.hint or "")


def _merged(out: Path) -> None:
    """A set that was merged, as its manifest says; of what does not matter here."""
    build(SOURCE, out, OPTIONS)
    manifest = read_manifest(out)
    write_manifest(out, replace(manifest, source=manifest.source | {MERGED: [{"name": "a"}, {"name": "b"}]}))


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
