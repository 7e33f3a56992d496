"""``ecamp-fast tokenizer``: train a WordPiece tokenizer on a corpus."""

import json
from pathlib import Path

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.usage.groups import HelpfulGroup
from ecamp_fast.usage.options import json_option, vocabulary_option


@click.group(cls=HelpfulGroup)
def command() -> None:
    """Train tokenizers.

    \b
    Example:
      ecamp-fast tokenizer train reports.csv tokenizer.json
    """


@command.command(short_help="Train a WordPiece tokenizer on a corpus.")
@click.argument("corpus", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--column",
    default="report",
    show_default=True,
    metavar="NAME",
    help="Of a CSV file: the column that holds the texts.",
)
@vocabulary_option()
@json_option()
def train(corpus: Path, out: Path, column: str, vocab_size: int, as_json: bool) -> None:
    """Train a WordPiece tokenizer on CORPUS, a CSV file or a text file with one text per line, and save it as OUT.

    \b
    Example:
      ecamp-fast tokenizer train reports.csv tokenizer.json --column report
    """
    from ecamp_fast.files import require_file, write_atomically
    from ecamp_fast.text.reading.cleaning import is_empty
    from ecamp_fast.text.wordpiece import train_wordpiece

    if out.exists():
        raise ConfigError(f"{out} exists already", "name a new file, or remove this one")
    require_file(out)
    texts = dict.fromkeys(text for text in _texts(corpus, column) if not is_empty(text))
    if not texts:
        raise DataError(f"{corpus}: no text to train on", "check the file and the column")
    wordpiece = train_wordpiece(texts, vocab_size)
    write_atomically(out, wordpiece.to_bytes())
    result = {"schema": 1, "out": str(out), "texts": len(texts), "vocab_size": wordpiece.vocab_size}
    result["sha256"] = wordpiece.digest
    tell(
        json.dumps(result)
        if as_json
        else f"{out}: {wordpiece.vocab_size:,} entries from {len(texts):,} different texts"
    )


def _texts(corpus: Path, column: str) -> list[str]:
    from ecamp_fast.shards.sources.table import read_table, read_whole

    if corpus.suffix.lower() != ".csv":
        text, note = read_whole(corpus)
        texts = text.splitlines()
    else:
        table = read_table(corpus, (column,))
        note = table.note
        if table.faults:
            raise DataError(str(table.faults[0]))
        texts = [row[column] for _, row in table.rows]
    if note:
        tell(f"note: {note}", err=True)
    return texts
