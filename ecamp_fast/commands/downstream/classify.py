"""``ecamp-fast finetune classify``: classes of an image."""

import click

from ecamp_fast.commands.downstream import task_options as options

TASK = "classify"


@click.command(
    help=f"""Fit a classifier on ENCODER to the labels of SHARDS, and judge it on the test split.

    {options.ENCODER_HELP}
    The protocol is the paper's: patch tokens averaged, a new norm, a linear layer; all weights trained, the
    best step on the validation split kept. OUT/timm is the classifier for timm, and what `ecamp-fast predict` reads.

    \b
    Example:
      ecamp-fast finetune classify runs/mine SHARDS fits/nih --settings nih-1
    """
)
@options.task_arguments
@options.class_arguments
@options.fit_arguments
@click.option("--exclusive/--independent", default=None, help="One class an image or several. Default: as the labels.")
def command(
    given: options.TaskChoices, classes: options.ClassChoices, how: options.FitChoices, exclusive: bool | None
) -> None:
    settings, counts, shards = how.settings(TASK, given.seed), classes.counts(), given.open_set()
    from ecamp_fast.downstream.tasks.classify import ClassifyOptions, classify

    wanted = ClassifyOptions(given.subset(), classes.names, exclusive, counts, given.size, given.test_split)
    device, say = options.open_device(given.device), options.tell_progress
    result = classify(given.encoder, shards, settings, given.out, wanted, resume=how.resume, device=device, say=say)
    options.conclude(result, given.out, given.as_json)
