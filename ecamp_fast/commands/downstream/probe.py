"""``ecamp-fast probe``: what frozen features say, beside what they must beat."""

import click

from ecamp_fast.commands.downstream import task_options as options
from ecamp_fast.usage.options import pooling_option


@click.command(
    help=f"""Probe the frozen features of ENCODER with the labels of SHARDS.

    {options.ENCODER_HELP}
    A logistic regression on features that every image gives once, the ridge strength chosen among training patients;
    beside it the same of untrained weights, of 16 x 16 pixels and of principal components of the image. --sgd is the
    paper's own probe by gradient descent instead.

    \b
    Example:
      ecamp-fast probe runs/mine SHARDS probes/nih --percent 1
    """
)
@options.task_arguments
@options.class_arguments
@options.fit_arguments
@pooling_option()
@click.option("--sgd", is_flag=True, help="Gradient descent on the head, with augmented images, by --settings.")
@click.option("--patches", is_flag=True, help="Which patch holds a finding, of its token alone; --class names masks.")
@click.option("--baselines/--no-baselines", default=True, show_default=True, help="Untrained weights and raw pixels.")
def command(
    given: options.TaskChoices,
    classes: options.ClassChoices,
    how: options.FitChoices,
    pooling: int,
    sgd: bool,
    patches: bool,
    baselines: bool,
) -> None:
    from ecamp_fast.downstream.result import refuse_fit
    from ecamp_fast.errors import ConfigError

    if not sgd and (how.row or how.overrides):
        raise ConfigError("--settings and --set are those of --sgd", "add --sgd, or leave them away")
    if patches and (sgd or pooling != 1 or classes.uncertain):
        raise ConfigError("--patches takes neither --sgd, --pooling nor --uncertain", "leave them away")
    counts, settings = classes.counts(), how.settings("probe", given.seed)
    if not sgd and how.resume != "never":
        refuse_fit(given.out)
    shards, say = given.open_set(), options.tell_progress
    part, device = given.subset(), options.open_device(given.device)
    if sgd:
        from ecamp_fast.downstream.tasks.classify import ClassifyOptions, classify

        wanted = ClassifyOptions(part, classes.names, None, counts, given.size, given.test_split)
        result = classify(given.encoder, shards, settings, given.out, wanted, resume=how.resume, device=device, say=say)
    else:
        from ecamp_fast.downstream.tasks.patches import probe_patches
        from ecamp_fast.downstream.tasks.probing import ProbeOptions, probe_encoder

        chosen = ProbeOptions(part, classes.names, pooling, counts, given.size, given.test_split, baselines)
        fit = probe_patches if patches else probe_encoder
        result = fit(given.encoder, shards, given.out, chosen, device=device, say=say)
    options.conclude(result, given.out, given.as_json)
