"""The noun phrase around an entity: the adjectives before it, the noun behind it, and where it is said to be."""

from dataclasses import dataclass, field

from ecamp_fast.text.reading.modifiers import (
    ADVERBS_ALONE,
    COMPARATIVES,
    DEGREES,
    FINDINGS,
    MANY,
    SIDES,
    TAILS,
    Kind,
    describes_a_finding,
    is_place,
    kind,
)
from ecamp_fast.text.reading.nouns import degree
from ecamp_fast.text.reading.places import place_behind, place_words
from ecamp_fast.text.reading.sentence_words import AND_OR, ARTICLES, COPULAS, IN, SEEN, Sentence

_JOINTS = AND_OR | {"to", "and/or", "&"}
_UNDONE = frozenset(("non", "ill", "un", "not"))  # before a hyphen with a blank: the next word alone means the opposite
# Words right behind which a noun phrase begins.
_OPENERS = frozenset(
    """
    no with without of for any some shows show showed demonstrates demonstrate demonstrated reveals revealed has have
    represent represents representing suggest suggests suggesting reflect reflects reflecting
    """.split()  # noqa: SIM905
)
_LONGEST_LIST = 8  # words, of adjectives with commas
# "small [areas of] opacity" is small opacity.
_PARTS = frozenset(
    """
    area areas amount amounts focus foci band bands patch patches pocket pockets degree component components streak
    streaks region regions zone zones cluster clusters collection collections
    """.split()  # noqa: SIM905
)
# "normal and [stable] contours" are normal.
_OVER_TIME = frozenset(
    "stable unchanged persistent progressive worsening improving increasing decreasing".split()  # noqa: SIM905
)
_CHANGES = frozenset("increased decreased reduced diminished more less".split())  # noqa: SIM905
# Parts of the lungs: with a side or a level two are joined before a finding, "left lung and right base opacities".
_PARTS_OF_LUNGS = frozenset(
    "lobe lobes base bases apex apices zone zones lung lungs midlung hemithorax segment segments".split()  # noqa: SIM905
)
_WHOLE_PARTS = frozenset("lingula rul rml rll lul lll".split())  # noqa: SIM905, these need no side
_LEVELS_OF_LUNGS = SIDES | {"upper", "middle", "mid", "lower"}
# How much of a finding there is, which notes leave behind a comma: "Effusion, small."
_AMOUNTS = frozenset(
    "mild moderate severe small large minimal tiny trace slight marked massive".split()  # noqa: SIM905
)
_PLAIN_SUBJECTS = frozenset("lung lungs heart chest".split())  # noqa: SIM905
# Before a finding these are others: "blunting, effusion"; but "high density nodules".
_OTHER_FINDINGS = FINDINGS - {"density"}
# What an organ can be the "of" of: "elevation of the right hemidiaphragm".
_OF_NOUNS = (FINDINGS - {"change"}) | frozenset(
    "elongation loss straightening narrowing scalloping tenting depression".split()  # noqa: SIM905
)


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


