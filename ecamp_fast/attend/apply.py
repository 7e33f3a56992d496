"""A trained GLoRIA over a shard set: maps per image and entity, and per image (SPEC 6.4), into a folder.

OUT/KEY.pgm             map of an image over the whole of it, binary PGM, as ``shard put --maps`` takes it; black where
                        its text states nothing
OUT/maps-SHARD.npz      what one shard gave, written when its images are done: ``map_files.ShardMaps``
OUT/windows.csv         key, label_i, label_j of every image in the set's order (``maps.window_labels``)
OUT/apply.json          of what model and set this is, and counts
"""

import csv
import io
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ecamp_fast import __version__
from ecamp_fast.attend.map_files import ShardMaps, name_of, read_maps
from ecamp_fast.attend.maps import combine, entity_maps, grid_of, in_levels, over_whole, window_labels
from ecamp_fast.attend.model import Gloria
from ecamp_fast.attend.questions import Question, Questions
from ecamp_fast.downstream.data.labels import Labels
from ecamp_fast.downstream.data.samples import TaskData
from ecamp_fast.errors import ConfigError, DataError, StorageError
from ecamp_fast.fault_points import reach
from ecamp_fast.files import LOCK, only_one, open_private, require_folder, write_atomically, write_json
from ecamp_fast.machine import available_cores
from ecamp_fast.shards.builder.notice import write_notice
from ecamp_fast.shards.format.manifest import METADATA, Shard
from ecamp_fast.shards.format.metadata import read_metadata
from ecamp_fast.shards.images.encode import pgm
from ecamp_fast.shards.load.collate import stating_member
from ecamp_fast.shards.load.crop import whole_boxes
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.strict_json import parse_object
from ecamp_fast.text.packing.captions import CaptionEncoder

BATCH = 32  # images at once; bytes depend on it
ABOUT, WINDOWS = "apply.json", "windows.csv"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Choices:
    """How maps are asked for, made and combined: ``sentences`` and ``words`` as of ``Questions``, ``values`` as of
    ``entity_maps``, ``combine`` as there.
    """

    sentences: str = "own"
    words: str = "all"
    values: str = "product"
    combine: str = "max"


@dataclass(frozen=True, slots=True)
class Applied:
    """samples: images   mapped: those whose text states something   maps: of entities, by name
    resumed: images that an earlier run had done   seconds: that it took
    """

    samples: int
    mapped: int
    maps: dict[str, int]
    resumed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Told:
    """What is known of an image before it is decoded."""

    key: str
    height: int
    width: int
    questions: list[Question]


Tick = Callable[[int, int], None]


def apply(
    model: Gloria,
    shards: ShardSet,
    out: Path,
    encode: CaptionEncoder,
    choices: Choices,
    splits: Sequence[str] = (),
    tick: Tick = lambda done, total: None,
) -> Applied:
    """Write the maps of the images of a set. A run that was killed goes on with the first shard that is not done.

    model   in evaluation mode, on the device and in the precision that are to be used
    encode  with the vocabulary that the model was trained with
    splits  of the set; (): all
    tick    told how many images are done, of how many
    Raises ConfigError where ``out`` holds something else, or maps of another model, set or choice; DataError for a
    damaged sample, a split that is not there, a vocabulary of another size than the model's; StorageError.
    """
    began = time.perf_counter()
    if encode.vocabulary.size != model.text.vocab_size:
        found = f"a vocabulary of {encode.vocabulary.size} words, the model was trained with {model.text.vocab_size}"
        raise DataError(found, "give tokenizer.json of the shard set that it was trained on")
    for split in splits:
        shards.count(split)  # raises where it is not there
    splits = [one for one in shards.splits if one in (splits or shards.splits)]
    places = _places(shards, splits)
    total = sum(len(shard.keys) for shard, _ in places)
    require_folder(out, "OUT")
    _refuse_foreign(out)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    with only_one(out, "writes maps"):
        _claim(out, identity(model, shards, choices, splits))
        for left in out.glob(".*.tmp-*"):  # by a kill
            left.unlink()
        write_notice(out, str(shards.manifest.source.get("kind", "")))
        one = _Shards(model, shards, out, encode, choices)
        counts: Counter[str] = Counter()
        mapped = done = resumed = 0
        windows: list[tuple[str, int, int]] = []
        for shard, first in places:
            held = read_maps(out / name_of(shard), shard.keys)
            if held and not all((out / f"{key}.pgm").exists() for key in shard.keys):
                held = None
            resumed += len(shard.keys) if held else 0
            held = held or one.write(shard, first, partial(_tick_from, tick, done, total))
            counts.update(held.entities.tolist())
            mapped += len({*held.keys.tolist()})
            windows += zip(held.samples.tolist(), *held.windows.T.tolist(), strict=True)
            done += len(shard.keys)
            tick(done, total)
        if not mapped:
            hint = "put distilled texts into it (`shard put --distilled`), or train with gloria.text=raw"
            raise DataError(f"{shards.path}: of {total:,} images no text states anything", hint)
        _write_windows(out, windows)
        applied = Applied(total, mapped, dict(sorted(counts.items())), resumed, time.perf_counter() - began)
        _conclude(out, applied)
    return applied


