"""One sample of a finished set with another distilled text or attention map; runs in the worker processes."""

from dataclasses import dataclass, field
from pathlib import Path

from ecamp_fast.shards.format.manifest import ATTENTION, DISTILLED, REPORT, TOKENS
from ecamp_fast.shards.format.tokens import pack_tokens
from ecamp_fast.shards.images.encode import attention_map, pgm
from ecamp_fast.shards.images.limits import BadImage
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.base import RecordFault
from ecamp_fast.shards.sources.files import read_bytes
from ecamp_fast.text.reading.annotate import Annotator, describe
from ecamp_fast.text.wordpiece import load_wordpiece

NO_TEXT, NO_MAP, BAD_MAP = "no text", "no map", "damaged map"  # kinds of faults
_BINARY = b"P5"
_ADD = "write KEY.pgm for it"


@dataclass(frozen=True, slots=True)
class Insert:
    """What is put into a sample.

    split, index  which one
    text          its distilled text; None: the one that it has
    map           file of its attention map; None: the one that it has
    """

    split: str
    index: int
    text: str | None = None
    map: Path | None = None


@dataclass(frozen=True, slots=True)
class Inserted:
    """A sample ready to be written.

    key      its name
    members  content by extension
    tokens   how many codes report and distilled text have; None: an image alone, or no texts are put
    faults   why it keeps what it had
    """

    key: str
    members: dict[str, bytes]
    tokens: tuple[int, int] | None
    faults: tuple[RecordFault, ...] = field(default=())


class Inserter:
    """Puts texts, maps or both into samples of the set ``path``.

    texts  whether texts are put: then all tokens are made anew, by the rules of this version and the set's own list of
           entities and tokenizer, also of samples that keep their text
    maps   whether maps are put
    Raises as ``ShardSet``.
    """

    def __init__(self, path: str | Path, texts: bool, maps: bool) -> None:
        self._set = ShardSet(path)
        self._maps = maps
        self._entities = self._set.manifest.entities
        tokenizer = load_wordpiece(self._set.wordpiece_path) if texts and self._set.manifest.vocab_size else None
        self._annotator = Annotator(tokenizer, self._entities) if tokenizer else None

    def pack(self, insert: Insert) -> Inserted:
        """The sample; a map that is missing or damaged is a fault, and nothing is left out for it.

        A report that states nothing needs no map, and has an empty one where there is one: as in a build. Raises
        DataError for a sample of the set that is damaged.
        """
        sample = self._set.read(insert.split, insert.index)
        members, faults = dict(sample), []
        tokens = None
        if self._annotator and REPORT in members:
            if insert.text is not None:
                members[DISTILLED] = insert.text.encode()
            codes = [self._annotator.codes(members[name].decode()) for name in (REPORT, DISTILLED)]
            members[TOKENS] = pack_tokens(*codes)
            tokens = len(codes[0]), len(codes[1])
        if self._maps:
            report = members.get(REPORT, b"").decode()
            states = any(not one.denied for one in describe(report, self._entities))
            if insert.map is not None:
                try:
                    members[ATTENTION] = read_map(insert.map, empty=bool(report) and not states)
                except BadImage as bad:
                    faults.append(RecordFault(sample.key, f"its map: {bad.what}", bad.hint, BAD_MAP))
            elif states:
                faults.append(RecordFault(sample.key, "its report states something, and it has no map", _ADD, NO_MAP))
        return Inserted(sample.key, members, tokens, tuple(faults))


def read_map(path: Path, empty: bool) -> bytes:
    """The member of a map.  empty: its values are not wanted   Raises BadImage: no binary PGM, or a damaged one."""
    data = read_bytes(path)
    if not data.startswith(_BINARY):
        raise BadImage("no binary PGM (P5)", "write maps as P5 of 8 bits", BAD_MAP)
    image = attention_map(data)
    return pgm(image.point(lambda value: 0) if empty else image)
