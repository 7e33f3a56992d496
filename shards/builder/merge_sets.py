"""Sets that were built by themselves become one: their shards byte for byte, under new numbers, and one manifest.

Nothing is made anew: sets whose tokens, marks or masks mean different things are refused, and so are keys that two sets
have, and patients on both sides of the split. A merge that was killed goes on with the shards that are there.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ecamp_fast import __version__
from ecamp_fast.errors import ConfigError, DataError, StorageError
from ecamp_fast.files import sha256_of, write_atomically, write_new
from ecamp_fast.shards.builder.build import BuildReport
from ecamp_fast.shards.builder.journal import JOURNAL
from ecamp_fast.shards.builder.manifest_counts import counts, text_statistics
from ecamp_fast.shards.builder.notice import write_notice
from ecamp_fast.shards.builder.output import Output, check_free, remove, require_apart
from ecamp_fast.shards.format.labels import BLANK_IS_NEGATIVE
from ecamp_fast.shards.format.manifest import (
    MANIFEST,
    MASKS,
    MERGED,
    METADATA,
    SPLITS,
    TOKENIZER,
    TOKENS,
    Manifest,
    Shard,
    read_manifest,
    write_manifest,
)
from ecamp_fast.shards.format.metadata import read_metadata
from ecamp_fast.shards.format.tokens import unpack_tokens
from ecamp_fast.shards.load.alike import Named, require_alike
from ecamp_fast.shards.load.read import ShardSet

KIND = "merged"  # of the source where the sets are of several kinds
_CHUNK = 8 * 2**20  # bytes
_REMEDY = "`ecamp-fast shard verify` names all damage, and what mends it"
_APART = "train on them without merging: --data A --data B"


@dataclass(slots=True)
class _Read:
    """What the samples of all sets say, in the order of the merged set.

    splits   of each patient that is named
    labelled whether a sample of a set has a label, by set
    """

    studies: list[str] = field(default_factory=list)
    patients: list[str] = field(default_factory=list)
    report_tokens: list[int] = field(default_factory=list)
    distilled_tokens: list[int] = field(default_factory=list)
    splits: dict[str, set[str]] = field(default_factory=dict)
    labelled: list[bool] = field(default_factory=list)


def are_sets(folders: Sequence[Path]) -> bool:
    """Whether these are finished sets, no parts of a build.  Raises ConfigError where some are and some are not."""
    whole = [(folder / MANIFEST).exists() for folder in folders]
    if any(whole) and not all(whole):
        other = folders[whole.index(False)]
        raise ConfigError(f"{folders[whole.index(True)]} is a whole set, {other} is none", "name sets, or parts")
    return all(whole)


def merge_sets(
    sets: Sequence[str | Path], out: str | Path, tick: Callable[[int, int], None] = lambda done, total: None
) -> BuildReport:
    """Join whole sets into the set ``out``, which must not exist, or be the finished merge of these.

    Every shard is copied, its SHA-256 checked on the way. tick: receives progress: shards copied, of all
    Raises ConfigError for fewer than two different sets and for an ``out`` in one of them, DataError where they do not
    fit or one is damaged, StorageError.
    """
    began = time.perf_counter()
    require_apart(sets, Path(out))
    opened = [ShardSet(Path(one)) for one in sets]
    source = _source(opened)
    target = Path(os.path.realpath(out))
    if (target / MANIFEST).exists() and (done := read_manifest(target)).source == source:
        return BuildReport(target, done, time.perf_counter() - began, done.counts["samples"], finished=True)
    check_free(target)  # before all samples are read
    _require_fit(opened)
    read = _read(opened)
    _require_apart(read)
    shards = _numbered(opened)
    labels = _labels(opened, read.labelled)
    with_text = next((one for one in opened if one.manifest.tokenizer_digest), opened[0])
    with Output(target) as output:
        output.keep = True
        resumed = _copy_all(shards, output, tick)
        try:
            if with_text.manifest.tokenizer_digest:
                write_atomically(output.folder / TOKENIZER, with_text.wordpiece_path.read_bytes())
        except OSError as error:
            raise DataError(f"{with_text.wordpiece_path} cannot be read: {error.strerror}", "restore it") from None
        for kind in sorted({one.manifest.source["kind"] for one in opened}):
            write_notice(output.folder, kind)
        manifest = _manifest(opened, with_text.manifest, source, [new for _, _, new in shards], read, labels)
        write_manifest(output.folder, manifest)
        output.commit()
    return BuildReport(output.out, read_manifest(output.out), time.perf_counter() - began, resumed)


def _source(sets: Sequence[ShardSet]) -> dict[str, Any]:
    """Where the merged set comes from.  Raises ConfigError for fewer than two different sets."""
    held = [one.manifest for one in sets]
    twice = [digest for digest, number in Counter(one.digest for one in held).items() if number > 1]
    if twice or len(sets) < 2:
        found = "a set is named twice" if twice else f"{sets[0].path} alone is whole already"
        raise ConfigError(found, "name two sets or more, each once")
    kinds = {one.source["kind"] for one in held}
    return {
        "kind": kinds.pop() if len(kinds) == 1 else KIND,
        MERGED: [
            {
                "name": Path(one.path).resolve().name,
                "manifest": one.manifest.digest,
                "builder": one.manifest.builder,
                "shards": {split: len(one.manifest.of(split)) for split in one.splits},
                "source": one.manifest.source,
            }
            for one in sets
        ],
    }


def _require_fit(sets: Sequence[ShardSet]) -> None:
    """Raises DataError where what is stored would mean something else beside the other sets, or keys collide."""
    require_alike([Named(str(one.path), one.manifest) for one in sets])
    masked = [one for one in sets if any(MASKS in shard.members for shard in one.manifest.shards)]
    for one in masked[1:]:
        if one.manifest.masks != masked[0].manifest.masks:
            found = f"the planes of masks are others in {one.path} than in {masked[0].path}"
            raise DataError(found, "build one set of both sources, or merge those without masks")
    keys = Counter(key.lower() for one in sets for shard in one.manifest.shards for key in shard.keys)
    if shared := sum(number > 1 for number in keys.values()):
        raise DataError(
            f"{shared:,} keys come in more than one set, and a set names a sample once",
            f"{_APART}; or build one of them again with other study ids",
        )


def _read(sets: Sequence[ShardSet]) -> _Read:
    """Every sample's metadata and tokens, checked by their CRC32."""
    read = _Read(labelled=[False] * len(sets))
    for split in SPLITS:
        for number, one in enumerate(sets):
            if split not in one.splits:
                continue
            for sample in one.samples(split, (TOKENS, METADATA)):
                about = read_metadata(sample[METADATA], f"{one.locate(sample.shard)}: {sample.key}")
                read.studies.append(about["study_id"])
                read.patients.append(about["patient_id"])
                read.splits.setdefault(about["patient_id"], set()).add(split)
                read.labelled[number] |= bool(about["labels"])
                if TOKENS in sample:
                    report, distilled = unpack_tokens(sample[TOKENS])
                    read.report_tokens.append(len(report))
                    read.distilled_tokens.append(len(distilled))
    return read


