"""Which rows of a text speak of a word or an entity; all pieces of a word, and all places that name it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ecamp_fast.errors import ConfigError
from ecamp_fast.text.codes import CLS_ID
from ecamp_fast.text.reading.annotate import describe
from ecamp_fast.text.reading.entities import DEFAULT, EntityList
from ecamp_fast.text.reading.words import Span, word_spans
from ecamp_fast.text.wordpiece import Wordpiece


@dataclass(frozen=True, eq=False)
class ReadText:
    """A text as the model reads it, no word masked.

    ids       (T,) int64   [CLS] first
    spans     the characters [start, end) of the text that each row stands for; of [CLS] none
    entities  the list that it is read for
    """

    text: str
    ids: Tensor
    spans: tuple[Span, ...]
    entities: EntityList = DEFAULT


@dataclass(frozen=True)
class Query:
    """Rows of a text whose attention is averaged.

    name    what they speak of
    rows    ascending, at least one
    denied  whether the text says of an entity that it is absent
    """

    name: str
    rows: tuple[int, ...]
    denied: bool = False


def read_text(text: str, wordpiece: Wordpiece, max_tokens: int, entities: EntityList = DEFAULT) -> ReadText:
    """What is longer than ``max_tokens``, [CLS] included, is left out as in training."""
    tokens = wordpiece.encode(text, specials=False)[: max_tokens - 1]
    ids = torch.tensor([CLS_ID, *(token.id for token in tokens)])
    return ReadText(text, ids, ((0, 0), *((token.start, token.end) for token in tokens)), entities)


def word_query(read: ReadText, word: str) -> Query | None:
    """A word, or several that stand together, wherever the text has them; None where it does not.

    Upper and lower case are one. Raises ConfigError where ``word`` is none.
    """
    wanted = [word[start:end].casefold() for start, end in word_spans(word)]
    if not wanted:
        raise ConfigError(f"{word!r} is no word", "name one that the text has")
    spans = word_spans(read.text)
    words = [read.text[start:end].casefold() for start, end in spans]
    size = len(wanted)
    found = [
        (spans[i][0], spans[i + size - 1][1]) for i in range(len(words) - size + 1) if words[i : i + size] == wanted
    ]
    return _query(read, word, found)


def entity_query(read: ReadText, entity: str) -> Query | None:
    """The mentions of one of the entities, those alone that are not denied where there are such; None without any.

    Raises ConfigError for a name that is no entity.
    """
    if entity not in read.entities.names:
        raise ConfigError(f"{entity!r} is no entity", f"the entities are {', '.join(read.entities.names)}")
    about = [one for one in describe(read.text, read.entities) if one.mention.entity == entity]
    stated = [one for one in about if not one.denied]
    return _query(read, entity, [one.mention[1:] for one in stated or about], denied=not stated)


def entities_of(text: str, entities: EntityList = DEFAULT) -> list[str]:
    """The entities that a text mentions, stated ones first, else in its order."""
    about = sorted(describe(text, entities), key=lambda one: one.denied)
    return list(dict.fromkeys(one.mention.entity for one in about))


def _query(read: ReadText, name: str, found: Sequence[Span], denied: bool = False) -> Query | None:
    """found: characters [start, end) of each place"""
    rows = [
        row for row, (first, last) in enumerate(read.spans) if any(first < end and start < last for start, end in found)
    ]
    return Query(name, tuple(rows), denied) if rows else None
