"""The maps that ``attend apply`` wrote (``map_files``), each with the boxes that the set has of its finding."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecamp_fast.attend.map_files import read_maps, split_of
from ecamp_fast.attend.map_scores import MapPair
from ecamp_fast.errors import DataError
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.strict_json import parse_object
from ecamp_fast.text.reading.entities import EntityList
from ecamp_fast.text.statements import finding_of

_AGAIN = "run `ecamp-fast attend apply` anew"


class StoredMap(NamedTuple):
    """A row: ``map`` (G, G) uint8, ``square`` and ``image`` of 4 and 2 whole numbers, as of ``map_files.ShardMaps``."""

    key: str
    entity: str
    map: np.ndarray
    square: tuple[int, ...]
    image: tuple[int, ...]


@dataclass(frozen=True)
class BoxedMaps:
    """What can be judged of a split.

    pairs     maps with boxes of their finding, in the order of the split
    samples   of the split
    unmapped  findings of an image with boxes, but without a map: its text does not state them, say
    unboxed   maps of an image and a finding without boxes
    """

    pairs: list[MapPair]
    samples: int
    unmapped: int
    unboxed: int


def read_stored(folder: Path, split: str) -> Iterator[StoredMap]:
    """All rows of a split.  Raises DataError where there are none, or a file is not what ``attend apply`` writes."""
    about = folder / "apply.json"
    if about.exists() and not parse_object(about.read_bytes()).get("complete"):
        raise DataError(f"{folder} is not finished", "run the same `ecamp-fast attend apply` to its end")
    files = [file for file in sorted(folder.glob("maps-*.npz")) if split_of(file) == split]
    if not files:
        found = sorted({name for file in folder.glob("*.npz") if (name := split_of(file))})
        had = f"it has {', '.join(found)}" if found else "it has none at all"
        raise DataError(f"{folder} has no maps of split '{split}'; {had}", "name the OUT of `ecamp-fast attend apply`")
    for file in files:
        yield from _rows(file)


def read_boxed(folder: Path, shards: ShardSet, split: str) -> BoxedMaps:
    """Maps and boxes of a split. Findings and entities are one where they have the same noun by the set's list.

    Where several entities have the noun of a finding, its map is the highest of theirs.
    Raises DataError as ``read_stored``; where a key is not in the split, an image is of another size than the set's, or
    a map stands twice.
    """
    number = {shards.key(split, index): index for index in range(shards.count(split))}
    about = {key: shards.metadata(split, index) for key, index in number.items()}
    nouns = _Nouns(shards.manifest.entities)
    wanted = {(key, str(box["finding"])) for key, one in about.items() for box in one.get("boxes", ())}
    of_noun: dict[tuple[str, str], list[str]] = {}
    for key, finding in sorted(wanted):
        of_noun.setdefault((key, nouns(finding)), []).append(finding)
    found: dict[tuple[str, str], MapPair] = {}
    seen: set[tuple[str, str]] = set()
    unboxed = 0
    for stored in read_stored(folder, split):
        if stored.key not in number:
            raise DataError(f"{folder}: {stored.key} is not in split '{split}' of {shards.path}", "name its set")
        if stored[:2] in seen:
            raise DataError(f"{folder}: two maps of {stored.key} and {stored.entity}", _AGAIN)
        seen.add(stored[:2])
        metadata = about[stored.key]
        _require_size(folder, stored, metadata)
        findings = of_noun.get((stored.key, nouns(stored.entity)), [])
        unboxed += not findings
        for finding in findings:
            pair = _pair(stored, finding, metadata)
            if pair is not None and (before := found.get((stored.key, finding))) is not None:
                pair = before._replace(map=np.maximum(before.map, pair.map))
            if pair is not None:
                found[stored.key, finding] = pair
    order = sorted(found, key=lambda one: (number[one[0]], one[1]))
    return BoxedMaps([found[one] for one in order], len(number), len(wanted - found.keys()), unboxed)


class _Nouns(dict[str, str]):
    """What a name of a finding or entity is called by a list of entities."""

    def __init__(self, entities: EntityList) -> None:
        super().__init__()
        self._entities = entities

    def __call__(self, name: str) -> str:
        if name not in self:
            self[name] = finding_of(name.replace("_", " "), self._entities) or name.casefold()
        return self[name]


def _rows(file: Path) -> Iterator[StoredMap]:
    held = read_maps(file)
    assert held is not None  # it was listed
    columns = (held.keys, held.entities, held.maps, held.square.tolist(), held.image.tolist())
    for key, entity, one, where, size in zip(*columns, strict=True):
        yield StoredMap(str(key), str(entity), one, tuple(where), tuple(size))


def _require_size(folder: Path, stored: StoredMap, metadata: dict[str, Any]) -> None:
    height, width = metadata["height"], metadata["width"]
    if stored.image != (height, width):
        told = f"{stored.image[1]} x {stored.image[0]} pixels, the set's has {width} x {height}"
        raise DataError(f"{folder}: the image of {stored.key} had {told}", "name the set that the maps were made of")


def _pair(stored: StoredMap, finding: str, metadata: dict[str, Any]) -> MapPair | None:
    """None where no box of the finding reaches into the square."""
    top, left, height, width = stored.square
    boxes = [
        ((box["x"] - left) / width, (box["y"] - top) / height, box["width"] / width, box["height"] / height)
        for box in metadata["boxes"]
        if box["finding"] == finding
    ]
    corners = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes]).clip(0, 1)
    corners = corners[(corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])]
    patient = str(metadata.get("patient_id") or metadata["study_id"])
    return MapPair(stored.key, finding, patient, stored.map, corners) if len(corners) else None
