"""The WordPiece tokenizer: trained on a corpus, or loaded from a user's own Hugging Face tokenizers file."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from ecamp_fast.errors import ConfigError
from ecamp_fast.files import write_atomically
from ecamp_fast.text.codes import CLS_ID, ID_BITS, MASK_ID, PAD_ID, SEP_ID, UNK_ID
from ecamp_fast.text.vocabulary import PREFIX, grow_vocabulary

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[MASK]", "[SEP]")  # ids 0 to 4
MAX_WORD = 100  # characters; longer words are unknown


@dataclass(frozen=True, slots=True)
class Pieces:
    """A tokenized text of n pieces; all (n,) int32.

    ids      wordpiece ids
    starts, ends   the piece is text[start:end], in characters of the text as it was given
    words    number of the word a piece belongs to: pieces of one word share it
    """

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    words: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


class Wordpiece:
    """A WordPiece tokenizer and the very bytes of its file."""

    pad_id, unk_id, cls_id, mask_id, sep_id = PAD_ID, UNK_ID, CLS_ID, MASK_ID, SEP_ID

    def __init__(self, data: bytes, origin: str = "tokenizer") -> None:
        """data: the JSON file's bytes; ``origin`` names it in errors.  Raises ConfigError if it cannot serve."""
        self._data = data
        self._tokenizer = _parse(data, origin)
        # The same tokenizer that reads "[MASK]" in a report as the characters it is made of.
        self._literal = _parse(data, origin)
        self._literal.encode_special_tokens = True
        self._vocabulary = self._tokenizer.get_vocab()
        self._check(origin)

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding table."""
        return max(self._vocabulary.values()) + 1

    @property
    def digest(self) -> str:
        """sha256 of the file, hexadecimal: shards and runs are tied to it."""
        return hashlib.sha256(self._data).hexdigest()

    def encode(self, text: str, specials: bool = False) -> Pieces:
        """Tokenize; nothing is added and nothing cut.

        specials: whether "[CLS]" and its like in ``text`` become their ids; by default they are ordinary characters,
        because a report must not be able to write padding or masks.
        """
        tokenizer = self._tokenizer if specials else self._literal
        encoding = tokenizer.encode(text, add_special_tokens=False)
        n = len(encoding.ids)
        offsets = np.array(encoding.offsets, np.int32).reshape(n, 2)
        words = np.array([-1 if w is None else w for w in encoding.word_ids], np.int32)
        return Pieces(np.array(encoding.ids, np.int32), offsets[:, 0], offsets[:, 1], words)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The piece of each id."""
        return [self._tokenizer.id_to_token(int(i)) or SPECIALS[UNK_ID] for i in ids]

    def id(self, token: str) -> int | None:
        """The id of a piece, None if the vocabulary lacks it."""
        return self._vocabulary.get(token)

    def to_bytes(self) -> bytes:
        """The tokenizer file."""
        return self._data

    def save(self, path: Path | str) -> None:
        """Write the tokenizer file, atomically."""
        write_atomically(Path(path), self._data)

    def _check(self, origin: str) -> None:
        found = [self._tokenizer.id_to_token(i) for i in range(len(SPECIALS))]
        if found != list(SPECIALS):
            raise ConfigError(
                f"{origin}: ids 0 to 4 are {found}, not {list(SPECIALS)}",
                "train one with `ecamp-fast tokenizer train`, or reorder its vocabulary",
            )
        if self.vocab_size > 1 << ID_BITS:
            raise ConfigError(f"{origin}: {self.vocab_size} pieces, at most {1 << ID_BITS} fit", "use a smaller one")


def load_wordpiece(path: Path | str) -> Wordpiece:
    """Read a tokenizer file (JSON of the Hugging Face tokenizers library).

    Raises ConfigError if it is absent, is no WordPiece tokenizer, or has other specials than ours at ids 0 to 4.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the tokenizer {path}: {error.strerror}", "name an existing file") from None
    return Wordpiece(data, str(path))


def train_wordpiece(texts: Iterable[str], vocab_size: int) -> Wordpiece:
    """Train on a corpus: the same texts give the same bytes, in any order of the texts.

    vocab_size: at most this many pieces, specials included; a small corpus yields fewer.
    Raises ConfigError if vocab_size leaves no room for the characters of ASCII.
    """
    if not 150 <= vocab_size <= 1 << ID_BITS:
        raise ConfigError(f"vocab_size {vocab_size} is not between 150 and {1 << ID_BITS}", "30000 is the paper's")
    pieces = grow_vocabulary(_count_words(texts), vocab_size - len(SPECIALS))
    return from_vocabulary([*SPECIALS, *pieces])


def from_vocabulary(pieces: list[str]) -> Wordpiece:
    """A tokenizer with exactly these pieces, ids in this order; the five specials come first."""
    tokenizer = Tokenizer(
        models.WordPiece(
            {piece: i for i, piece in enumerate(pieces)},
            unk_token=SPECIALS[UNK_ID],
            max_input_chars_per_word=MAX_WORD,
            continuing_subword_prefix=PREFIX,
        )
    )
    tokenizer.normalizer, tokenizer.pre_tokenizer = _normalizer(), _pre_tokenizer()
    tokenizer.add_special_tokens(list(SPECIALS))
    return Wordpiece(tokenizer.to_str(pretty=True).encode())


def _normalizer() -> Any:
    return normalizers.Sequence([normalizers.Lowercase(), normalizers.NFKD(), normalizers.StripAccents()])


def _pre_tokenizer() -> Any:
    """Runs of word characters and runs of punctuation, digits apart from letters."""
    return pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=False)])


def _count_words(texts: Iterable[str]) -> dict[str, int]:
    normalizer, pre_tokenizer = _normalizer(), _pre_tokenizer()
    counts: dict[str, int] = {}
    for text in texts:
        for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)):
            if len(word) <= MAX_WORD:
                counts[word] = counts.get(word, 0) + 1
    return counts


def _parse(data: bytes, origin: str) -> Tokenizer:
    mend = "give the JSON file of a WordPiece tokenizer of the Hugging Face tokenizers library"
    try:
        kind = json.loads(data)["model"]["type"]
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises bare Exception
        raise ConfigError(f"{origin}: not a tokenizer file ({type(error).__name__})", mend) from None
    if kind != "WordPiece":
        raise ConfigError(f"{origin}: a {kind} tokenizer, not WordPiece", mend)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
