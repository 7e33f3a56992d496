"""``ecamp-fast distill audit``: a random sample of answers beside their reports, as a page."""

import json
from collections import Counter
from pathlib import Path

import click

from ecamp_fast.commands.knowledge.entities import entities_option, read_list
from ecamp_fast.commands.terminal import tell

PAGE = "audit.html"


@click.command()
@click.argument("source")
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help=f"Gets {PAGE}; default: the journal's.")
@click.option("--count", default=50, show_default=True, type=click.IntRange(1, 10_000), help="Reports at most.")
@click.option("--seed", default=42, show_default=True, type=click.IntRange(0), help="Draws the sample.")
@click.option("--how", type=click.Choice(["model", "re-asked", "rules", "nothing"]), help="Only answers of this kind.")
@click.option("--columns", multiple=True, metavar="NAME=COLUMN", help="What a table calls a column, as report=caption.")
@entities_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
def command(
    source: str,
    journal: Path,
    out: Path | None,
    count: int,
    seed: int,
    how: str | None,
    columns: tuple[str, ...],
    entities: Path | None,
    as_json: bool,
) -> None:
    """Write a page with a random sample of SOURCE's reports, and what JOURNAL says that was distilled of each.

    Entities are coloured by how they are said to be: present, possible, absent. The page holds text of reports and is
    for its owner alone; it loads nothing, and names no patient.
    """
    from ecamp_fast.files import require_folder, write_atomically

    folder = out or (journal if journal.is_dir() else journal.parent)
    require_folder(folder)  # before anything heavy is loaded
    from ecamp_fast.distill.audit import draw_sample
    from ecamp_fast.distill.journal import read_answers
    from ecamp_fast.distill.reports import read_reports
    from ecamp_fast.report.audit_page import audit_html

    found = read_reports(source, columns, read_list(entities))
    answers = read_answers(journal, found.entities.digest)
    sample = draw_sample(found.reports, answers, found.entities, count=count, seed=seed, how=how)
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    write_atomically(folder / PAGE, audit_html(sample, seed).encode(errors="replace"))
    result = {"out": str(folder / PAGE), "reports": len(sample), "how": dict(Counter(one.how for one in sample))}
    if as_json:
        click.echo(json.dumps({"schema": 1, **result}))
    else:
        tell(f"{folder / PAGE}: {len(sample):,} reports; it holds their text")
