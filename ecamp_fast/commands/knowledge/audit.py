"""``ecamp-fast distill audit``: a random sample of answers beside their reports, as a page."""

import json
from collections import Counter
from pathlib import Path

import click

from ecamp_fast.commands.knowledge.entities import entities_option, read_list
from ecamp_fast.commands.terminal import tell
from ecamp_fast.usage import complete, options

PAGE = "audit.html"


@click.command()
@click.argument("source", shell_complete=complete.files)
@click.argument("journal", type=click.Path(path_type=Path))
@options.out_option(f"Gets {PAGE}. Default: the journal's folder.")
@click.option(
    "--count", default=50, show_default=True, metavar="N", type=click.IntRange(1, 10_000), help="Reports at most."
)
@options.seed_option("Of the sample.")
@click.option("--how", type=click.Choice(["model", "re-asked", "rules", "nothing"]), help="Only answers of this kind.")
@options.columns_option()
@entities_option
@options.json_option()
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

    \b
    Example:
      ecamp-fast distill audit SHARDS journal --count 100
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
