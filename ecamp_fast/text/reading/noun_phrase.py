"""The noun phrase around an entity: the adjectives before it, the noun behind it, and where a report says that it is."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from ecamp_fast.text.reading.entities import Mention
from ecamp_fast.text.reading.modifiers import (
    ADVERBS_ALONE,
    COMPARATIVES,
    FINDINGS,
    MANY,
    SIDES,
    TAILS,
    Kind,
    describes_a_finding,
    is_level,
    is_place,
    kind,
)
from ecamp_fast.text.reading.nouns import degree, is_adjective, is_verb
from ecamp_fast.text.reading.words import Span, word_spans

_JOINTS = frozenset(("and", "or", "to", "and/or", "&"))
_LIST_JOINTS = frozenset(("and", "or"))
COPULAS = frozenset("is are was were appear appears appeared remain remains remained".split())  # noqa: SIM905
_ARTICLES = frozenset("the a an both either each this that its their".split())  # noqa: SIM905
_IN = frozenset(
    "in on at within throughout along over overlying involving near of about around behind above below beneath "
    "under underlying across".split()  # noqa: SIM905
)
_SEEN = frozenset(
    "seen noted present identified located visualized visualised demonstrated evident appreciated again also now "
    "situated found centered best most only mainly predominantly still projecting projected projects to be".split()  # noqa: SIM905
)
_BEHIND_A_SIDE = frozenset("and or than with without which measuring as but since from seen noted now".split())  # noqa: SIM905
# "small [areas of] opacity" is small opacity.
_PARTS = frozenset(
    "area areas amount amounts focus foci band bands patch patches pocket pockets degree component components "
    "streak streaks region regions zone zones cluster clusters collection collections".split()  # noqa: SIM905
)
# Of what an organ is: "normal [size and configuration] of the silhouette".
PROPERTIES = frozenset(
    "size sized configuration caliber appearance contour contours shape width position".split()  # noqa: SIM905
)
_CHANGES = frozenset("increased decreased reduced diminished more less".split())  # noqa: SIM905
# What the elevation is of: "elevation of the right hemidiaphragm".
_OF_NOUNS = FINDINGS | frozenset(
    """
    elevation eventration flattening blunting tortuosity ectasia prominence enlargement widening fullness unfolding
    uncoiling indistinctness haziness crowding asymmetry elongation loss straightening narrowing scalloping tenting
    depression change changes
    """.split()  # noqa: SIM905
)


@dataclass(slots=True)
class Sentence:
    """The words of one sentence of a report, and which of them mention an entity.

    spans     characters [start, end) of every word in ``text``
    words     the same in lower case
    owner     for a word that mentions an entity, the number of the mention in the sentence; -1 for the others
    """

    text: str
    spans: list[Span]
    words: list[str]
    owner: list[int]

    @classmethod
    def read(cls, text: str, span: Span, mentions: Sequence[Mention]) -> "Sentence":
        spans = word_spans(text, *span)
        starts, ends = [start for start, _ in spans], [end for _, end in spans]
        owner = [-1] * len(spans)
        for number, mention in enumerate(mentions):
            for word in range(bisect_right(ends, mention.start), bisect_left(starts, mention.end)):
                owner[word] = number
        return cls(text, spans, [text[start:end].lower() for start, end in spans], owner)

    def words_of(self, mention: Mention) -> Span:
        """The words [first, last) that hold a mention."""
        first = bisect_right(self.spans, (mention.start, len(self.text) + 1)) - 1
        return first, bisect_left(self.spans, (mention.end, 0))

    def gap(self, word: int) -> str:
        """What parts a word from the one before it: '' for blanks, "," for a comma, else the characters."""
        return self.text[self.spans[word - 1][1] : self.spans[word][0]].strip() if word else "."

    def follows(self, word: int) -> bool:
        """Whether a word exists and stands right behind the one before it, with nothing but blanks between."""
        return word < len(self.words) and self.gap(word) == ""


@dataclass(slots=True)
class NounPhrase:
    """before: adjectives   head: the entity with its noun   place: "in the right upper lobe".

    first, last  words [first, last) of the sentence that the adjectives and the head take
    next         the first word behind the place
    """

    head: list[str]
    first: int
    last: int
    before: list[str] = field(default_factory=list)
    place: list[str] = field(default_factory=list)
    next: int = 0

    @property
    def words(self) -> list[str]:
        return [*self.before, *self.head, *self.place]


def adjectives_before(sentence: Sentence, word: int, adverbs: bool = False) -> tuple[list[str], int]:
    """The words before ``word`` that describe it, in order, and where they begin.

    adverbs: whether one right before ``word`` counts ("mildly hyperinflated")
    """
    kept: list[str] = []
    first = word
    takes_adverb = adverbs
    while first > 0 and sentence.owner[first - 1] < 0:
        gap, before = sentence.gap(first), sentence.words[first - 1]
        if gap == ",":
            if not (kept and _coordinated(sentence, first - 1)):
                break
        elif gap:
            break
        meaning = kind(before)
        if before in _JOINTS and kept and sentence.gap(first - 1) == "" and _coordinated(sentence, first - 2):
            kept.append(before)
        elif meaning in (Kind.ADJECTIVE, Kind.NOUN):
            kept.append(before)
            takes_adverb = meaning is Kind.ADJECTIVE
        elif meaning is Kind.ADVERB and takes_adverb:
            kept.append(before)
        elif before == "than" and kept and kept[-1] in SIDES and _compares(sentence, first - 1):
            kept += ["than", *sentence.words[first - 2 : first - 4 : -1]]
            first -= 2
        elif meaning is not Kind.PASSED and meaning is not Kind.ADVERB:
            if before == "not":
                kept = kept[:-1]
            break
        first -= 1
    while kept and kept[-1] in TAILS:
        kept.pop()
    if first > 1 and sentence.words[first - 1] == "of" and sentence.words[first - 2] in _PARTS:
        if not sentence.gap(first) and not sentence.gap(first - 1) and sentence.owner[first - 2] < 0:
            of_part, first = adjectives_before(sentence, first - 2)
            kept += [word for word in reversed(of_part) if word not in kept and word not in MANY]
    return kept[::-1], first


def _compares(sentence: Sentence, than: int) -> bool:
    """Whether two sides are compared: "right greater [than] left"."""
    return than > 1 and sentence.words[than - 1] in COMPARATIVES and sentence.words[than - 2] in SIDES


def _coordinated(sentence: Sentence, last: int) -> bool:
    """Whether the word before a comma or an "and" is an adjective of what comes: "small, left" but not "heart large,"."""
    word = last
    while word >= 0 and sentence.owner[word] < 0 and describes_a_finding(sentence.words[word]):
        word -= 1
        if sentence.gap(word + 1):
            return word < last and sentence.gap(word + 1) != ","
    if word == last or word < 0:
        return word < last
    before = sentence.words[word]
    if sentence.owner[word] >= 0 or kind(before) in (Kind.NOUN, Kind.ADVERB):
        return False
    return before not in COPULAS or (word > 0 and sentence.words[word - 1] == "there")


def phrase_of(sentence: Sentence, first: int, mention: int, last: int, nominal: str) -> NounPhrase:
    """The phrase of an entity that takes the words [mention, last), with the others of its compound [first, last).

    nominal: the noun that says the same, where the entity is an adjective and nothing follows that it belongs to
    """
    surface = sentence.words[last - 1]
    adjective, verb = is_adjective(surface), is_verb(surface)
    end = noun_behind(sentence, last) if adjective and not verb else last
    phrase = NounPhrase(sentence.words[first:end], first, end)
    if not verb:
        phrase.before, phrase.first = adjectives_before(sentence, first, adverbs=is_adjective(sentence.words[first]))
    if (adjective or verb) and end == last and nominal:
        earlier = sentence.words[first:mention]
        if earlier and not is_adjective(earlier[-1]):
            phrase.head = [*sentence.words[mention:last], *earlier]  # "aorta calcified"
        else:
            phrase.head = [*earlier, nominal]
            phrase.before = _as_adjectives(phrase.before)
        if not earlier:
            phrase.place = _object(sentence, last) if verb else _subject(sentence, phrase.first)
    phrase.next = end
    if not phrase.place:
        phrase.place, phrase.next = place_behind(sentence, end)
    if phrase.place == ["bilaterally"]:
        phrase.place = []
        if "bilateral" not in phrase.before:
            phrase.before.insert(0, "bilateral")
    return phrase


def _as_adjectives(words: list[str]) -> list[str]:
    """Adverbs and adjectives for a noun that is not the report's; what belongs to another noun goes."""
    kept: list[str] = []
    for word in words:
        if kind(word) is Kind.NOUN or word in _JOINTS:
            kept.clear()
        elif adjective := degree(word) if kind(word) is Kind.ADVERB else word:
            kept.append(adjective)
    return kept