def adjectives_before(
    sentence: Sentence, word: int, adverbs: bool = False, part: bool = False
) -> tuple[list[str], int]:
    """The words before ``word`` that describe it, in order, and where they begin.

    adverbs: whether one right before ``word`` counts ("mildly hyperinflated")
    part: whether ``word`` is itself a part of something ("area [of]")
    """
    kept: list[str] = []
    first = word
    takes_adverb = adverbs
    bracket = -1  # where a measure in brackets stands
    while first > 0:
        gap, before = sentence.gap(first), sentence.words[first - 1]
        if sentence.owner[first - 1] >= 0:
            if gap or not kept or not sentence.entities.is_adjective(before):
                break
            takes_adverb = False  # "left [densely calcified] lung nodule" keeps its side
            first -= 1
            continue
        if gap == ")" and before[0].isdigit() and sentence.gap(first - 1) == "(":
            first = bracket = first - 1  # "small [(1 cm)] nodule"
            continue
        if gap and first != bracket and not (gap == "," and first < word and _coordinated(sentence, first - 1)):
            if before in _UNDONE and gap != ",":
                kept = kept[:-1]
            break
        meaning = kind(before)
        if before in _JOINTS and _joins(sentence, first - 1, kept, head=adverbs and first == word):
            if kind(sentence.words[first]) is not Kind.PASSED:  # "normal and [stable] contour"
                kept.append(before)
        elif before in _OTHER_FINDINGS or _blacked_out(sentence, first):
            break
        elif meaning in (Kind.ADJECTIVE, Kind.NOUN):
            kept.append(before)
            takes_adverb = meaning is Kind.ADJECTIVE
        elif meaning is Kind.ADVERB and takes_adverb:
            kept.append(before)
        elif before == "than" and kept and kept[-1] in SIDES and _compares(sentence, first - 1):
            kept += [before, sentence.words[first - 2], sentence.words[first - 3]]
            first -= 2
        elif meaning is not Kind.PASSED and meaning is not Kind.ADVERB:
            if before == "not":
                kept = kept[:-1]
            break
        first -= 1
    while kept and (kept[-1] in TAILS or kept[-1] in _JOINTS):
        kept.pop()
    if not part and _of_a_part(sentence, first):
        of_part, first = adjectives_before(sentence, first - 2, part=True)
        kept += [word for word in reversed(of_part) if word not in kept and word not in MANY]
    return kept[::-1], first


def _blacked_out(sentence: Sentence, word: int) -> bool:
    """Whether "left base [XXXX] edema" may be anything."""
    before = sentence.words[word - 1]
    return sentence.words[word] == "xxxx" and (kind(before) is Kind.NOUN or before == "lymph")


def _of_a_part(sentence: Sentence, first: int) -> bool:
    """Whether a phrase that begins at ``first`` is a part's: "areas of"."""
    if first < 2 or sentence.words[first - 1] != "of" or sentence.words[first - 2] not in _PARTS:
        return False
    return not sentence.gap(first) and not sentence.gap(first - 1) and sentence.owner[first - 2] < 0


def _compares(sentence: Sentence, than: int) -> bool:
    """Whether two sides are compared: "right greater [than] left"."""
    return than > 1 and sentence.words[than - 1] in COMPARATIVES and sentence.words[than - 2] in SIDES


def _joins(sentence: Sentence, joint: int, after: list[str], head: bool) -> bool:
    """Whether an "and", "or" or "to" stands between two adjectives of the same thing.

    after: the words behind it up to the head, the last one first
    head: whether the head stands right behind it and is an adjective
    """
    if joint == 0 or sentence.gap(joint):
        return False
    behind = sentence.words[joint + 1]
    if kind(behind) is Kind.PASSED and behind not in _OVER_TIME:
        return False  # "mucous or [possibly] focal pneumonia"
    if sentence.words[joint] == "to":
        return DEGREES.issuperset([*after[-1:], sentence.words[joint - 1]])
    if not after and not head:
        whole = kind(sentence.words[joint - 1]) is Kind.ADJECTIVE
        return whole and behind in _OVER_TIME and _opens(sentence, joint - 1)
    return _coordinated(sentence, joint - 1) or (
        not _WHOLE_PARTS.union(_PARTS_OF_LUNGS).isdisjoint(after) and _ends_a_place(sentence, joint - 1)
    )


def _ends_a_place(sentence: Sentence, last: int) -> bool:
    """Whether a part of the lungs that a phrase begins with ends at ``last``: "left upper lobe", but not "lungs"."""
    if sentence.owner[last] >= 0:
        return False
    name = sentence.words[last]
    sided = last > 0 and not sentence.gap(last) and sentence.words[last - 1] in _LEVELS_OF_LUNGS
    return (name in _WHOLE_PARTS or (sided and name in _PARTS_OF_LUNGS)) and _opens(sentence, last)


