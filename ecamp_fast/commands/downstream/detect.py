"""``ecamp-fast finetune detect``: boxes in an image."""

from typing import TYPE_CHECKING

import click

from ecamp_fast.commands.downstream import task_options as options
from ecamp_fast.usage.options import classes_option

if TYPE_CHECKING:
    from ecamp_fast.downstream.tasks.detect import Head

TASK = "detect"


@click.command(
    help=f"""Fit a detector on ENCODER to the boxes of SHARDS, and judge it on the test split.

    {options.ENCODER_HELP}
    The protocol is the paper's: the encoder is frozen, so its tokens are computed once, and nothing is
    augmented. The score is mean average precision over overlaps of 0.40 to 0.75, all images counted; the count of the
    released code stands beside it as map_mgca. Needs faster-coco-eval, of the extra detect.

    \b
    Example:
      ecamp-fast finetune detect runs/mine SHARDS fits/rsna --head yolo
    """
)
@options.task_arguments
@classes_option()
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
    given: options.TaskChoices,
    how: options.FitChoices,
    names: tuple[str, ...],
    head: "Head",
    channels: int | None,
    reduction: int | None,
    mgca: bool,
) -> None:
    settings, shards = how.settings(TASK, given.seed), given.open_set()
    from ecamp_fast.downstream.tasks.detect import DetectOptions, HeadOptions, detect

    chosen = HeadOptions(head, channels, reduction, mgca)
    wanted = DetectOptions(given.subset(), names, chosen, given.size, given.test_split)
    device, say = options.open_device(given.device), options.tell_progress
    result = detect(given.encoder, shards, settings, given.out, wanted, resume=how.resume, device=device, say=say)
    options.conclude(result, given.out, given.as_json)
