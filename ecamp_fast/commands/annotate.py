"""``ecamp-fast shard annotate``: sections and entities of the reports of a source, without its images."""

import json
from pathlib import Path
from typing import Any

import click

from ecamp_fast.commands import sources
from ecamp_fast.commands.terminal import tell
from ecamp_fast.usage.options import json_option

_LISTED = 20


@click.command(short_help="Count sections and entities in the reports of a source.")
@sources.choice
@sources.entities_option
@click.option(
    "--against",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Print only the counts that differ from those of FILE, an earlier result written with --json.",
)
@json_option()
def command(
    kind: str,
    source: str,
    reports: str | None,
    use_last: bool,
    empty_reports: str,
    columns: tuple[str, ...],
    entities: Path | None,
    against: Path | None,
    as_json: bool,
) -> None:
    """Count sections, entities, denials and doubts in the reports of SOURCE. Opens no image, writes nothing.

    \b
    Example:
      ecamp-fast shard annotate --from csv reports.csv
    """
    from ecamp_fast.shards.describe.annotate import annotate
    from ecamp_fast.shards.describe.difference import differences, read_counts

    named: dict[str, Any] = {"reports": reports, "use_last": use_last, "empty_reports": empty_reports}
    old = read_counts(against) if against else None
    result = annotate(sources.open_source(kind, source, **named, columns=columns), sources.read_entities(entities))
    if old:
        rows = differences(old, result)
        if old["source"] != result["source"]:
            other = " ".join(map(str, old["source"].values()))
            result["notes"] = [*result["notes"], f"{against} counts another source: {other}"]
        result["against"] = {"rules_digest": old["rules_digest"], "counts": rows}
    if as_json:
        click.echo(json.dumps({"schema": 1, **result}))
        return
    tell(*(_compared(result) if old else _counted(result)))
    tell(*(f"note: {line}" for line in (*result["notes"], *result["faults"][:_LISTED])), err=True)


def _counted(result: dict[str, Any]) -> list[str]:
    lines = [f"{name}: {value:,}" for name, value in result.items() if isinstance(value, int)]
    if result["left_out"]:
        lines.append("left out, by heading:")
    for heading, counts in result["left_out"].items():
        name = f"{counts['headings']:,} {heading}" if "headings" in counts else heading
        lines.append(f"  {name}: {counts['words']:,} words in {counts['reports']:,} reports")
    lines.append("entities:")
    for entity, counts in result["entities"].items():
        lines.append(
            f"  {entity}: {counts['mentions']:,} mentions, {counts['denied']:,} denied, {counts['doubted']:,} doubted"
        )
    lines.append("imbalance, in words (20 : 1 and 0.05 in the paper):")
    for name, words in result["imbalance"].items():
        ratio = f"{words['ratio']:g} : 1" if words["ratio"] is not None else "no ratio"
        wanted = f", lambda_neg {words['lambda_neg']:g}" if words["lambda_neg"] is not None else ""
        lines.append(f"  {name}: {words['negative']:,} negative, {words['other']:,} other, {ratio}{wanted}")
    return lines


def _compared(result: dict[str, Any]) -> list[str]:
    """Old, new and difference of each count that differs, in columns."""
    rows = result["against"]["counts"]
    lines = [f"rules: {result['against']['rules_digest'][:12]} -> {result['rules_digest'][:12]}"]
    if not rows:
        return [*lines, "no count differs"]
    width = max(map(len, rows))
    lines.append(f"{'':{width}} {'old':>9} {'new':>9} {'difference':>10}")
    for name, row in rows.items():
        lines.append(f"{name:{width}} {row['old']:>9,} {row['new']:>9,} {row['difference']:>+10,}")
    return lines
