"""``ecamp-fast finetune``: one task on a trained encoder."""

import click

from ecamp_fast.usage.groups import LazyGroup

TASKS = {
    "classify": ("ecamp_fast.commands.downstream.classify", "Classes of an image, all weights trained."),
    "segment": ("ecamp_fast.commands.downstream.segment", "Masks, by a decoder on the frozen encoder."),
    "detect": ("ecamp_fast.commands.downstream.detect", "Boxes, by a detector on the frozen encoder."),
}


@click.group(cls=LazyGroup, table=TASKS)
def command() -> None:
    """Fine-tune a trained encoder on labels, masks or boxes, and judge it on the test split.

    OUT/result.json holds the score with its interval; the same command goes on where it was cut off, and a finished one
    is read, not repeated.

    \b
    Example:
      ecamp-fast finetune classify runs/mine SHARDS fits/nih
    """
