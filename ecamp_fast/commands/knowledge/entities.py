"""``--entities`` of commands that read reports again: which list they are read by."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ecamp_fast.text.reading.entities import EntityList

entities_option = click.option(
    "--entities",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Names and forms of entities, as of `shard build`. Default: the set's own list; for a table the paper's 44.",
)


def read_list(path: Path | None) -> "EntityList | None":
    """The list of a file; None where none is named.  Raises ConfigError."""
    from ecamp_fast.text.entity_file import read_entities

    return read_entities(path) if path else None