def noun_behind(sentence: Sentence, word: int) -> int:
    """Where the noun ends that the adjective before ``word`` belongs to, or ``word``: calcified [lymph nodes]."""
    start = end = word
    while sentence.follows(word) and sentence.owner[word] < 0:
        meaning = kind(sentence.words[word])
        if meaning is Kind.NOUN:
            end = word + 1
        elif meaning is not Kind.ADJECTIVE:
            break
        word += 1
    if sentence.follows(word) and sentence.owner[word] >= 0:
        return start
    return end


def _subject(sentence: Sentence, first: int) -> list[str]:
    """ "of the left clavicle" for "the left clavicle is [fractured]": where a side or a level would be lost."""
    word = first
    if word and sentence.words[word - 1] in COPULAS and not sentence.gap(word):
        word -= 1
    if not word or sentence.gap(word) or sentence.owner[word - 1] >= 0 or not is_place(sentence.words[word - 1]):
        return []
    words, start = adjectives_before(sentence, word)
    if not words or set(words) <= {"lung", "lungs", "heart"}:
        return []
    if kind(words[-1]) is not Kind.NOUN or (start and sentence.words[start - 1] in _IN):
        return []
    return ["of", "the", *words]


def _object(sentence: Sentence, word: int) -> list[str]:
    """ "of the right heart border" for "[obscures] the right heart border"."""
    if sentence.follows(word) and sentence.words[word] in _ARTICLES:
        word += 1
    words, _ = _place_words(sentence, word)
    return ["of", "the", *words] if words else []


