"""``ecamp-fast finetune classify``: classes of an image."""

from pathlib import Path

import click

from ecamp_fast.commands.downstream import task_options as options

TASK = "classify"


@click.command(
    help=f"""Fit a classifier on ENCODER to the labels of SHARDS, and judge it on the test split.

    {options.ENCODER_HELP}
    The protocol is the paper's: patch tokens averaged, a new norm, a linear layer; all weights trained, the
    best step on the validation split kept. OUT/timm is the classifier for timm, and what `ecamp-fast predict` reads.
    """
)
@options.task_arguments
@options.class_arguments
@options.fit_arguments
@click.option("--exclusive/--independent", default=None, help="One class an image or several. Default: as the labels.")
def command(
    encoder: str,
    shards: str,
    out: Path,
    percent: float,
    count: int,
    official: bool,
    seed: int,
    size: int | None,
    test_split: str | None,
    device: str | None,
    as_json: bool,
    names: tuple[str, ...],
    uncertain: tuple[str, ...],
    row: str | None,
    overrides: tuple[str, ...],
    resume: str,
    exclusive: bool | None,
) -> None:
    from ecamp_fast.downstream.data.labels import parse_counts
    from ecamp_fast.downstream.training.settings import load_settings

    settings = load_settings(TASK, row, [f"seed={seed}", *overrides])
    counts = parse_counts(uncertain)
    known = options.open_set(shards)
    from ecamp_fast.downstream.tasks.classify import ClassifyOptions, classify

    wanted = ClassifyOptions(
        options.subset(percent, official, count, seed), names, exclusive, tuple(counts.items()), size, test_split
    )
    where = options.open_device(device)
    result = classify(encoder, known, settings, out, wanted, resume=resume, device=where, say=options.tell_progress)
    options.conclude(result, out, as_json)
