"""``ecamp-fast finetune detect``: boxes in an image."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecamp_fast.commands.downstream import task_options as options

if TYPE_CHECKING:
    from ecamp_fast.downstream.tasks.detect import Head

TASK = "detect"


@click.command(
    help=f"""Fit a detector on ENCODER to the boxes of SHARDS, and judge it on the test split.

    {options.ENCODER_HELP}
    The protocol is the paper's: the encoder is frozen, so its tokens are computed once, and nothing is
    augmented. The score is mean average precision over overlaps of 0.40 to 0.75, all images counted; the count of the
    released code stands beside it as map_mgca. Needs faster-coco-eval: pip install 'ecamp-fast[detect]'.
    """
)
@options.task_arguments
@click.option("--class", "names", multiple=True, metavar="NAME", help="Boxes of these alone. Default: all of the set.")
@click.option(
    "--head", type=click.Choice(["yolo", "fcos"]), default="yolo", show_default=True, help="The paper's: yolo."
)
@click.option(
    "--channels", type=click.IntRange(32), help="Width of the head. Default: yolo 1024, fcos 256 (small trunks 64)."
)
@click.option("--reduction", type=click.IntRange(1), help="Of yolo's bottlenecks. Default: 8, of the whole split 4.")
@click.option("--mgca", is_flag=True, help="Yolo with the released code's conventions, to compare.")
@options.fit_arguments
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
    head: "Head",
    channels: int | None,
    reduction: int | None,
    mgca: bool,
    row: str | None,
    overrides: tuple[str, ...],
    resume: str,
) -> None:
    from ecamp_fast.downstream.training.settings import load_settings

    settings = load_settings(TASK, row, [f"seed={seed}", *overrides])
    known = options.open_set(shards)
    from ecamp_fast.downstream.tasks.detect import DetectOptions, HeadOptions, detect

    wanted = DetectOptions(
        options.subset(percent, official, count, seed),
        names,
        HeadOptions(head, channels, reduction, mgca),
        size,
        test_split,
    )
    where = options.open_device(device)
    result = detect(encoder, known, settings, out, wanted, resume=resume, device=where, say=options.tell_progress)
    options.conclude(result, out, as_json)
