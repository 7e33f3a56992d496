"""``ecamp-fast shard annotate``: sections and entities of the reports of a source, without its images."""

import json
from typing import Any

import click

from ecamp_fast.commands import sources

_LISTED = 20


@click.command()
@sources.choice
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(
    kind: str,
    source: str,
    reports: str | None,
    use_last: bool,
    empty_reports: str,
    columns: tuple[str, ...],
    as_json: bool,
) -> None:
    """Count sections, entities and negations in the reports of SOURCE. Opens no image, writes nothing."""
    from ecamp_fast.shards.describe.annotate import annotate

    named: dict[str, Any] = {"reports": reports, "use_last": use_last, "empty_reports": empty_reports}
    result = annotate(sources.open_source(kind, source, **named, columns=columns))
    if as_json:
        click.echo(json.dumps({"schema": 1, **result}))
        return
    for name, value in result.items():
        if isinstance(value, int):
            click.echo(f"{name}: {value:,}")
    for entity, counts in result["entities"].items():
        click.echo(f"  {entity}: {counts['mentions']:,} mentions, {counts['denied']:,} denied")
    for line in (*result["notes"], *result["faults"][:_LISTED]):
        click.echo(f"note: {line}", err=True)
