"""``ecamp-fast probe``: what frozen features say, beside what they must beat."""

from pathlib import Path

import click

from ecamp_fast.commands.downstream import task_options as options


@click.command(
    help=f"""Probe the frozen features of ENCODER with the labels of SHARDS.

    {options.ENCODER_HELP}
    A logistic regression on features that every image gives once, the ridge strength chosen among training patients;
    beside it the same of untrained weights, of 16 x 16 pixels and of principal components of the image. --sgd is the
    paper's own probe by gradient descent instead.
    """
)
@options.task_arguments
@options.class_arguments
@options.fit_arguments
@click.option(
    "--pooling", default=1, show_default=True, type=click.IntRange(1, 64), help="Means of so many parts a side."
)
@click.option("--sgd", is_flag=True, help="Gradient descent on the head, with augmented images, by --settings.")
@click.option("--patches", is_flag=True, help="Which patch holds a finding, of its token alone; --class names masks.")
@click.option("--baselines/--no-baselines", default=True, show_default=True, help="Untrained weights and raw pixels.")
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
    pooling: int,
    sgd: bool,
    patches: bool,
    baselines: bool,
) -> None:
    from ecamp_fast.downstream.data.labels import parse_counts
    from ecamp_fast.downstream.result import refuse_fit
    from ecamp_fast.downstream.training.settings import load_settings
    from ecamp_fast.errors import ConfigError
    from ecamp_fast.files import require_folder

    if not sgd and (row or overrides):
        raise ConfigError("--settings and --set are those of --sgd", "add --sgd, or leave them away")
    if patches and (sgd or pooling != 1 or uncertain):
        raise ConfigError("--patches takes neither --sgd, --pooling nor --uncertain", "leave them away")
    counts = tuple(parse_counts(uncertain).items())
    settings = load_settings("probe", row, [f"seed={seed}", *overrides])
    require_folder(out, "OUT")
    if not sgd and resume != "never":
        refuse_fit(out)
    known = options.open_set(shards)
    part, where = options.subset(percent, official, count, seed), options.open_device(device)
    if sgd:
        from ecamp_fast.downstream.tasks.classify import ClassifyOptions, classify

        wanted = ClassifyOptions(part, names, None, counts, size, test_split)
        result = classify(encoder, known, settings, out, wanted, resume=resume, device=where, say=options.tell_progress)
    else:
        from ecamp_fast.downstream.tasks.patches import probe_patches
        from ecamp_fast.downstream.tasks.probing import ProbeOptions, probe_encoder

        chosen = ProbeOptions(part, names, pooling, counts, size, test_split, baselines)
        fit = probe_patches if patches else probe_encoder
        result = fit(encoder, known, out, chosen, device=where, say=options.tell_progress)
    options.conclude(result, out, as_json)
