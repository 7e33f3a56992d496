"""``ecamp-fast shard``: build, merge, verify, repair, count and draw shard sets."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.commands import annotate, put, sources
from ecamp_fast.commands.progress import BuildProgress
from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.usage import complete, options
from ecamp_fast.usage.groups import HelpfulGroup
from ecamp_fast.usage.options import FiniteRange

if TYPE_CHECKING:
    from ecamp_fast.shards.builder.build import BuildReport
    from ecamp_fast.shards.check.members import Damage

_LISTED = 50  # damages printed for a person; --json has all


def _folder(ctx: click.Context, parameter: click.Parameter, value: str) -> Path:
    """What is written into is a folder of this machine, no address."""
    from ecamp_fast.shards.storage.address import folder_of

    return folder_of(value)


def _part(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int]:
    """``I/N`` as two numbers; the whole where there is none."""
    number, _, parts = (value or "1/1").partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise click.BadParameter(f"'{value}' is not I/N with I from 1 to N", ctx, parameter)
    return int(number), int(parts)


class _BuildFirst(HelpfulGroup):
    """``shard --from KIND SOURCE OUT`` means ``shard build --from KIND SOURCE OUT``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] != "--help":
            args = ["build", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_BuildFirst)
def command() -> None:
    """Build, merge, verify and repair shard sets, tell their numbers (stats), draw samples of them (show).

    \b
    Example:
      ecamp-fast shard build --from csv reports.csv SHARDS
    """


command.add_command(annotate.command, "annotate")
command.add_command(put.command, "put")


@command.command(short_help="Convert a source into a shard set.", epilog=sources.HELP)
@sources.choice
@sources.distilled_option
@sources.entities_option
@sources.views_option
@sources.task_options
@click.argument("out", callback=_folder, shell_complete=complete.folders)
@click.option("--short-side", default=1024, show_default=True, type=click.IntRange(32, 65000), help="Pixels, at most.")
@options.tokenizer_option("Tokenizer of texts. Default: trained on this corpus.")
@options.vocabulary_option()
@click.option("--holdout", default=0.1, show_default=True, type=FiniteRange(0, 0.9), help="Share of patients.")
@options.seed_option("Of the held-out share, of phantoms.")
@click.option(
    "--size", default=512, show_default=True, type=click.IntRange(64, 4096), help="Pixels of a phantom's side."
)
@click.option("--shard-size", default=1000, show_default=True, type=click.IntRange(1), help="Samples per shard.")
@options.workers_option()
@options.rejects_option("Share of images that may be bad; they are left out.")
@click.option(
    "--runner",
    default="processes",
    show_default=True,
    type=click.Choice(["processes", "ray"]),
    help="Of this machine, or of the Ray cluster it belongs to.",
)
@click.option("--part", callback=_part, metavar="I/N", help="Build every N-th shard only, for `shard merge`.")
@click.option("--dry-run", is_flag=True, help="Check the table, forecast bytes and minutes, write nothing.")
@options.json_option()
def build(
    kind: str,
    source: str,
    out: Path,
    reports: str | None,
    use_last: bool,
    empty_reports: str,
    columns: tuple[str, ...],
    views: str | None,
    distilled: str | None,
    entities: Path | None,
    seed: int,
    size: int,
    part: tuple[int, int],
    dry_run: bool,
    as_json: bool,
    **further: Any,
) -> None:
    """Convert SOURCE into the shard set OUT. After a kill the same command goes on where it stopped.

    Where OUT is finished and whole, there is nothing to do; another source or other options are refused. Pictures are
    not read again then, but for those of rows that were left out; of a part neither are maps and masks.

    \b
    Example:
      ecamp-fast shard build --from csv reports.csv SHARDS
    """
    from ecamp_fast.shards.builder import build as builder
    from ecamp_fast.shards.builder.dry_run import describe, preview
    from ecamp_fast.shards.builder.output import check_free
    from ecamp_fast.shards.check.finished import finished_build

    named: dict[str, Any] = {name: further.pop(name) for name in sources.TASK_OPTIONS}
    chosen = builder.Options(seed=seed, entities=sources.read_entities(entities), **further)
    named |= {"reports": reports, "use_last": use_last, "empty_reports": empty_reports}
    named |= {"columns": columns, "views": views, "distilled": distilled}
    opened = sources.open_source(kind, source, **named, seed=seed, size=size)
    with BuildProgress("shards") as progress:
        report = finished_build(opened, out, chosen, part, progress.tick)
    if dry_run and report is None:
        check_free(out)
        result = preview(opened, chosen, part)
        tell(*([json.dumps({"schema": 1, **result})] if as_json else describe(result)))
        return
    if report is None:
        with BuildProgress("images") as progress:
            report = builder.build(opened, out, chosen, progress.say, progress.tick, part)
    pictures = "pictures" if part == builder.WHOLE else "pictures, maps and masks"
    unread = f"; {pictures} were not read again" if report.finished else ""
    tell(json.dumps(_summary(report)) if as_json else _sentence(report) + unread)


