"""What a shard set consists of: the names of its members and its MANIFEST.json, read and written.

A shard set is a folder of plain USTAR files, ``tokenizer.json`` and ``MANIFEST.json``. The manifest is the authority:
it knows every member's place, size and CRC32, and it carries its own digest, so damage to it is noticed too.

Members of a sample, in this order:

``KEY.jpg``            grey 8-bit baseline JPEG
``KEY.attn.pgm``       optional: attention map over the whole image, binary 8-bit PGM of any size
``KEY.masks.png``      optional: finding masks of a phantom, bit i of a pixel = finding i of ``phantom.FINDINGS``
``KEY.txt``            report, UTF-8
``KEY.distilled.txt``  distilled text, UTF-8, may be empty
``KEY.tokens``         little-endian int32: 1 (format), n report codes, m distilled codes, then the n + m codes
``KEY.json``           metadata
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecamp_fast.errors import DataError
from ecamp_fast.files import write_atomically

FORMAT = 1
MANIFEST = "MANIFEST.json"
TOKENIZER = "tokenizer.json"
SPLITS = ("train", "val", "test")

IMAGE, ATTENTION, MASKS = "jpg", "attn.pgm", "masks.png"
REPORT, DISTILLED, TOKENS, METADATA = "txt", "distilled.txt", "tokens", "json"
EXTENSIONS = (IMAGE, ATTENTION, MASKS, REPORT, DISTILLED, TOKENS, METADATA)
OPTIONAL = frozenset({ATTENTION, MASKS})

_SHARD_NAME = re.compile(r"[A-Za-z0-9_-]+\.tar")
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_HEAD = re.compile(rb'\{"sha256":"([0-9a-f]{64})",')
_REBUILD = "restore the file from a copy, or build the set again"


@dataclass(frozen=True, slots=True)
class Members:
    """One extension of one shard, a row per sample: offset, size, crc32 (n,) int64; -1 where the sample lacks it."""

    offset: np.ndarray
    size: np.ndarray
    crc32: np.ndarray


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar file: ``bytes`` and ``sha256`` of the whole, ``keys`` in order, ``members`` by extension."""

    name: str
    split: str
    bytes: int
    sha256: str
    keys: tuple[str, ...]
    members: dict[str, Members]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of MANIFEST.json.

    source      kind and file name (never a private path) of what the set was built from, and the build's options
    short_side  largest short side of the images in pixels
    tokenizer_digest  sha256 of tokenizer.json;  vocab_size its number of entries
    entities_digest   sha256 of the entity list the tokens were annotated with
    counts      samples, studies, patients (0: not known), dropped_empty
    text        tokens per sample as trained on ([CLS] + report + distilled): mean, p50, p95, max, and report_* alike
    notes       what a reader should know, such as a table that was not UTF-8
    quarantined rows left out because their image was bad: {"origin", "fault"}
    digest      sha256 of the manifest itself, which is the identity of the set; '' before it is written
    """

    builder: str
    source: dict[str, Any]
    short_side: int
    tokenizer_digest: str
    vocab_size: int
    entities_digest: str
    counts: dict[str, int]
    text: dict[str, float]
    shards: tuple[Shard, ...]
    notes: tuple[str, ...] = ()
    quarantined: tuple[dict[str, str], ...] = ()
    digest: str = ""

    def of(self, split: str) -> tuple[Shard, ...]:
        """The shards of a split, in order."""
        return tuple(shard for shard in self.shards if shard.split == split)

    def count(self, split: str) -> int:
        """Samples of a split; 0 if it does not exist."""
        return sum(len(shard.keys) for shard in self.of(split))

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that hold samples."""
        return tuple(split for split in SPLITS if self.count(split))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write MANIFEST.json atomically; its first field is the SHA-256 of all bytes behind that field."""
    rest = json.dumps(_to_json(manifest), separators=(",", ":"), ensure_ascii=False).encode()[1:]
    digest = hashlib.sha256(rest).hexdigest()
    write_atomically(folder / MANIFEST, b'{"sha256":"' + digest.encode() + b'",' + rest)


def read_manifest(folder: Path) -> Manifest:
    """Read and check MANIFEST.json.  Raises DataError: missing, damaged, or of another format."""
    path = folder / MANIFEST
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{folder} is no shard set: it has no {MANIFEST}", "`ecamp-fast shard build` makes one"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", "check the path and its permissions") from None
    head = _HEAD.match(raw)
    if not head or hashlib.sha256(memoryview(raw)[head.end() :]).hexdigest().encode() != head[1]:
        raise DataError(f"{path}: damaged: its digest does not match its content", _REBUILD)
    tree = json.loads(raw)
    if tree.get("format") != FORMAT:
        raise DataError(f"{path}: format {tree.get('format')}, this version reads {FORMAT}", "match the versions")
    try:
        return _from_json(tree, head[1].decode())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a manifest: {type(error).__name__}: {error}", _REBUILD) from None


def _to_json(manifest: Manifest) -> dict[str, Any]:
    shards = [
        {
            "name": shard.name,
            "split": shard.split,
            "bytes": shard.bytes,
            "sha256": shard.sha256,
            "keys": shard.keys,
            "members": {
                extension: {name: getattr(members, name).tolist() for name in Members.__dataclass_fields__}
                for extension, members in shard.members.items()
            },
        }
        for shard in manifest.shards
    ]
    return {
        "format": FORMAT,
        "builder": manifest.builder,
        "source": manifest.source,
        "short_side": manifest.short_side,
        "tokenizer": {"file": TOKENIZER, "sha256": manifest.tokenizer_digest, "vocab_size": manifest.vocab_size},
        "entities": manifest.entities_digest,
        "splits": {split: manifest.count(split) for split in manifest.splits},
        "counts": manifest.counts,
        "text": manifest.text,
        "notes": manifest.notes,
        "quarantined": manifest.quarantined,
        "shards": shards,
    }


def _from_json(tree: Mapping[str, Any], digest: str) -> Manifest:
    return Manifest(
        builder=tree["builder"],
        source=dict(tree["source"]),
        short_side=int(tree["short_side"]),
        tokenizer_digest=tree["tokenizer"]["sha256"],
        vocab_size=int(tree["tokenizer"]["vocab_size"]),
        entities_digest=tree["entities"],
        counts=dict(tree["counts"]),
        text=dict(tree["text"]),
        shards=tuple(_shard(shard) for shard in tree["shards"]),
        notes=tuple(tree["notes"]),
        quarantined=tuple(tree["quarantined"]),
        digest=digest,
    )


def _shard(tree: Mapping[str, Any]) -> Shard:
    if not _SHARD_NAME.fullmatch(tree["name"]) or tree["split"] not in SPLITS:
        raise ValueError(f"shard {tree['name']!r} of split {tree['split']!r}")
    keys = tuple(tree["keys"])
    bad = [key for key in keys if not _KEY.fullmatch(key)]
    if bad:
        raise ValueError(f"shard {tree['name']}: key {bad[0]!r}")
    members = {
        extension: Members(**{name: np.asarray(columns[name], np.int64) for name in Members.__dataclass_fields__})
        for extension, columns in tree["members"].items()
    }
    for extension, columns in members.items():
        if not all(getattr(columns, name).shape == (len(keys),) for name in Members.__dataclass_fields__):
            raise ValueError(f"shard {tree['name']}: {extension} does not have one row per key")
    return Shard(tree["name"], tree["split"], int(tree["bytes"]), tree["sha256"], keys, members)
