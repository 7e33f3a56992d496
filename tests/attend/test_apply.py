"""Maps of a whole set: the files, a kill on the way, what is refused, and the way into a set and onto a picture."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from ecamp_fast.attend import apply as module
from ecamp_fast.attend.apply import ABOUT, Choices, apply
from ecamp_fast.attend.map_files import name_of, read_maps
from ecamp_fast.attend.maps import combine, entity_maps, in_levels, over_whole, window_labels
from ecamp_fast.attend.model import Gloria
from ecamp_fast.attend.questions import Questions
from ecamp_fast.attend.stored_maps import read_boxed
from ecamp_fast.attend.trained import reader_of
from ecamp_fast.commands.knowledge.attend_apply import command
from ecamp_fast.commands.put import command as put
from ecamp_fast.commands.shard import show
from ecamp_fast.config import Recipe
from ecamp_fast.downstream.data.labels import read_labels
from ecamp_fast.downstream.data.samples import TaskData
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.setup import Job
from ecamp_fast.run.trainer import Trainer
from ecamp_fast.shards.builder.build import build
from ecamp_fast.shards.builder.plan import Options
from ecamp_fast.shards.format.manifest import ATTENTION, DISTILLED, REPORT
from ecamp_fast.shards.images.encode import read_pgm
from ecamp_fast.shards.load.captions import caption_encoder
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.text.packing.captions import CaptionEncoder
from ecamp_fast.text.reading.entities import DEFAULT


@pytest.fixture
def shards(phantoms: Path) -> ShardSet:
    return ShardSet(phantoms)


@pytest.fixture
def encode(shards: ShardSet, tiny: Callable[..., Recipe]) -> CaptionEncoder:
    return caption_encoder(tiny(), shards.wordpiece_path)


@pytest.fixture
def model(tiny: Callable[..., Recipe], encode: CaptionEncoder) -> Gloria:
    torch.manual_seed(0)
    return Gloria(tiny(), encode.vocabulary.size).eval()


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_files_say_what_the_model_says(
    model: Gloria, shards: ShardSet, encode: CaptionEncoder, tmp_path: Path
) -> None:
    out = tmp_path / "maps"
    done = apply(model, shards, out, encode, Choices("own", "all", "attention", "mean"), ["val"])
    (shard,) = shards.manifest.of("val")
    held = read_maps(out / name_of(shard))
    assert held is not None and held.samples.tolist() == list(shard.keys) and done.samples == len(shard.keys)
    count, ask = len(shard.keys), Questions(encode, DEFAULT, "own")
    images = next(TaskData(shards, "val", read_labels(shards, "val"), size=64).ordered(count)).images
    asked = [ask(shards.read("val", n, (DISTILLED,))[DISTILLED].decode()) for n in range(count)]
    wanted = entity_maps(model, images, asked, encode, "attention")
    pairs = [(key, name) for key, maps in zip(shard.keys, wanted, strict=True) for name in maps]
    assert list(zip(held.keys.tolist(), held.entities.tolist(), strict=True)) == pairs and 0 < done.mapped < count
    again = held.maps * held.peaks[:, None, None] / 255
    close = np.stack([values for maps in wanted for values in maps.values()])
    assert held.maps.dtype == np.uint8 and (held.maps.max((1, 2)) == 255).all()
    np.testing.assert_allclose(again, close, atol=float(held.peaks.max()) / 500)
    assert held.square.tolist() == [[0, 0, 72, 72]] * len(pairs) and held.image.tolist() == [[72, 72]] * len(pairs)
    rows = (out / "windows.csv").read_text().splitlines()
    assert rows[0] == "key,label_i,label_j" and len(rows) == 1 + count
    for key, maps, row in zip(shard.keys, wanted, rows[1:], strict=True):
        whole = read_pgm((out / f"{key}.pgm").read_bytes())
        nothing = np.zeros((8, 8), np.float32)
        expected = in_levels(over_whole(combine(list(maps.values()), "mean") if maps else nothing, 72, 72))
        assert int(np.abs(whole.astype(int) - expected).max()) <= 1 and whole.any() == bool(maps)
        label = window_labels([whole], np.array([72]), np.array([72]))[0].tolist()
        assert row == f"{key},{label[0]},{label[1]}"
    assert sum(row.endswith(",1,1") for row in rows) >= count - done.mapped


def test_wide_images_and_raw_reports(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    """Maps lie where the square of the image does, and a run that read reports is asked by them."""
    draw, rows = np.random.default_rng(0), ["image_path,study_id,report,distilled"]
    for number, (height, width) in enumerate(((72, 120), (100, 72), (72, 72))):
        Image.fromarray(draw.integers(0, 256, (height, width)).astype(np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,s{number},There is a mass in the left lung.,There is effusion.")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    build(CsvSource(tmp_path / "table.csv"), tmp_path / "set", Options(vocab_size=64, holdout=0.0, workers=1))
    shards = ShardSet(tmp_path / "set")
    recipe = tiny("gloria.text=raw")
    encode = caption_encoder(recipe, shards.wordpiece_path)
    apply(Gloria(recipe, encode.vocabulary.size).eval(), shards, tmp_path / "maps", encode, Choices())
    held = read_maps(tmp_path / "maps" / name_of(shards.manifest.shards[0]))
    assert held is not None and held.entities.tolist() == ["mass"] * 3
    assert held.square.tolist() == [[0, 24, 72, 72], [14, 0, 72, 72], [0, 0, 72, 72]]
    assert held.image.tolist() == [[72, 120], [100, 72], [72, 72]]
    shapes = [read_pgm((tmp_path / "maps" / f"{key}.pgm").read_bytes()).shape for key in held.keys]
    assert shapes == [(8, 13), (11, 8), (8, 8)]


def test_a_kill_anywhere_and_the_same_bytes(
    model: Gloria, shards: ShardSet, encode: CaptionEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 7)
    apply(model, shards, tmp_path / "whole", encode, Choices())
    whole, out = content(tmp_path / "whole"), tmp_path / "part"
    names, died = ("entity_maps", "_write_map", "write_atomically", "write_json"), 0
    for name in names:
        real, calls = getattr(module, name), 0

        def dies(*arguments: object, real: Callable = real) -> object:
            nonlocal calls, died
            calls += 1
            if calls == 2:
                died += 1
                raise KeyboardInterrupt
            return real(*arguments)

        monkeypatch.setattr(module, name, dies)
        with suppress(KeyboardInterrupt):
            apply(model, shards, out, encode, Choices())
        monkeypatch.setattr(module, name, real)
    assert died >= 3
    (out / ".windows.csv.tmp-0123").touch()
    done = apply(model, shards, out, encode, Choices())
    assert content(out) == whole
    assert done.resumed > 0 and json.loads(whole[ABOUT])["complete"]
    assert apply(model, shards, out, encode, Choices()).resumed == done.samples
    next(out.glob("*.pgm")).unlink()
    assert apply(model, shards, out, encode, Choices()).resumed < done.samples  # its shard is done again
    assert content(out) == whole


def test_splits_in_any_order_and_twice_are_those_of_the_set(
    model: Gloria, shards: ShardSet, encode: CaptionEncoder, tmp_path: Path
) -> None:
    whole = apply(model, shards, tmp_path / "maps", encode, Choices())
    again = apply(model, shards, tmp_path / "maps", encode, Choices(), ["val", "train", "val"])
    assert (again.samples, again.resumed, again.maps) == (whole.samples, whole.samples, whole.maps)


def test_a_set_whose_texts_state_nothing_is_refused(
    model: Gloria, shards: ShardSet, encode: CaptionEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Questions", lambda *_: lambda text: [])
    with pytest.raises(DataError, match="no text states anything"):
        apply(model, shards, tmp_path / "maps", encode, Choices())
    with pytest.raises(DataError, match="is not finished"):
        read_boxed(tmp_path / "maps", shards, "val")


def test_what_is_refused(
    model: Gloria, shards: ShardSet, encode: CaptionEncoder, tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    out = tmp_path / "maps"
    apply(model, shards, out, encode, Choices(), ["val"])
    before = content(out)
    other = Gloria(tiny(), encode.vocabulary.size).eval()
    for changed, choices, splits, what in (
        (other, Choices(), ["val"], "model"),
        (model, Choices(combine="mean"), ["val"], "combine"),
        (model, Choices(words="entity"), ["val"], "words"),
        (model, Choices(values="attention"), ["val"], "values"),
        (model, Choices(), ["train"], "splits"),
    ):
        with pytest.raises(ConfigError, match=f"another {what}"):
            apply(changed, shards, out, encode, choices, splits)
    assert content(out) == before
    with pytest.raises(DataError, match="no split"):
        apply(model, shards, tmp_path / "none", encode, Choices(), ["test"])
    with pytest.raises(DataError, match="vocabulary"):
        apply(Gloria(tiny(), 99).eval(), shards, tmp_path / "none", encode, Choices())
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds no maps"):
        apply(model, shards, full, encode, Choices())
    assert content(full).keys() == {"thesis.txt"} and not (tmp_path / "none").exists()
    (out / name_of(shards.manifest.of("val")[0])).write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="no file of maps"):
        apply(model, shards, out, encode, Choices(), ["val"])


def test_from_a_run_into_a_set_and_onto_a_picture(
    tiny: Callable[..., Recipe], phantoms: Path, context: DistContext, tmp_path: Path
) -> None:
    run, out, new, drawn = (tmp_path / name for name in ("run", "maps", "new", "drawn.png"))
    changes = ("schedule.epochs=0.2", "schedule.horizon_epochs=1", "evaluation.samples=1")
    Trainer(Job(tiny(*changes), phantoms, run, model=Gloria), context).train()
    ran = CliRunner().invoke(command, [str(run), str(phantoms), str(out), "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["samples"] == 40 and 0 < told["mapped"] < 40
    assert json.loads((out / ABOUT).read_bytes())["identity"]["sentences"] == "own"
    ran = CliRunner().invoke(put, [str(phantoms), str(new), "--maps", str(out), "--workers", "1", "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["maps"] == 40 and not json.loads(ran.stdout)["faults"]
    old, found = ShardSet(phantoms), ShardSet(new)
    for split in found.splits:
        for number in range(found.count(split)):
            sample = found.read(split, number)
            assert sample[ATTENTION] == (out / f"{sample.key}.pgm").read_bytes()
            assert sample[REPORT] == old.read(split, number)[REPORT]
    key = read_maps(out / name_of(found.manifest.of("train")[0])).keys[0]  # type: ignore[union-attr]
    pictures = []
    for shard_set in (phantoms, new):
        ran = CliRunner().invoke(show, [str(shard_set), str(drawn), "--key", str(key)])
        assert ran.exit_code == 0, ran.output
        pictures.append(drawn.read_bytes())
    assert pictures[0] != pictures[1]
    for path in (out, *out.iterdir()):
        assert os.stat(path).st_mode & 0o077 == 0
    written = b"".join(content(out).values()) + b"".join(name.encode() for name in content(out))
    assert b"There " not in written and "There".encode("utf-32-le") not in written
    with pytest.raises(DataError, match="was trained with"):
        (tmp_path / "other.json").write_bytes((phantoms / "tokenizer.json").read_bytes() + b"\n")
        reader_of(run, tiny(), old, tmp_path / "other.json")