def _coordinated(sentence: Sentence, last: int) -> bool:
    """Whether a word before a comma or an "and" describes what comes: "small, left", but not "heart large,"."""
    return sentence.owner[last] < 0 and describes_a_finding(sentence.words[last]) and _opens(sentence, last)


def _opens(sentence: Sentence, last: int) -> bool:
    """Whether a noun phrase begins with the adjectives that end at ``last``: not where they are said of a subject."""
    word = last - 1
    while word >= max(0, last - _LONGEST_LIST) and sentence.owner[word] < 0 and sentence.gap(word + 1) in ("", ","):
        name = sentence.words[word]
        if not describes_a_finding(name) and name not in AND_OR and kind(name) not in (Kind.ADVERB, Kind.PASSED):
            break
        word -= 1
    if word < 0 or sentence.gap(word + 1) not in ("", ","):
        return True
    before = sentence.words[word]
    if sentence.owner[word] >= 0 or sentence.gap(word + 1):
        return False
    if before in ARTICLES and word > 0 and sentence.words[word - 1] in IN - {"of"}:
        return False  # "on the left and moderate ...": a place
    if before in COPULAS:
        return word > 0 and sentence.words[word - 1] == "there"
    return before in ARTICLES or before in _OPENERS


def phrase_of(sentence: Sentence, first: int, mention: int, last: int, nominal: str) -> NounPhrase:
    """The phrase of an entity that takes the words [mention, last), with the others of its compound [first, last).

    nominal: the noun that says the same, where the entity is an adjective and nothing follows that it belongs to
    """
    surface = sentence.words[last - 1]
    adjective, verb = sentence.entities.is_adjective(surface), sentence.entities.is_verb(surface)
    end = noun_behind(sentence, last) if adjective and not verb else last
    if not nominal and sentence.follows(last) and sentence.words[last] in FINDINGS:
        end = last + 1  # "hemidiaphragm elevation"
    phrase = NounPhrase(sentence.words[first:end], first, end)
    if not verb:
        phrase.before, phrase.first = adjectives_before(
            sentence, first, adverbs=sentence.entities.is_adjective(sentence.words[first])
        )
    if (adjective or verb) and end == last and nominal:
        earlier = sentence.words[first:mention]
        if earlier and not sentence.entities.is_adjective(earlier[-1]):
            phrase.head = [*sentence.words[mention:last], *earlier]  # "aorta calcified"
        else:
            phrase.head = [*earlier, nominal]
            phrase.before = _as_adjectives(phrase.before)
        if not earlier:
            phrase.place = _object(sentence, last) if verb else _of_subject(sentence, phrase.first)
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
        elif word in MANY:
            continue
        elif adjective := degree(word) if kind(word) is Kind.ADVERB else word:
            kept.append(adjective)
    return kept


def noun_behind(sentence: Sentence, word: int) -> int:
    """Where the noun ends that the adjective before ``word`` belongs to, or ``word``: calcified [lymph nodes]."""
    start = end = word
    while sentence.follows(word) and sentence.owner[word] < 0:
        meaning = kind(sentence.words[word])
        if end > start and sentence.words[word] in SIDES:
            return end  # "nodular density [right upper lobe]"
        if meaning is Kind.NOUN:
            end = word + 1
        elif meaning is not Kind.ADJECTIVE:
            break
        word += 1
    if sentence.follows(word) and sentence.owner[word] >= 0 and not sentence.entities.is_verb(sentence.words[word]):
        return start
    return end


def subject(sentence: Sentence, first: int) -> list[str]:
    """The nouns that a predicate at ``first`` is said of, without articles: [the lungs] are."""
    word = first
    if word and sentence.words[word - 1] in COPULAS and not sentence.gap(word):
        word -= 1
    if not word or sentence.gap(word) or sentence.owner[word - 1] >= 0 or not is_place(sentence.words[word - 1]):
        return []
    words, start = adjectives_before(sentence, word)
    if not words or kind(words[-1]) is not Kind.NOUN:
        return []
    if max(sentence.owner[start:word]) >= 0:
        return []  # "the [aortic] arch is": another entity
    if start and not sentence.gap(start) and (sentence.owner[start - 1] >= 0 or sentence.words[start - 1] in IN):
        return []
    return words


