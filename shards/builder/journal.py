"""The journal of a build: what was planned, and for every finished unit all that the manifest needs to know of it.

A folder of small files, each written atomically and sealed with its digest, so that a build may be killed at any
moment: a unit is finished when its entry is there, is whole, and describes the shards that lie beside it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ecamp_fast.errors import StorageError
from ecamp_fast.files import write_atomically
from ecamp_fast.machine import available_cores
from ecamp_fast.shards.format.manifest import Members, Shard
from ecamp_fast.shards.sources.base import RecordFault
from ecamp_fast.strict_json import parse_json

T = TypeVar("T")
Part = tuple[int, int]  # number from 1, of how many
WHOLE: Part = (1, 1)
JOURNAL = "journal"
_HEAD = "PLAN"


@dataclass(frozen=True, slots=True)
class JournalHeader:
    """The plan as far as it must be known without the source.

    part              the part of the plan that this journal is of
    name              of the source, for messages
    builder           version of ecamp-fast
    source            see ``Plan``
    identity          see ``Plan``
    tokenizer_digest  see ``Manifest``
    vocab_size        see ``Manifest``
    dropped_empty     see ``Plan``
    notes             see ``Plan``
    absent            see ``Plan``
    allowed           see ``Plan``
    units             names of all units of the plan, in order, those of other parts too
    labels            see ``Manifest``
    masks             see ``Manifest``
    """

    part: Part
    name: str
    builder: str
    source: dict[str, Any]
    identity: dict[str, Any]
    tokenizer_digest: str
    vocab_size: int
    dropped_empty: int
    notes: tuple[str, ...]
    absent: tuple[RecordFault, ...]
    allowed: int
    units: tuple[str, ...]
    labels: tuple[str, ...]
    masks: tuple[str, ...]

    @property
    def own_units(self) -> tuple[str, ...]:
        """Names of the units of this part."""
        return tuple(own_units(self.units, self.part))


@dataclass(frozen=True, slots=True)
class Done:
    """A finished unit.

    unit              its name
    shards            none if no image was good
    studies           of each sample, in order
    patients          of each sample, in order
    report_tokens     how many, of each sample with text
    distilled_tokens  how many, of each sample with text
    rejected          the rows that were left out
    inverted          origins of the samples whose picture looks inverted
    """

    unit: str
    shards: tuple[Shard, ...]
    studies: tuple[str, ...]
    patients: tuple[str, ...]
    report_tokens: tuple[int, ...]
    distilled_tokens: tuple[int, ...]
    rejected: tuple[RecordFault, ...]
    inverted: tuple[str, ...] = ()


class Journal:
    """The journal in ``folder``, which ``write_header`` makes.

    What is missing, damaged or of another version reads as None.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write_header(self, head: JournalHeader) -> None:
        """Write the header.  Raises StorageError."""
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot write {self.folder}: {error.strerror}", "check permissions") from error
        self._write(_HEAD, asdict(head))

    @property
    def begun(self) -> bool:
        """Whether a header was written, whatever became of it."""
        return (self.folder / f"{_HEAD}.json").exists()

    def header(self) -> JournalHeader | None:
        """The header."""
        return _parsed(_head, self._read(_HEAD))

    def add(self, done: Done) -> None:
        """Write the entry of a unit whose shards are on the disk.  Raises StorageError."""
        self._write(done.unit, asdict(done))

    def done(self, unit: str) -> Done | None:
        """The entry of a unit."""
        return _parsed(_done, self._read(unit))

    def _write(self, name: str, tree: dict[str, Any]) -> None:
        body = json.dumps(tree, default=np.ndarray.tolist).encode()
        write_atomically(self.folder / f"{name}.json", hashlib.sha256(body).hexdigest().encode() + b"\n" + body)

    def _read(self, name: str) -> Any:
        try:
            seal, _, body = (self.folder / f"{name}.json").read_bytes().partition(b"\n")
        except OSError:
            return None
        if hashlib.sha256(body).hexdigest().encode() != seal:
            return None
        try:
            return parse_json(body)
        except ValueError:
            return None


def own_units(units: Sequence[T], part: Part) -> Sequence[T]:
    """Of all units of a plan, those of a part: every n-th."""
    number, parts = part
    return units[number - 1 :: parts]


def intact(folder: Path, entries: Iterable[Done], tick: Callable[[], None] = lambda: None) -> list[Done]:
    """Those entries all of whose shards lie in ``folder`` with the recorded bytes.  tick: called for every entry"""
    entries, found = list(entries), []
    with ThreadPoolExecutor(available_cores()) as pool:  # hashing lets other threads run
        for done, good in zip(entries, pool.map(lambda d: _is_intact(folder, d), entries), strict=True):
            found += [done] if good else []
            tick()
    return found


def _is_intact(folder: Path, done: Done) -> bool:
    for shard in done.shards:
        try:
            with open(folder / shard.name, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                    return False
        except OSError:
            return False
    return True


def _parsed(make: Callable[[Any], T], tree: Any) -> T | None:
    """None where nothing was read, or what was read has other fields: another version wrote it."""
    try:
        return None if tree is None else make(tree)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None


def _head(tree: dict[str, Any]) -> JournalHeader:
    changes = {"part": tuple(tree["part"]), "absent": _faults(tree["absent"])}
    return JournalHeader(**tree | changes | {name: tuple(tree[name]) for name in ("notes", "units", "labels", "masks")})


def _done(tree: dict[str, Any]) -> Done:
    plain = ("studies", "patients", "report_tokens", "distilled_tokens", "inverted")
    shards = tuple(_shard(shard) for shard in tree["shards"])
    changes = {"shards": shards, "rejected": _faults(tree["rejected"])}
    return Done(**tree | changes | {name: tuple(tree.get(name, ())) for name in plain})


def _faults(trees: list[dict[str, str]]) -> tuple[RecordFault, ...]:
    return tuple(RecordFault(**tree) for tree in trees)


def _shard(tree: dict[str, Any]) -> Shard:
    members = {
        extension: Members(**{name: np.array(column, np.int64) for name, column in columns.items()})
        for extension, columns in tree["members"].items()
    }
    return Shard(**tree | {"keys": tuple(tree["keys"]), "members": members})
