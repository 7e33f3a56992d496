"""``ecamp-fast distill export-sft``: answers of a model as conversations that a student is fitted to."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from ecamp_fast.commands.knowledge.entities import entities_option, read_list
from ecamp_fast.commands.terminal import tell
from ecamp_fast.usage import complete, options

_LEFT_OUT = {
    "repeated": "whose words another has",
    "by_rules": "that the rules wrote",
    "nothing": "with nothing to ask",
    "unanswered": "that are not in the journal",
}


@click.command()
@click.argument("source", shell_complete=complete.files)
@click.argument("journal", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--val-share", default=0.05, show_default=True, type=options.FiniteRange(0, 0.9), help="Of patients, held out."
)
@options.seed_option("Of the held-out share.")
@options.columns_option()
@entities_option
@options.json_option()
def command(
    source: str,
    journal: Path,
    out: Path,
    val_share: float,
    seed: int,
    columns: tuple[str, ...],
    entities: Path | None,
    as_json: bool,
) -> None:
    """Write what a model distilled of SOURCE's reports, as JOURNAL has it, into the new folder OUT for a student.

    train.jsonl and val.jsonl hold one conversation a line: the plain prompt of Table S2 and the answer, one sentence a
    line. A patient is in one of them alone; reports with the same words are taken once; what the rules wrote in the
    model's place is left out, so the answers of --rules teach nothing. The files are for their owner alone. Ask the
    student with `distill run --plain`.

    \b
    Example:
      ecamp-fast distill export-sft SHARDS journal sft
    """
    from ecamp_fast.distill.journal import read_answers
    from ecamp_fast.distill.reports import read_reports
    from ecamp_fast.distill.sft import export_sft
    from ecamp_fast.distill.table_s2 import TableS2Distiller
    from ecamp_fast.errors import StorageError
    from ecamp_fast.files import require_folder

    if out.exists():
        raise StorageError(f"{out} exists", "name a folder that does not")
    require_folder(out, "OUT")
    found = read_reports(source, columns, read_list(entities))
    answers = read_answers(journal, found.entities.digest)
    distiller = TableS2Distiller(structured=False, entities=found.entities)
    counts = export_sft(found.reports, answers, distiller, out, share=val_share, seed=seed)
    if as_json:
        click.echo(json.dumps({"schema": 1, "out": str(out), **asdict(counts)}))
        return
    tell(
        f"{out}: {counts.train:,} conversations of {counts.train_patients:,} patients, "
        f"{counts.val:,} of {counts.val_patients:,} held out",
        *(
            f"left out: {number:,} reports {why}"
            for name, why in _LEFT_OUT.items()
            if (number := getattr(counts, name))
        ),
    )
    if counts.unknown:
        tell(f"note: {counts.unknown:,} reports name no patient; each counts as one of its own", err=True)