def place_behind(sentence: Sentence, word: int) -> tuple[list[str], int]:
    """The phrase of place from ``word`` on, and where it ends: "is seen [in the right upper lobe]"; [] for none."""
    start = word
    if sentence.follows(word) and sentence.words[word] in ("which", "that"):
        word += 1
    while sentence.follows(word) and _leads_to_a_place(sentence.words[word]):
        word += 1
    if sentence.follows(word) and sentence.words[word] == "bilaterally":
        return ["bilaterally"], word + 1
    place: list[str] = []
    end = start
    while sentence.follows(word) and sentence.words[word] in (_IN if not place else ("of", "in", "at", "on")):
        prefix = [sentence.words[word]]
        word += 1
        if sentence.follows(word) and sentence.words[word] in _ARTICLES:
            prefix.append(sentence.words[word])
            word += 1
        words, word = _place_words(sentence, word)
        if not words:
            break
        place += [*prefix, *words]
        end = word
    return place, end


def _leads_to_a_place(word: str) -> bool:
    return word in COPULAS or word in _SEEN or kind(word) is Kind.PASSED


def _place_words(sentence: Sentence, word: int) -> tuple[list[str], int]:
    """Sides and places with what describes them from ``word`` on, and where they end; [] for none.

    One that an entity or a verb claims is none: "in the left [hilum]", "in the left lung and the heart [is]".
    """
    first = word
    end, word = _one_place(sentence, word)
    while sentence.follows(word) and sentence.words[word] in _LIST_JOINTS and sentence.follows(word + 1):
        further, after = _one_place(sentence, word + 1)
        if further == word + 1 or (sentence.follows(further) and sentence.words[further] in COPULAS):
            break
        end, word = further, after
    return sentence.words[first:end], end


def _one_place(sentence: Sentence, word: int) -> tuple[int, int]:
    """Where a place from ``word`` on ends (``word`` for none), and where the adjectives and nouns end."""
    first, end = word, word
    while word < len(sentence.words) and (word == first or not sentence.gap(word) or _of_levels(sentence, word)):
        name = sentence.words[word]
        if sentence.owner[word] >= 0:
            return first, first
        if kind(name) not in (Kind.ADJECTIVE, Kind.NOUN) and not _of_levels(sentence, word):
            break
        word += 1
        if is_place(name):
            end = word
    if end > first and sentence.words[end - 1] in SIDES and end == word:
        follower = sentence.words[word] if sentence.follows(word) else "and"
        known = follower in _IN or follower in COPULAS or follower in _BEHIND_A_SIDE
        if not known or end > first + 1:
            return first, first  # "on the left view", "on the posterior left": the side of something else
    return end, word


def _of_levels(sentence: Sentence, word: int) -> bool:
    """Whether a word continues a list of levels: "the 4th, 5th [and] 6th ribs"."""
    if sentence.words[word] == "and":
        return (
            word + 1 < len(sentence.words) and is_level(sentence.words[word - 1]) and is_level(sentence.words[word + 1])
        )
    before = sentence.words[word - 1 - (sentence.words[word - 1] == "and")]
    return is_level(sentence.words[word]) and is_level(before)


def said_of(sentence: Sentence, word: int) -> tuple[list[str], int]:
    """The adjectives that a verb gives to a finding, from ``word`` on, and where they end: "is [small and bilateral]"."""
    start = word
    if not (sentence.follows(word) and sentence.words[word] in COPULAS):
        return [], start
    word += 1
    kept: list[str] = []
    while sentence.follows(word) and sentence.owner[word] < 0:
        name = sentence.words[word]
        if name in _LIST_JOINTS and kept and kept[-1] not in _LIST_JOINTS:
            kept.append(name)
        elif name in _CHANGES:
            break
        elif describes_a_finding(name) or kind(name) is Kind.ADVERB:
            kept.append(name)
        elif kind(name) is not Kind.PASSED and name not in _SEEN:
            break
        word += 1
    if sentence.follows(word) and (sentence.owner[word] >= 0 or kind(sentence.words[word]) is Kind.NOUN):
        return [], start  # "is small left lung ...": it belongs to another noun
    while kept and (kept[-1] in _LIST_JOINTS or kept[-1] in ADVERBS_ALONE):
        kept.pop()
    return [name for name in kept if name not in _LIST_JOINTS], word


def noun_of(sentence: Sentence, first: int) -> int | None:
    """Where the noun stands that an organ, whose phrase begins at ``first``, is the "of" of: [elevation] of the ..."""
    word = first - 1
    if word >= 0 and sentence.words[word] in _ARTICLES and not sentence.gap(first):
        word -= 1
    if word < 1 or sentence.words[word] != "of" or sentence.gap(word) or sentence.gap(word + 1):
        return None
    return word - 1 if sentence.words[word - 1] in _OF_NOUNS and sentence.owner[word - 1] < 0 else None
