"""The WordPiece tokenizer: training on a corpus, loading of a user's own file, encoding with character offsets.

Lower case, NFKD, accents stripped; words, runs of punctuation and runs of digits apart; "##" continues a word. Nothing
adds [CLS] or [SEP].
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from ecamp_fast.errors import ConfigError
from ecamp_fast.text.codes import ID_BITS, SPECIALS, UNK_ID

PREFIX = "##"
MAX_WORD = 100  # characters; a longer word is unknown


class Token(NamedTuple):
    """A wordpiece: its id, and the characters [start, end) of the text it stands for."""

    id: int
    start: int
    end: int


class Wordpiece:
    """A tokenizer whose ids 0 to 4 are the specials. Built by ``train_wordpiece`` or ``load_wordpiece``."""

    def __init__(self, tokenizer: Tokenizer, source: bytes) -> None:
        self._tokenizer = tokenizer
        self._bytes = source
        self.digest = hashlib.sha256(source).hexdigest()
        self.vocab_size: int = tokenizer.get_vocab_size()

    def encode(self, text: str, specials: bool = True) -> list[Token]:
        """The wordpieces of a text, nothing added, nothing cut.

        specials: whether "[CLS]" and its like are the specials or the characters that they are written with
        """
        self._tokenizer.encode_special_tokens = not specials
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [Token(number, *span) for number, span in zip(encoding.ids, encoding.offsets, strict=True)]

    def decode(self, ids: Sequence[int]) -> list[str]:
        """The wordpiece strings of ids; [UNK] for one outside the vocabulary."""
        return [self._tokenizer.id_to_token(int(number)) or SPECIALS[UNK_ID] for number in ids]

    def id(self, token: str) -> int:
        """The id of a wordpiece string; that of [UNK] where the vocabulary lacks it."""
        number = self._tokenizer.token_to_id(token)
        return UNK_ID if number is None else number

    def to_bytes(self) -> bytes:
        """The tokenizer file (JSON), byte for byte what ``digest`` is the SHA-256 of."""
        return self._bytes

    def save(self, path: Path) -> None:
        """Write the tokenizer file."""
        path.write_bytes(self._bytes)


def train_wordpiece(texts: Iterable[str], vocab_size: int) -> Wordpiece:
    """Learn a vocabulary of at most ``vocab_size`` entries. The same texts give the same file."""
    texts = list(texts)
    tokenizer = build_tokenizer({token: number for number, token in enumerate(SPECIALS)})
    # The library numbers its inner-letter pieces in the order of a hash table, which differs from run to run, and
    # breaks ties between merges by those numbers. Named up front, they have the same numbers every time.
    inner = [PREFIX + letter for letter in _letters(texts, tokenizer)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=[*SPECIALS, *inner], continuing_subword_prefix=PREFIX, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    trained = build_tokenizer(tokenizer.get_vocab(with_added_tokens=True))  # without the inner letters as specials
    return Wordpiece(trained, trained.to_str(pretty=True).encode())


def load_wordpiece(path: str | Path) -> Wordpiece:
    """Read a tokenizer file (JSON of the ``tokenizers`` library).

    Raises ConfigError where it cannot be read, is no WordPiece, or lacks the specials at ids 0 to 4.
    """
    try:
        source = Path(path).read_bytes()
        tokenizer = Tokenizer.from_str(source.decode())
    except Exception as error:  # the library raises bare Exception for bad files
        raise ConfigError(
            f"{path}: not a tokenizer file ({error})", "give a tokenizer.json with a WordPiece model"
        ) from None
    if not isinstance(tokenizer.model, models.WordPiece):
        raise ConfigError(f"{path}: its model is {type(tokenizer.model).__name__}, not WordPiece", "give another file")
    found = tuple(tokenizer.id_to_token(number) for number in range(len(SPECIALS)))
    if found != SPECIALS:
        raise ConfigError(f"{path}: ids 0 to 4 are {', '.join(map(str, found))}", f"they must be {', '.join(SPECIALS)}")
    ids = tokenizer.get_vocab().values()
    if len(ids) > 2**ID_BITS or max(ids) >= len(ids):
        what = f"{path}: {len(ids):,} entries with ids up to {max(ids):,}"
        raise ConfigError(what, f"give at most {2**ID_BITS:,} entries, numbered without a gap")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return Wordpiece(tokenizer, source)


def _letters(texts: Iterable[str], tokenizer: Tokenizer) -> list[str]:
    """Every character of the texts as the normaliser leaves it, sorted."""
    raw = sorted(set().union(*texts))
    return sorted(set("".join(tokenizer.normalizer.normalize_str(character) for character in raw)) - set(" \n\t"))


def build_tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    """An untrained tokenizer with our normalisation. vocabulary: wordpiece -> id, the specials at 0 to 4."""
    tokenizer = Tokenizer(
        models.WordPiece(
            vocabulary, unk_token=SPECIALS[UNK_ID], max_input_chars_per_word=MAX_WORD, continuing_subword_prefix=PREFIX
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.NFKD(), normalizers.StripAccents()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=False)]
    )
    tokenizer.add_special_tokens(list(SPECIALS))
    return tokenizer
