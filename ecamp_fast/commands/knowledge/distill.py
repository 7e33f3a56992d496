"""``ecamp-fast distill``: reports as one short sentence per entity."""

import click

from ecamp_fast.usage.groups import LazyGroup

PARTS = {
    "run": ("ecamp_fast.commands.knowledge.run", "Every report to a journal, by a language model or by the rules."),
    "audit": ("ecamp_fast.commands.knowledge.audit", "A random sample of answers beside their reports, as a page."),
    "export-sft": ("ecamp_fast.commands.knowledge.export_sft", "Answers of a model as conversations for a student."),
    "train-student": ("ecamp_fast.commands.knowledge.train_student", "A small model fitted to these conversations."),
}


@click.group(cls=LazyGroup, table=PARTS)
def command() -> None:
    """Rewrite reports as one short sentence per entity, by a language model on this machine or by the rules.

    \b
    Example:
      ecamp-fast distill run SHARDS journal --rules
    """
