"""Parts of a build, made on several machines, become one shard set: byte for byte that of a single build."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from ecamp_fast.errors import ConfigError, DataError, StorageError
from ecamp_fast.files import sync
from ecamp_fast.shards.builder.build import BuildReport
from ecamp_fast.shards.builder.journal import JOURNAL, Done, Journal, JournalHeader, intact
from ecamp_fast.shards.builder.manifest_counts import check_budget, manifest_of
from ecamp_fast.shards.builder.notice import write_notice
from ecamp_fast.shards.builder.output import Output, check_free, refuse_other, require_apart
from ecamp_fast.shards.builder.resume import differing
from ecamp_fast.shards.format.manifest import MANIFEST, TOKENIZER, digest_of, read_manifest, write_manifest

_AGAIN = "build that part again"
_MORE = "fix these rows, or build all parts again with a larger --reject-budget"


def merge(
    parts: Sequence[str | Path], out: str | Path, tick: Callable[[int, int], None] = lambda done, total: None
) -> BuildReport:
    """Join all parts of a build (``build`` with part = (i, n)) into the set ``out``.

    It must not exist, unless it is the set of these parts: then nothing is done, and its shards are not looked at.

    Every shard's SHA-256 is checked. On one file system shards are linked, not copied: the parts may be removed after.
    tick: receives progress: units checked, of all
    Raises ConfigError if the parts do not make one whole or ``out`` lies in one, DataError if one is damaged or too
    many rows are bad.
    """
    began = time.perf_counter()
    place = Path(os.path.realpath(out))
    if not (place / MANIFEST).is_file():
        check_free(place)  # before all shards are read
    folders = [Path(part) for part in parts]
    heads = [_head(folder) for folder in folders]
    require_apart(folders, place)
    _check_together(folders, heads)
    checked = count(1)

    def step() -> None:
        tick(next(checked), len(heads[0].units))

    pairs = list(zip(folders, heads, strict=True))
    entries = {done.unit: done for folder, head in pairs for done in _entries(folder, head, step)}
    ordered = [entries[unit] for unit in heads[0].units]
    check_budget(heads[0], ordered, _MORE)
    manifest = manifest_of(heads[0], ordered)
    if (place / MANIFEST).is_file():
        found = read_manifest(place)
        refuse_other(place, "" if found.digest == digest_of(manifest) else "its parts")
        return BuildReport(place, found, time.perf_counter() - began, found.counts["samples"], finished=True)
    with Output(out) as output:
        output.clear()
        try:
            if heads[0].tokenizer_digest:
                _take(folders[0] / TOKENIZER, output.folder / TOKENIZER)
            for folder, head in pairs:
                for unit in head.own_units:
                    for shard in entries[unit].shards:
                        _take(folder / shard.name, output.folder / shard.name)
        except OSError as error:
            raise StorageError(f"cannot write {output.folder}: {error.strerror}", "free space") from error
        write_notice(output.folder, manifest.source["kind"])
        write_manifest(output.folder, manifest)
        output.commit()
    return BuildReport(output.out, read_manifest(output.out), time.perf_counter() - began)


def _head(folder: Path) -> JournalHeader:
    head = Journal(folder / JOURNAL).header()
    if head is None:
        raise DataError(
            f"{folder} is no finished part of this version: it has no {JOURNAL}, or a damaged one",
            "`ecamp-fast shard build --part I/N` makes one",
        )
    return head


def _check_together(folders: list[Path], heads: list[JournalHeader]) -> None:
    first = heads[0]
    number: dict[int, Path] = {}
    for folder, head in zip(folders, heads, strict=True):
        difference = differing(_planned(first), _planned(head))
        if difference:
            raise ConfigError(
                f"{folder} and {folders[0]} are not parts of one build: they differ in {difference}",
                "build all parts from the same source with the same options and versions",
            )
        own, parts = head.part
        if parts != first.part[1] or own in number:
            other = number.get(own, folders[0])
            raise ConfigError(
                f"{folder} is part {own}/{parts}, {other} is too or is of another number", "name each once"
            )
        number[own] = folder
    missing = [f"{own}/{first.part[1]}" for own in range(1, first.part[1] + 1) if own not in number]
    if missing:
        raise ConfigError(f"part {', '.join(missing)} is missing", "build and name all parts")


def _planned(head: JournalHeader) -> dict[str, Any]:
    """All that parts of one build have in common."""
    same = {name: getattr(head, name) for name in ("units", "tokenizer_digest", "absent", "labels", "masks")}
    return head.source | head.identity | same | {"reject_budget": head.allowed}


def _entries(folder: Path, head: JournalHeader, step: Callable[[], None]) -> list[Done]:
    journal = Journal(folder / JOURNAL)
    entries = [journal.done(unit) for unit in head.own_units]
    lost = [unit for unit, done in zip(head.own_units, entries, strict=True) if done is None]
    if lost:
        raise DataError(f"{folder}: the journal of {', '.join(lost[:5])} is missing or damaged", _AGAIN)
    found = [done for done in entries if done]
    good = {done.unit for done in intact(folder, found, step)}
    bad = [done.unit for done in found if done.unit not in good]
    if bad:
        raise DataError(f"{folder}: {len(bad)} damaged shards: {', '.join(bad[:5])}", _AGAIN)
    return found


def _take(source: Path, target: Path) -> None:
    with contextlib.suppress(OSError):  # another file system, or one without links
        os.link(source, target)
        return
    shutil.copy(source, target)
    sync(target)
