"""``ecamp-fast attend``: where findings are, learned from images and sentences."""

import click

from ecamp_fast.usage.groups import LazyGroup

COMMANDS = {
    "train": ("ecamp_fast.commands.knowledge.attend_train", "Train a GLoRIA on a shard set; the same command resumes."),
    "apply": ("ecamp_fast.commands.knowledge.attend_apply", "Maps of where it looks for what each text states."),
    "score": ("ecamp_fast.commands.knowledge.attend_score", "Judge its maps by the boxes of a shard set."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def command() -> None:
    """Learn from images and single sentences which words look where (GLoRIA, paper 3.3).

    \b
    Example:
      ecamp-fast attend train SHARDS runs/gloria
    """
