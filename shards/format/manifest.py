"""What a shard set consists of: the names of its members and its MANIFEST.json, read and written.

A shard set is a folder of plain USTAR files, ``tokenizer.json``, ``INDEX.bin`` and ``MANIFEST.json``. The manifest is
the authority: it knows the digest of every file, its own, and that of the index, which has every member's place, size
and CRC32.

Members of a sample, in this order:

``KEY.jpg``            grey 8-bit baseline JPEG
``KEY.attn.pgm``       optional: attention map over the whole image, binary 8-bit PGM of any size
``KEY.masks.png``      optional: bit i of a pixel is set where mask i of ``Manifest.masks`` lies
``KEY.txt``            report, UTF-8; it and the next two are there together, or not at all: an image alone
``KEY.distilled.txt``  distilled text, UTF-8, may be empty
``KEY.tokens``         little-endian int32: 1 (format), n report codes, m distilled codes, then the n + m codes
``KEY.json``           metadata
"""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ecamp_fast.errors import DataError
from ecamp_fast.files import missing_folder, write_atomically
from ecamp_fast.shards.format.member_index import INDEX, Members, open_index, pack_block, unpack_block
from ecamp_fast.strict_json import parse_object
from ecamp_fast.text.codes import ID_BITS
from ecamp_fast.text.entity_file import parse_entities
from ecamp_fast.text.reading.entities import DEFAULT, EntityList

FORMAT = 3
READABLE = (2, FORMAT)  # format 2: labels list what is present, masks are those of phantoms
MANIFEST = "MANIFEST.json"
TOKENIZER = "tokenizer.json"
SPLITS = ("train", "val", "test")
MERGED = "sets"  # entry of a source: the sets that were merged
PUT = "put"  # entry of a source: what was put into the set after it was built, once a time

IMAGE, ATTENTION, MASKS = "jpg", "attn.pgm", "masks.png"
REPORT, DISTILLED, TOKENS, METADATA = "txt", "distilled.txt", "tokens", "json"
EXTENSIONS = (IMAGE, ATTENTION, MASKS, REPORT, DISTILLED, TOKENS, METADATA)
OPTIONAL = frozenset({ATTENTION, MASKS})
TEXT = frozenset({REPORT, DISTILLED, TOKENS})  # all of them, or none
PLANES = 16  # masks of a set at most: bits of a pixel

# The planes of masks in sets of format 2.
_PHANTOM_PLANES = (
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "edema",
    "effusion",
    "mass",
    "nodule",
    "pneumothorax",
)

_SHARD_NAME = re.compile(r"[A-Za-z0-9_-]+\.tar")
_HEAD = re.compile(rb'\{"sha256":"([0-9a-f]{64})",')
_REBUILD = "restore the file from a copy, or build the set again"


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar file of a set.

    name     of the file
    split    train, val or test
    bytes    of the file
    sha256   of the file
    keys     of its samples, in order
    members  where each member of each sample lies, by extension
    """

    name: str
    split: str
    bytes: int
    sha256: str
    keys: Sequence[str]
    members: dict[str, Members]

    def image_alone(self, row: int) -> bool:
        """Whether a sample has none of the members ``TEXT``."""
        return all(self.members[extension].size[row] < 0 for extension in TEXT if extension in self.members)

    @property
    def without_text(self) -> int:
        """Samples that are an image alone."""
        absent = np.ones(len(self.keys), bool)
        for columns in (self.members[extension] for extension in TEXT if extension in self.members):
            absent &= columns.size < 0
        return int(absent.sum())


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of MANIFEST.json.

    builder           version of ecamp-fast that built the set
    source            kind and file name (never a private path) of what the set was built from, and the build's options
    short_side        largest short side of the images in pixels
    tokenizer_digest  sha256 of tokenizer.json; '' where all samples are images alone, and there is no tokenizer
    vocab_size        entries of the tokenizer; 0 where there is none
    rules_digest      sha256 of the rules that the reports were read by (``text.reading.version``); '' in sets of
                      versions that did not record it
    counts            samples, studies, patients (0: not known), dropped_empty, without_text (absent in older sets: 0)
    text              tokens per sample with text, as trained on ([CLS] + report + distilled): tokens_mean, tokens_p50,
                      tokens_p95, tokens_max; of the report alone report_* alike; {} where no sample has text
    shards            in the order of their splits and names
    notes             what a reader should know, such as a table that was not UTF-8
    quarantined       rows left out because their image was bad: {"origin", "fault", "kind"}
    labels            the classes in the source's order, where it states which are absent: a sample that does not have
                      one does not know it. (): samples list what is present, what they do not is absent
    masks             names of the planes of the masks, from bit 0; () where there are none, or the source names none
    entities          the list that the reports were read for; only one that is not the paper's is written
    digest            sha256 of the manifest itself, which is the identity of the set; '' before it is written
    """

    builder: str
    source: dict[str, Any]
    short_side: int
    tokenizer_digest: str
    vocab_size: int
    rules_digest: str
    counts: dict[str, int]
    text: dict[str, float]
    shards: tuple[Shard, ...]
    notes: tuple[str, ...] = ()
    quarantined: tuple[dict[str, str], ...] = ()
    labels: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    entities: EntityList = DEFAULT
    digest: str = ""

    def of(self, split: str) -> tuple[Shard, ...]:
        """The shards of a split, in order."""
        return tuple(shard for shard in self.shards if shard.split == split)

    def count(self, split: str) -> int:
        """Samples of a split; 0 if it does not exist."""
        return sum(len(shard.keys) for shard in self.of(split))

    def without_text(self, split: str) -> int:
        """Samples of a split that are an image alone. Sets without any answer at once, others by INDEX.bin."""
        return sum(shard.without_text for shard in self.of(split)) if self.counts.get("without_text") else 0

    def with_map(self, split: str) -> int:
        """Samples of a split that have an attention map."""
        shards = self.of(split)
        return sum(int((s.members[ATTENTION].size >= 0).sum()) for s in shards if ATTENTION in s.members)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that hold samples."""
        return tuple(split for split in SPLITS if self.count(split))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write INDEX.bin, then MANIFEST.json, atomically; its first field is the SHA-256 of all bytes behind it."""
    index, digest, rest = _encoded(manifest)
    write_atomically(folder / INDEX, index)
    write_atomically(folder / MANIFEST, b'{"sha256":"' + digest.encode() + b'",' + rest)