def _of_subject(sentence: Sentence, first: int) -> list[str]:
    """ "of the left clavicle" for "the left clavicle is [fractured]": where a side or a level would be lost."""
    words = subject(sentence, first)
    return [] if set(words) <= _PLAIN_SUBJECTS else ["of", "the", *words]


def _object(sentence: Sentence, word: int) -> list[str]:
    """ "of the right heart border" for "[obscures] the right heart border"."""
    if sentence.follows(word) and sentence.words[word] in ARTICLES:
        word += 1
    words, _ = place_words(sentence, word)
    return ["of", "the", *words] if words else []


def said_of(sentence: Sentence, first: int, word: int) -> tuple[list[str], int]:
    """What a verb or a colon says of a finding, and where that ends: "is [small and bilateral]".

    The phrase of the finding is the words [first, word).
    """
    if amount := _amount_behind(sentence, word):
        return amount, word + len(amount)
    start = word
    kept: list[str] = []
    before = first - 1 - (first > 0 and sentence.words[first - 1] in ARTICLES)
    if before >= 0 and sentence.words[before] in IN and not sentence.gap(before + 1):
        return [], start  # "features of [pneumonia] are non-specific": of the features
    if word < len(sentence.words) and sentence.words[word] in ("which", "that") and sentence.gap(word) in ("", ","):
        word += 1
    if sentence.follows(word) and sentence.words[word] in COPULAS:
        word += 1
    elif word == len(sentence.words) or sentence.gap(word) != ":":
        return [], start
    while word < len(sentence.words) and sentence.owner[word] < 0 and (word == start or not sentence.gap(word)):
        name = sentence.words[word]
        if name in _JOINTS and kept and kept[-1] not in _JOINTS:
            kept.append(name)
        elif name in _CHANGES:
            break
        elif describes_a_finding(name) or kind(name) is Kind.ADVERB:
            kept.append(name)
        elif kind(name) is not Kind.PASSED and name not in SEEN:
            break
        word += 1
    if sentence.follows(word) and (sentence.owner[word] >= 0 or kind(sentence.words[word]) is Kind.NOUN):
        return [], start  # "is small left lung ...": it belongs to another noun
    while kept and (kept[-1] in _JOINTS or kept[-1] in ADVERBS_ALONE):
        if kept.pop() == "to" and kept[-1] not in DEGREES:
            kept.pop()  # "is adjacent to the heart"
    return [name for name in kept if name == "to" or name not in _JOINTS], word


def _amount_behind(sentence: Sentence, word: int) -> list[str]:
    """How much there is, where nothing else follows a comma: "effusion, [small to moderate]." """
    if word >= len(sentence.words) or sentence.gap(word) != ",":
        return []
    end = word
    while end < len(sentence.words) and (end == word or not sentence.gap(end)):
        if sentence.words[end] not in _AMOUNTS and (end == word or sentence.words[end] != "to"):
            return []
        end += 1
    ended = end == len(sentence.words) or sentence.gap(end) != ","
    return sentence.words[word:end] if ended and sentence.words[end - 1] != "to" else []


def noun_of(sentence: Sentence, first: int) -> int | None:
    """Where the noun stands that an organ, whose phrase begins at ``first``, is the "of" of: [elevation] of the ..."""
    word = first - 1
    if word >= 0 and sentence.words[word] in ARTICLES and not sentence.gap(first):
        word -= 1
    if word < 1 or sentence.words[word] != "of" or sentence.gap(word) or sentence.gap(word + 1):
        return None
    return word - 1 if sentence.words[word - 1] in _OF_NOUNS and sentence.owner[word - 1] < 0 else None
