"""``ecamp-fast finetune segment``: masks of findings."""

from typing import TYPE_CHECKING, cast

import click

from ecamp_fast.commands.downstream import task_options as options
from ecamp_fast.usage.options import FiniteRange

if TYPE_CHECKING:
    from ecamp_fast.downstream.heads.dense import HeadName

TASK = "segment"
HEADS = ("setr", "linear", "convolutional", "dpt")  # as heads.dense has them; importing that would import torch


@click.command(
    help=f"""Fit a decoder on the frozen ENCODER to the masks of SHARDS, and judge it on the test split.

    {options.ENCODER_HELP}
    The protocol is the paper's: tokens before any norm, focal loss and soft Dice, the best step on the
    validation split kept. The score is the paper's Dice, 1 for an image without a mask where nothing is marked; the
    Dice over images with a mask stands beside it. --set frozen=false trains the encoder too.

    \b
    Example:
      ecamp-fast finetune segment runs/mine SHARDS fits/siim --head setr
    """
)
@options.task_arguments
@options.fit_arguments
@click.option(
    "--mask", "masks", multiple=True, metavar="NAME", help="Only this; may be repeated. Default: all of the set."
)
@click.option("--boxes", is_flag=True, help="The union of the boxes of each --mask is its mask.")
@click.option(
    "--head", default="setr", show_default=True, type=click.Choice(HEADS), help="setr: the paper's. linear: features."
)
@click.option(
    "--augment/--no-augment", default=True, show_default=True, help="Turn and scale image and masks. Off: fast."
)
@click.option("--balance", is_flag=True, help="As many training images without a mask's label as with one.")
@click.option(
    "--cache-gb",
    default=16.0,
    show_default=True,
    type=FiniteRange(0),
    help="Memory for a frozen encoder's tokens.",
)
def command(
    given: options.TaskChoices,
    how: options.FitChoices,
    masks: tuple[str, ...],
    boxes: bool,
    head: str,
    augment: bool,
    balance: bool,
    cache_gb: float,
) -> None:
    settings, shards = how.settings(TASK, given.seed), given.open_set()
    from ecamp_fast.downstream.tasks.segment import SegmentOptions, segment

    wanted = SegmentOptions(
        subset=given.subset(),
        masks=masks,
        boxes=boxes,
        head=cast("HeadName", head),
        augment=augment,
        balance=balance,
        size=given.size,
        test_split=given.test_split,
        cache_gb=cache_gb,
    )
    device, say = options.open_device(given.device), options.tell_progress
    result = segment(given.encoder, shards, settings, given.out, wanted, resume=how.resume, device=device, say=say)
    options.conclude(result, given.out, given.as_json)