def digest_of(manifest: Manifest) -> str:
    """The digest that ``manifest`` has once it is written."""
    return _encoded(manifest)[1]


def _encoded(manifest: Manifest) -> tuple[bytes, str, bytes]:
    """INDEX.bin; the digest of MANIFEST.json, and its bytes behind that."""
    blocks = [pack_block(shard.keys, shard.members) for shard in manifest.shards]
    index = b"".join(blocks)
    tree = _to_json(manifest, [len(block) for block in blocks], hashlib.sha256(index).hexdigest())
    rest = json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()[1:]
    return index, hashlib.sha256(rest).hexdigest(), rest


def require_set(folder: Path) -> None:
    """Raises DataError, with what to do, where ``folder`` is none or has no MANIFEST.json. Nothing is read."""
    try:
        os.stat(folder / MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        fault = missing_folder(folder) or f"{folder} is no shard set: it has no {MANIFEST}"
        tables = [folder] if folder.is_file() else sorted(folder.glob("*.csv"))
        build = f" --from csv {shlex.quote(str(tables[0]))} OUT" if tables and tables[0].suffix == ".csv" else ""
        raise DataError(fault, f"check the path; `ecamp-fast shard build{build}` makes a set") from None
    except OSError:  # who reads it says why it cannot be
        pass


def read_manifest(folder: Path) -> Manifest:
    """Read and check MANIFEST.json and INDEX.bin.  Raises DataError: missing, damaged, or of another format."""
    path = folder / MANIFEST
    require_set(folder)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", "check the path and its permissions") from None
    tree, digest = _parse(raw, str(path))
    try:
        return _from_json(tree, digest, _index(folder / INDEX, tree["index"]))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _no_manifest(str(path), error) from None


@dataclass(frozen=True, slots=True)
class Digests:
    """SHA-256 of a manifest itself, and of the files it names that are no shards."""

    manifest: str
    index: str
    tokenizer: str


def manifest_digests(raw: bytes, place: str) -> Digests:
    """What a MANIFEST.json says of itself; ``place`` names it in errors.  Raises DataError as ``read_manifest``."""
    tree, digest = _parse(raw, place)
    try:
        return Digests(digest, str(tree["index"]["sha256"]), str(tree["tokenizer"]["sha256"]))
    except (KeyError, TypeError) as error:
        raise _no_manifest(place, error) from None


def _parse(raw: bytes, place: str) -> tuple[dict[str, Any], str]:
    """The checked content, and its digest."""
    head = _HEAD.match(raw)
    if not head or hashlib.sha256(memoryview(raw)[head.end() :]).hexdigest().encode() != head[1]:
        raise DataError(f"{place}: damaged: its digest does not match its content", _REBUILD)
    try:
        tree = parse_object(raw)
    except ValueError as error:
        raise _no_manifest(place, error) from None
    if tree.get("format") not in READABLE:
        reads = " and ".join(map(str, READABLE))
        raise DataError(f"{place}: format {tree.get('format')}, this version reads {reads}", "match the versions")
    return tree, head[1].decode()


def _no_manifest(place: str, error: Exception) -> DataError:
    return DataError(f"{place}: not a manifest: {type(error).__name__}: {error}", _REBUILD)


def _index(path: Path, entry: Mapping[str, Any]) -> np.ndarray:
    try:
        return open_index(path, int(entry["bytes"]), entry["sha256"])
    except FileNotFoundError:
        raise DataError(f"{path} is missing", _REBUILD) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", "check the path and its permissions") from None
    except ValueError as error:
        raise DataError(f"{path}: {error}", _REBUILD) from None


def _to_json(manifest: Manifest, blocks: list[int], digest: str) -> dict[str, Any]:
    """The manifest as it is written.  blocks: bytes of each shard in the index   digest: of the index"""
    shards = [
        {
            "name": shard.name,
            "split": shard.split,
            "samples": len(shard.keys),
            "bytes": shard.bytes,
            "sha256": shard.sha256,
            "index_bytes": block,
            "members": list(shard.members),
        }
        for shard, block in zip(manifest.shards, blocks, strict=True)
    ]
    own = manifest.entities != DEFAULT
    return {
        "format": FORMAT,
        "builder": manifest.builder,
        "source": manifest.source,
        "short_side": manifest.short_side,
        "tokenizer": {"file": TOKENIZER, "sha256": manifest.tokenizer_digest, "vocab_size": manifest.vocab_size},
        "rules_digest": manifest.rules_digest,
        **({"entities_digest": manifest.entities.digest, "entities": manifest.entities.tree()} if own else {}),
        "index": {"file": INDEX, "bytes": sum(blocks), "sha256": digest},
        "splits": {split: manifest.count(split) for split in manifest.splits},
        "counts": manifest.counts,
        "text": manifest.text,
        "notes": manifest.notes,
        "quarantined": manifest.quarantined,
        "labels": manifest.labels,
        "masks": manifest.masks,
        "shards": shards,
    }


def _from_json(tree: Mapping[str, Any], digest: str, index: np.ndarray) -> Manifest:
    ends = list(accumulate(int(shard["index_bytes"]) for shard in tree["shards"]))
    if ends and ends[-1] != len(index):
        raise ValueError(f"the blocks of {INDEX} do not fill it")
    blocks = (index[start:end] for start, end in zip([0, *ends], ends, strict=False))
    _check_kinds(tree)
    return Manifest(
        builder=tree["builder"],
        source=dict(tree["source"]),
        short_side=int(tree["short_side"]),
        tokenizer_digest=tree["tokenizer"]["sha256"],
        vocab_size=int(tree["tokenizer"]["vocab_size"]),
        rules_digest=tree.get("rules_digest", ""),
        counts=dict(tree["counts"]),
        text=dict(tree["text"]),
        shards=tuple(_shard(shard, block) for shard, block in zip(tree["shards"], blocks, strict=True)),
        notes=tuple(tree["notes"]),
        quarantined=tuple(tree["quarantined"]),
        labels=tuple(tree.get("labels", ())),
        masks=tuple(tree.get("masks", _former_planes(tree))),
        entities=_entities(tree),
        digest=digest,
    )


def _entities(tree: Mapping[str, Any]) -> EntityList:
    found = parse_entities(tree.get("entities"))
    if tree.get("entities_digest", DEFAULT.digest) != found.digest:
        raise ValueError("entities whose digest differs")
    return found


def _former_planes(tree: Mapping[str, Any]) -> Sequence[str]:
    """The planes of a set of format 2."""
    return _PHANTOM_PLANES if any(MASKS in shard["members"] for shard in tree["shards"]) else ()


def _check_kinds(tree: Mapping[str, Any]) -> None:
    """Raises ValueError where a field would be printed, counted or allocated and is not what a builder writes."""
    numbers = {**tree["counts"], "short_side": tree["short_side"], **tree["text"]}
    if not all(type(value) in (int, float) and 0 <= value < 2**63 for value in numbers.values()):
        raise ValueError("counts that are no numbers")
    if not all(type(value) is int for value in tree["counts"].values()):
        raise ValueError("counts that are not whole")
    entries = tree["tokenizer"]["vocab_size"]
    if type(entries) is not int or not 0 <= entries <= 2**ID_BITS:
        raise ValueError(f"a vocabulary of more than {2**ID_BITS:,} entries, or of none")
    texts = [tree["builder"], tree["tokenizer"]["sha256"], tree.get("rules_digest", ""), *tree["notes"]]
    texts += [value for row in tree["quarantined"] for value in (*row, *row.values())]
    if not all(isinstance(value, str) for value in texts) or not isinstance(tree["notes"], list):
        raise ValueError("notes that are no texts")
    for names in (tree.get("labels", []), tree.get("masks", [])):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("names of labels or masks that are no texts")
        if len({*names}) != len(names):
            raise ValueError("a name of labels or masks twice")
    if len(tree.get("masks", [])) > PLANES:
        raise ValueError(f"more than {PLANES} masks")


def _shard(tree: Mapping[str, Any], block: np.ndarray) -> Shard:
    if type(tree["bytes"]) is not int or type(tree["samples"]) is not int or min(tree["bytes"], tree["samples"]) < 0:
        raise ValueError("a shard whose size is no number")
    if not isinstance(tree["sha256"], str) or len(set(tree["members"])) != len(tree["members"]):
        raise ValueError("a shard without a digest, or with a kind of member twice")
    if not _SHARD_NAME.fullmatch(tree["name"]) or tree["split"] not in SPLITS:
        raise ValueError(f"shard {tree['name']!r} of split {tree['split']!r}")
    try:
        keys, members = unpack_block(block, int(tree["samples"]), tree["members"])
    except ValueError as error:
        raise ValueError(f"shard {tree['name']}: {error}") from None
    return Shard(tree["name"], tree["split"], int(tree["bytes"]), tree["sha256"], keys, members)