def identity(model: Gloria, shards: ShardSet, choices: Choices, splits: Sequence[str]) -> dict[str, Any]:
    """What the bytes of maps depend on."""
    weight = next(model.parameters())
    return {
        "format": _FORMAT,
        "version": __version__,
        "model": _digest(model),
        "set": shards.manifest.digest,
        "splits": list(splits),
        **asdict(choices),
        "device": weight.device.type,
        "dtype": str(weight.dtype).removeprefix("torch."),
    }


def _digest(model: Gloria) -> str:
    """Of weights and recipe."""
    digest = sha256(model.recipe.digest.encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _places(shards: ShardSet, splits: Sequence[str]) -> list[tuple[Shard, int]]:
    """Shards in order, and the number within its split of the first sample of each."""
    places = []
    for split in splits:
        first = 0
        for shard in shards.manifest.of(split):
            places.append((shard, first))
            first += len(shard.keys)
    return places


def _claim(out: Path, own: Mapping[str, Any]) -> None:
    """Make ``out`` the folder of these maps, or find that it is."""
    file = out / ABOUT
    if file.exists():
        try:
            before = parse_object(file.read_bytes())["identity"]
        except (OSError, ValueError, KeyError):
            raise ConfigError(f"{file} is damaged", "remove the folder, or name another") from None
        if before != own:
            differing = ", ".join(sorted(name for name in {*own, *before} if own.get(name) != before.get(name)))
            raise ConfigError(f"{out} holds maps of another {differing}", "name another OUT")
        return
    write_json(file, {"schema": 1, "identity": dict(own), "complete": False})


def _refuse_foreign(out: Path) -> None:
    """Raises ConfigError where ``out`` holds something else; before anything is written there."""
    if not out.exists() or (out / ABOUT).exists():
        return
    if any(entry.name != LOCK and not entry.name.startswith(".") for entry in out.iterdir()):
        raise ConfigError(f"{out} exists, and holds no maps", "name a folder that does not exist")


def _conclude(out: Path, applied: Applied) -> None:
    own = parse_object((out / ABOUT).read_bytes())["identity"]
    counts = {"samples": applied.samples, "mapped": applied.mapped, "maps": applied.maps}
    write_json(out / ABOUT, {"schema": 1, "identity": own, "complete": True, **counts})


def _write_windows(out: Path, rows: Sequence[tuple[str, int, int]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("key", "label_i", "label_j"))
    writer.writerows(rows)
    write_atomically(out / WINDOWS, buffer.getvalue().encode())


def _tick_from(tick: Tick, start: int, total: int, done: int) -> None:
    tick(start + done, total)


class _Shards:
    """Shards to files."""

    def __init__(self, model: Gloria, shards: ShardSet, out: Path, encode: CaptionEncoder, choices: Choices) -> None:
        self._model, self._shards, self._out, self._encode = model, shards, out, encode
        self._combine, self._values = choices.combine, choices.values
        self._questions = Questions(encode, shards.manifest.entities, choices.sentences, choices.words)
        self._size = model.recipe.image.high_size
        self._device = next(model.parameters()).device
        member = stating_member(model.recipe)
        assert member is not None  # of a GLoRIA
        self._member = member
        with torch.no_grad():
            blank = torch.zeros(1, 1, self._size, self._size, dtype=torch.uint8, device=self._device)
            self._grid = grid_of(model.image(blank)[0].shape[1])

    def write(self, shard: Shard, first: int, tick: Callable[[int], None]) -> ShardMaps:
        """All files of a shard, the last of which says that they are there.  first: number of its first sample"""
        threads = max(1, min(available_cores(), 16))
        numbers = range(first, first + len(shard.keys))
        with ThreadPoolExecutor(max(threads, self._shards.store.readers), thread_name_prefix="ecamp-fast-maps") as pool:
            told = list(pool.map(partial(self._read, shard.split), numbers))
            found: list[dict[str, np.ndarray]] = [{} for _ in told]
            for row, maps in self._maps(shard.split, first, told):
                found[row] = maps
                tick(row)
            whole = [self._whole(one, maps) for one, maps in zip(told, found, strict=True)]
        for one, values in zip(told, whole, strict=True):
            _write_map(self._out, one.key, values)
        os.sync()  # once, and not thousands of times: the file that says that they are there comes after it
        held = _held(told, found, whole, self._grid)
        write_atomically(self._out / name_of(shard), held.as_bytes())
        return held

    def _read(self, split: str, number: int) -> _Told:
        sample = self._shards.read(split, number, (self._member, METADATA))
        about = read_metadata(sample[METADATA], f"{self._shards.locate(sample.shard)}: {sample.key}")
        try:
            questions = self._questions(sample.get(self._member, b"").decode())
        except UnicodeDecodeError:
            raise DataError(f"{self._shards.locate(sample.shard)}: {sample.key}: no UTF-8", "repair the set") from None
        return _Told(sample.key, about["height"], about["width"], questions)

    def _maps(self, split: str, first: int, told: Sequence[_Told]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Of images with a question, their row in the shard and their maps by entity. Others are not decoded."""
        count = self._shards.count(split)
        rows = np.array([first + row for row, one in enumerate(told) if one.questions], np.int64)
        if not len(rows):
            return
        nothing = Labels([], np.zeros((count, 0), np.float32), [], [])
        data = TaskData(self._shards, split, nothing, rows, size=self._size, device=self._device)
        for batch in data.ordered(BATCH):
            own = (batch.samples - first).tolist()
            asked = [told[row].questions for row in own]
            found = entity_maps(self._model, batch.images, asked, self._encode, self._values)
            yield from zip(own, found, strict=True)

    def _whole(self, one: _Told, maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """(h, w) uint8"""
        values = combine(list(maps.values()), self._combine) if maps else np.zeros((self._grid, self._grid), np.float32)
        return in_levels(over_whole(values, one.height, one.width))


def _write_map(out: Path, key: str, whole: np.ndarray) -> None:
    """Complete or absent after a kill; on the disk once that is synced.  Raises StorageError."""
    path, temporary = out / f"{key}.pgm", out / ".map.tmp-0"
    try:
        with open_private(temporary, "wb") as file:
            reach("write", file=path.name)
            file.write(pgm(Image.fromarray(whole)))
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}", "free space, or check permissions") from error


def _held(
    told: Sequence[_Told], found: Sequence[Mapping[str, np.ndarray]], whole: Sequence[np.ndarray], grid: int
) -> ShardMaps:
    pairs = [(one, name, maps[name]) for one, maps in zip(told, found, strict=True) for name in maps]
    maps = np.array([values for _, _, values in pairs], np.float32).reshape(-1, grid, grid)
    sizes = np.array([(one.height, one.width) for one, _, _ in pairs], np.int32).reshape(-1, 2)
    heights, widths = (np.array([getattr(one, name) for one in told], np.int64) for name in ("height", "width"))
    return ShardMaps(
        keys=np.array([one.key for one, _, _ in pairs], dtype=str),
        entities=np.array([name for _, name, _ in pairs], dtype=str),
        maps=in_levels(maps),
        peaks=maps.max((1, 2), initial=0),
        square=whole_boxes(sizes[:, 0], sizes[:, 1]),
        image=sizes,
        samples=np.array([one.key for one in told], dtype=str),
        windows=window_labels(whole, heights, widths),
    )