def _require_apart(read: _Read) -> None:
    """Raises DataError where a patient is in two splits."""
    if both := sum(len(splits) > 1 for patient, splits in read.splits.items() if patient):
        raise DataError(
            f"{both:,} patients are in one split of one set and in another split of another, by their names",
            f"if they are the same people, build one set of all sources; if names are alike by chance, {_APART}",
        )


def _labels(sets: Sequence[ShardSet], labelled: Sequence[bool]) -> tuple[str, ...]:
    """The classes of all sets.  Raises DataError where a class that is not stated means another thing in each."""
    with_labels = [one for one, has in zip(sets, labelled, strict=True) if has]
    meaning = {_blank(one.manifest) for one in with_labels}
    if len(meaning) > 1:
        raise DataError(
            "a class that a sample does not state is absent in one set and unknown in another",
            f"build them with the same --labels; {_APART}",
        )
    return tuple(dict.fromkeys(name for one in with_labels for name in one.manifest.labels))


def _blank(manifest: Manifest) -> tuple[bool, str]:
    """What is not stated of a class: whether the set lists its classes, and the kind whose blanks are absent ones."""
    kind = str(manifest.source["kind"])
    return bool(manifest.labels), kind if manifest.labels and kind in BLANK_IS_NEGATIVE else ""


def _numbered(sets: Sequence[ShardSet]) -> list[tuple[Path, Shard, Shard]]:
    """Of each shard the folder, its entry there and its entry in the merged set; by split, sets in their order."""
    found = []
    for split in SPLITS:
        old = [(Path(one.path), shard) for one in sets for shard in one.manifest.of(split)]
        for number, (folder, shard) in enumerate(old):
            found.append((folder, shard, replace(shard, name=f"{split}-{number:06d}.tar")))
    return found


def _copy_all(shards: Sequence[tuple[Path, Shard, Shard]], output: Output, tick: Callable[[int, int], None]) -> int:
    """Copy what is not there yet; what nobody asked for goes. Returns the samples that were there."""
    wanted = {new.name for _, _, new in shards}
    resumed = 0
    try:
        for entry in (output.workspace / JOURNAL, *output.folder.iterdir()):
            if entry.name not in wanted and os.path.lexists(entry):
                remove(entry)
        for done, (folder, old, new) in enumerate(shards, 1):
            target = output.folder / new.name
            if target.is_file() and target.stat().st_size == new.bytes and sha256_of(target) == new.sha256:
                resumed += len(new.keys)
            elif write_new(target, _chunks(folder / old.name)) != new.sha256:
                raise DataError(f"{folder / old.name}: SHA-256 differs from the manifest", _REMEDY)
            tick(done, len(shards))
    except OSError as error:
        raise StorageError(f"cannot write {output.folder}: {error.strerror}", "free space") from error
    return resumed


def _chunks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _manifest(
    sets: Sequence[ShardSet],
    of_text: Manifest,
    source: dict[str, Any],
    shards: Sequence[Shard],
    read: _Read,
    labels: tuple[str, ...],
) -> Manifest:
    held = [one.manifest for one in sets]
    named = list(zip((entry["name"] for entry in source[MERGED]), held, strict=True))
    return Manifest(
        builder=__version__,
        source=source,
        short_side=max(one.short_side for one in held),
        tokenizer_digest=of_text.tokenizer_digest,
        vocab_size=of_text.vocab_size,
        rules_digest=of_text.rules_digest,
        counts=counts(
            read.studies,
            read.patients,
            sum(one.counts["dropped_empty"] for one in held),
            sum(shard.without_text for shard in shards),
        ),
        text=text_statistics(read.report_tokens, read.distilled_tokens),
        shards=tuple(shards),
        notes=tuple(f"{name}: {note}" for name, one in named for note in one.notes),
        quarantined=tuple(row for one in held for row in one.quarantined),
        labels=labels,
        masks=next((one.masks for one in held if one.masks), ()),
        entities=of_text.entities,
    )