@command.command(short_help="Join parts of a build, or whole sets, into one shard set.")
@click.argument("parts", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("out", callback=_folder, shell_complete=complete.folders)
@options.json_option()
def merge(parts: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Join PARTS into the shard set OUT: all parts of a build (build --part I/N), or whole sets with one tokenizer.

    Parts become what one build would have made. Sets keep their shards byte for byte; each sample its key and split.
    Where OUT is finished and whole, there is nothing to do.

    \b
    Example:
      ecamp-fast shard merge HOSPITAL_A HOSPITAL_B BOTH
    """
    from ecamp_fast.shards.builder.merge import merge as merge_parts
    from ecamp_fast.shards.builder.merge_sets import are_sets, merge_sets
    from ecamp_fast.shards.check.finished import require_whole

    with BuildProgress("shards") as progress:
        report = (merge_sets if are_sets(parts) else merge_parts)(parts, out, progress.tick)
        if report.finished:
            require_whole(report.out, progress.tick)
    for note in report.manifest.notes:
        tell(f"note: {note}", err=True)
    tell(json.dumps(_summary(report)) if as_json else _sentence(report))


@command.command(short_help="Build the damaged files of a shard set again.")
@sources.choice
@sources.distilled_option
@sources.task_options
@options.shards_argument("shard_set", callback=_folder)
@options.workers_option()
@options.json_option()
def repair(
    kind: str,
    source: str,
    reports: str | None,
    use_last: bool,
    empty_reports: str,
    columns: tuple[str, ...],
    distilled: str | None,
    shard_set: Path,
    workers: int,
    as_json: bool,
    **of_tasks: str | None,
) -> None:
    """Build the damaged files of SHARDS again from its SOURCE; only the same bytes take their place.

    Leaves with 3 if damage is left, or the source does not give these bytes.

    \b
    Example:
      ecamp-fast shard repair --from csv reports.csv SHARDS
    """
    from ecamp_fast.shards.check.repair import repair as rebuild
    from ecamp_fast.shards.format.manifest import read_manifest

    recorded = read_manifest(shard_set).source
    of_tasks["labels"] = of_tasks["labels"] or ",".join(recorded.get("labels", ())) or None
    of_tasks |= {name: of_tasks[name] or recorded.get(name) for name in ("task", "splits")}
    opened = sources.open_source(
        kind,
        source,
        reports=reports,
        use_last=use_last or bool(recorded.get("use_last")),
        empty_reports=str(recorded.get("empty_reports", empty_reports)),
        columns=columns or [f"{name}={column}" for name, column in recorded.get("columns", {}).items()],
        views=",".join(recorded.get("views", ())) or None,
        distilled=distilled,
        seed=int(recorded.get("seed", 0)),
        size=int(recorded.get("size", 0)),
        **of_tasks,
    )
    with BuildProgress("images") as progress:
        done = rebuild(opened, shard_set, workers, progress.say, progress.tick)
    if as_json:
        left = [_damage(item) for item in done.left]
        result = {"schema": 1, "ok": not left, "path": str(shard_set), "repaired": list(done.files)}
        click.echo(json.dumps(result | {"seconds": round(done.seconds, 3), "damage": left}))
    else:
        tell(f"{shard_set}: {', '.join(done.files) or 'nothing'} repaired, {len(done.left)} damages left")
        tell(*done.left[:_LISTED])
    if done.left:
        sys.exit(DataError.exit_code)


@command.command(short_help="Read a shard set whole and report all damage.")
@options.shards_argument("shard_set")
@options.workers_option()
@options.json_option()
def verify(shard_set: str, workers: int, as_json: bool) -> None:
    """Read SHARDS whole and report all damage; leaves with 3 if there is any.

    \b
    Example:
      ecamp-fast shard verify SHARDS
    """
    from ecamp_fast.shards.check.verify import inspect

    with BuildProgress("shards") as progress:
        verdict = inspect(shard_set, workers, progress.tick)
    if as_json:
        damage = [_damage(item) for item in verdict.damage]
        numbers = {name: getattr(verdict, name) for name in ("shards", "samples", "bytes", "seconds")}
        click.echo(json.dumps({"schema": 1, "ok": not damage, "path": str(shard_set), **numbers, "damage": damage}))
    elif verdict.damage:
        tell(*verdict.damage[:_LISTED])
        if len(verdict.damage) > _LISTED:
            tell(f"and {len(verdict.damage) - _LISTED} more")
        tell(f"hint: {verdict.remedy}", err=True)
    else:
        size = verdict.bytes / 1e6
        tell(
            f"{shard_set}: whole: {verdict.samples:,} samples in {verdict.shards} shards, {size:,.1f} MB read in "
            f"{verdict.seconds:.2f} s ({size / max(verdict.seconds, 1e-9):,.0f} MB/s)"
        )
    if verdict.damage:
        sys.exit(DataError.exit_code)


@command.command(short_help="Describe a shard set in numbers.")
@options.shards_argument("shard_set")
@click.option(
    "--max-tokens", default=256, show_default=True, type=click.IntRange(1), help="Count texts that a recipe would cut."
)
@click.option(
    "--threshold",
    type=click.IntRange(0),
    help="List terms used more often. Default: 10,000 per 227,835 reports, at least 10.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="Draw the descriptive terms.",
)
@click.option(
    "--card",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.md",
    help="Begin a data card: numbers and blanks.",
)
@options.json_option()
def stats(
    shard_set: str, max_tokens: int, threshold: int | None, plot: Path | None, card: Path | None, as_json: bool
) -> None:
    """Describe SHARDS in numbers: samples, patients, image sizes, text lengths, descriptive terms, labels.

    \b
    Example:
      ecamp-fast shard stats SHARDS --json
    """
    from ecamp_fast.files import require_file, write_atomically
    from ecamp_fast.shards.describe.card import data_card
    from ecamp_fast.shards.describe.stats import stats as measure
    from ecamp_fast.shards.describe.terms import plot as draw

    for file in filter(None, (plot, card)):
        require_file(file)
    if card and card.exists():
        raise ConfigError(f"{card} exists", "what was filled in would be lost: name another file")
    result = measure(shard_set, max_tokens, threshold)
    if plot:
        write_atomically(plot, draw(result))
    if card:
        write_atomically(card, data_card(result).encode())
    if as_json:
        click.echo(json.dumps({"schema": 1, **result}, ensure_ascii=False))
    else:
        tell(*_lines(result))


@command.command(short_help="Draw samples of a shard set into a picture.")
@options.shards_argument("shard_set")
@click.argument("picture", type=click.Path(path_type=Path, dir_okay=False))
@options.split_option("Of SHARDS. Default: the set's first.")
@click.option(
    "--count", default=6, show_default=True, metavar="N", type=click.IntRange(1, 100), help="Samples to draw."
)
@options.seed_option("Which samples.")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Draw this sample; may be repeated.")
@options.json_option()
def show(
    shard_set: str, picture: Path, split: str | None, count: int, seed: int, keys: tuple[str, ...], as_json: bool
) -> None:
    """Draw samples of SHARDS into PICTURE (PNG): image, attention map, masks, boxes, text.

    The picture is as confidential as the set.

    \b
    Example:
      ecamp-fast shard show SHARDS samples.png --count 9
    """
    from ecamp_fast.files import require_file, write_atomically
    from ecamp_fast.shards.describe.show import show as draw
    from ecamp_fast.shards.load.read import ShardSet

    require_file(picture)
    shards = ShardSet(shard_set)
    sheet, drawn = draw(shards, split or shards.splits[0], count, seed, keys)
    write_atomically(picture, sheet)
    result = {"schema": 1, "picture": str(picture), "keys": drawn}
    tell(json.dumps(result) if as_json else f"{picture}: {len(drawn)} samples")


def _damage(damage: "Damage") -> dict[str, Any]:
    return {"file": damage.file, "key": damage.key, "what": damage.what, "byte": damage.byte}


def _summary(report: "BuildReport") -> dict[str, Any]:
    manifest = report.manifest
    return {
        "schema": 1,
        "out": str(report.out),
        **manifest.counts,
        "splits": {split: manifest.count(split) for split in manifest.splits},
        "shards": len(manifest.shards),
        "bytes": sum(shard.bytes for shard in manifest.shards),
        "quarantined": len(manifest.quarantined),
        "rejected": dict(Counter(item.get("kind") or "unreadable" for item in manifest.quarantined)),
        "resumed": report.resumed,
        "finished": report.finished,
        "notes": list(manifest.notes),
        "text": manifest.text,
        "vocab_size": manifest.vocab_size,
        "tokenizer": manifest.tokenizer_digest,
        "manifest": manifest.digest,
        "seconds": round(report.seconds, 3),
    }


def _sentence(report: "BuildReport") -> str:
    if report.finished:
        return f"{report.out}: complete, nothing to do: {_contents(report)}"
    rate = report.manifest.counts["samples"] / max(report.seconds, 1e-9)
    return f"{report.out}: {_contents(report)}, {report.seconds:.1f} s ({rate:.0f} images/s)"


def _contents(report: "BuildReport") -> str:
    manifest = report.manifest
    splits = ", ".join(f"{manifest.count(split):,} {split}" for split in manifest.splits)
    left_out = [
        f"{number:,} {what}"
        for number, what in (
            (manifest.counts.get("without_text", 0), "of all without text"),
            (manifest.counts["dropped_empty"], "empty reports dropped"),
            (len(manifest.quarantined), "bad images left out"),
        )
        if number
    ]
    size = sum(shard.bytes for shard in manifest.shards) / 1e6
    return (
        f"{manifest.counts['samples']:,} samples ({'; '.join([splits, *left_out])}) in "
        f"{len(manifest.shards)} shards, {size:,.1f} MB"
    )


def _lines(result: dict[str, Any]) -> list[str]:
    lines = []
    for name, value in result.items():
        if isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [f"  {_name(key)}: {_flat(inner)}" for key, inner in value.items()]
        else:
            lines.append(f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    return lines


def _flat(value: Any) -> str:
    return ", ".join(f"{name} {inner}" for name, inner in value.items()) if isinstance(value, dict) else str(value)


def _name(key: str) -> str:
    return key or "(not stated)"
