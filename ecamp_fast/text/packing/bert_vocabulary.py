"""The vocabulary of a BERT of transformers, from the files beside its weights."""

from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from ecamp_fast.errors import ConfigError
from ecamp_fast.text.packing.captions import Vocabulary
from ecamp_fast.text.wordpiece import PREFIX

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def read_vocabulary(folder: Path) -> Vocabulary:
    """Of ``vocab.txt``, one wordpiece a line, in ``folder``. Texts are lowercased, as GLoRIA does it.

    Raises ConfigError where it is not there, or lacks a special token.
    """
    file = folder / "vocab.txt"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"gloria.bert: {file} cannot be read: {error}", "name a folder with a BERT's files") from None
    numbers = {token: number for number, token in enumerate(lines)}
    if absent := [token for token in SPECIALS if token not in numbers]:
        raise ConfigError(f"gloria.bert: {file} lacks {', '.join(absent)}", "name a folder with a BERT's files")
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def pieces(text: str) -> list[tuple[int, bool]]:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        return [(one, token.startswith(PREFIX)) for one, token in zip(encoding.ids, encoding.tokens, strict=True)]

    return Vocabulary(pieces, numbers["[CLS]"], numbers["[SEP]"], numbers["[PAD]"], len(lines))
