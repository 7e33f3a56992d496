"""``ecamp-fast shard put``: distilled texts and attention maps into a finished set, by key."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.commands.progress import BuildProgress
from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import DataError
from ecamp_fast.usage import options

if TYPE_CHECKING:
    from ecamp_fast.shards.builder.put import PutReport


@click.command(short_help="Put distilled texts and attention maps into a finished set.")
@options.shards_argument("shard_set")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--distilled",
    type=click.Path(path_type=Path),
    metavar="JOURNAL",
    help="OUT of `distill run`, or one of its files; or JSON lines of key and text, by sample.",
)
@click.option(
    "--maps",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Attention maps, FOLDER/KEY.pgm: binary, 8 bits, each over the whole image.",
)
@options.workers_option()
@options.rejects_option("Share of samples that may lack a text or a map, or have a bad one; they keep what they have.")
@options.json_option()
def command(
    shard_set: str,
    out: Path,
    distilled: Path | None,
    maps: Path | None,
    workers: int,
    reject_budget: float,
    as_json: bool,
) -> None:
    """Write SHARDS anew as OUT, with distilled texts, attention maps or both; all else byte for byte.

    Tokens are made anew where texts are put. SHARDS is only read. After a kill the same command goes on where it
    stopped.

    \b
    Example:
      ecamp-fast shard put SHARDS NEW --distilled journal --maps maps
    """
    from ecamp_fast.shards.builder.output import check_free
    from ecamp_fast.shards.builder.put import put
    from ecamp_fast.shards.check.finished import require_whole
    from ecamp_fast.shards.format.manifest import MANIFEST
    from ecamp_fast.shards.storage.address import folder_of
    from ecamp_fast.shards.storage.store import require_set_at

    folder = folder_of(str(out))
    if not (folder / MANIFEST).is_file():
        check_free(folder)  # before a journal is read
    require_set_at(shard_set)
    texts = _texts(shard_set, distilled) if distilled else None
    origin = {name: path.name for name, path in (("distilled", distilled), ("attention_maps", maps)) if path}
    with BuildProgress("samples") as progress:
        report = put(
            shard_set,
            folder,
            texts,
            maps,
            origin=origin,
            workers=workers,
            reject_budget=reject_budget,
            say=progress.say,
            tick=progress.tick,
        )
    if report.finished:
        require_whole(report.out)
    tell(json.dumps(_summary(report)) if as_json else _sentence(report))


def _texts(shard_set: str, path: Path) -> Mapping[str, str]:
    """Distilled texts by key: what a journal of ``distill run`` holds of the set's reports, or JSON lines."""
    from ecamp_fast.distill import journal

    if not path.is_dir() and not path.name.startswith(journal.NAMED):
        return read_texts(path)
    from ecamp_fast.distill.reports import read_reports, report_digest

    source = read_reports(shard_set)
    known = journal.read_texts(path, source.entities.digest)
    pairs = ((report.key, known.get(report_digest(report.text))) for report in source.reports)
    found = {key: text for key, text in pairs if text is not None}
    if not found:
        what = f"{path}: none of its {len(known):,} texts is of a report of {shard_set}"
        key = source.reports[0].key
        hint = f"name the OUT of `ecamp-fast distill run {shard_set} OUT`, or JSON lines with keys as {key}"
        raise DataError(what, hint)
    return found


def read_texts(path: Path) -> Mapping[str, str]:
    """Distilled texts by key, of JSON lines ``{"key": ..., "text": ...}``; other fields are passed over.

    Raises DataError that names the line: no such object, or another text for a key than before.
    """
    from ecamp_fast.strict_json import parse_object

    found: dict[str, str] = {}
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", "check the path") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            tree = parse_object(line)
            key, text = tree["key"], tree["text"]
        except (ValueError, KeyError) as error:
            what = f"{path} line {number}: no JSON object with key and text ({type(error).__name__})"
            hint = (
                "write one object a line; a table of texts by study is what `ecamp-fast shard build --distilled` takes"
            )
            raise DataError(what, hint) from None
        if not isinstance(key, str) or not isinstance(text, str):
            raise DataError(f"{path} line {number}: key and text are no texts", "write both as strings")
        if found.setdefault(key, text) != text:
            raise DataError(f"{path} line {number}: another text for {key} than before", "keep one of the two")
    return found


def _summary(report: "PutReport") -> dict[str, Any]:
    manifest = report.manifest
    return {
        "schema": 1,
        "out": str(report.out),
        "samples": manifest.counts["samples"],
        "texts": report.texts,
        "maps": report.maps,
        "faults": report.faults,
        "shards": len(manifest.shards),
        "bytes": sum(shard.bytes for shard in manifest.shards),
        "resumed": report.resumed,
        "finished": report.finished,
        "notes": list(manifest.notes),
        "text": manifest.text,
        "from": manifest.source["put"][-1]["set"],
        "manifest": manifest.digest,
        "seconds": round(report.seconds, 3),
    }


def _sentence(report: "PutReport") -> str:
    manifest = report.manifest
    size = sum(shard.bytes for shard in manifest.shards) / 1e6
    faults = "".join(f", {count:,} {kind}" for kind, count in report.faults.items())
    done = "complete, nothing to do: " if report.finished else ""
    return (
        f"{report.out}: {done}{report.texts:,} distilled texts and {report.maps:,} attention maps in "
        f"{manifest.counts['samples']:,} samples{faults}; {len(manifest.shards)} shards, {size:,.1f} MB, "
        f"{report.seconds:.1f} s"
    )
