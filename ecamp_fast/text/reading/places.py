"""Where a report says that a finding is: "in the right upper lobe", "on the left", "of the 5th and 6th ribs"."""

from ecamp_fast.text.reading.modifiers import SIDES, Kind, is_level, is_place, is_vague, kind
from ecamp_fast.text.reading.sentence_words import AND_OR, ARTICLES, COPULAS, IN, SEEN, Sentence

_JOINTS = frozenset(("and", "or", "to"))
_BEHIND_A_SIDE = frozenset(
    "and or than with without which measuring as but since from seen noted now there".split()  # noqa: SIM905
)
_THE = frozenset("the a an both either each".split())  # noqa: SIM905
_LOBES = frozenset("rul rml rll lul lll".split())  # noqa: SIM905, as notes abbreviate them
# Nouns that need no other behind them: of "the left heart [blacked out]" nothing can be said.
_COMPLETE = _LOBES | frozenset(
    """
    lung lungs lobe lobes base bases apex apices zone zones hemithorax midlung lingula segment spine ribs clavicle
    """.split()  # noqa: SIM905
)
_LONGEST = 12  # words of one place


def place_behind(sentence: Sentence, word: int) -> tuple[list[str], int]:
    """The phrase of place from ``word`` on, and where it ends: "is seen [in the right upper lobe]"; [] for none."""
    start = word
    if sentence.follows(word) and sentence.words[word] in SIDES | _LOBES:
        return _in_short(sentence, word)
    if sentence.follows(word) and sentence.words[word] in ("which", "that"):
        word += 1
    while sentence.follows(word) and _leads_to_a_place(sentence.words[word]):
        word += 1
    if sentence.follows(word) and sentence.words[word] == "bilaterally":
        return ["bilaterally"], word + 1
    place: list[str] = []
    end = start
    while sentence.follows(word) and sentence.words[word] in (IN if not place else ("of", "in", "at", "on")):
        prefix = [sentence.words[word]]
        word += 1
        if sentence.follows(word) and sentence.words[word] in ARTICLES:
            prefix.append(sentence.words[word] if sentence.words[word] in _THE else "the")
            word += 1
        words, word = place_words(sentence, word)
        if not words:
            break
        place += [*prefix, *words]
        end = word
    return place, end


def _in_short(sentence: Sentence, word: int) -> tuple[list[str], int]:
    """The place of "opacity [left lung base]", which notes leave without a preposition."""
    end, after = _one_place(sentence, word)
    if end == word or end != after or sentence.words[end - 1] not in _COMPLETE or _is_subject(sentence, end):
        return [], word
    return ["in", "the", *sentence.words[word:end]], end


def place_in_front(sentence: Sentence, first: int) -> list[str]:
    """The place that a sentence begins with: "[At the left base] there is ..." before a phrase at ``first``."""
    if not sentence.words or sentence.words[0] not in IN:
        return []
    start = 1 + (len(sentence.words) > 1 and sentence.words[1] in ARTICLES)
    words, end = place_words(sentence, start) if start < len(sentence.words) else ([], 0)
    if not words or sentence.words[end : end + 1] != ["there"] or sentence.words[end + 1 : end + 2] == []:
        return []
    begins = end + 2 + (sentence.words[end + 2] in ARTICLES if end + 2 < first else 0)
    return [*sentence.words[:start], *words] if sentence.words[end + 1] in COPULAS and begins == first else []


def _leads_to_a_place(word: str) -> bool:
    return word in COPULAS or word in SEEN or kind(word) is Kind.PASSED


def place_words(sentence: Sentence, word: int) -> tuple[list[str], int]:
    """Sides and places with what describes them from ``word`` on, and where they end; [] for none.

    One that an entity or a verb claims is none: "in the left [hilum]", "in the left lung and the heart [is]".
    """
    first = word
    end, word = _one_place(sentence, word)
    while end > first and sentence.follows(word) and sentence.words[word] in AND_OR and sentence.follows(word + 1):
        further, after = _one_place(sentence, word + 1)
        if further == word + 1 or _is_subject(sentence, further):
            break
        end, word = further, after
    return sentence.words[first:end], end


def _one_place(sentence: Sentence, word: int, joined: bool = False) -> tuple[int, int]:
    """Where a place from ``word`` on ends (``word`` for none), and where the adjectives and nouns end.

    joined: it is the second half of "right and left lower lobes"
    """
    first, end = word, word
    while word < min(len(sentence.words), first + _LONGEST):
        name = sentence.words[word]
        if word > first and sentence.gap(word) and not _of_levels(sentence, word):
            break
        if sentence.owner[word] >= 0:
            return first, first
        if name in _JOINTS and word > first and kind(sentence.words[word - 1]) is Kind.ADJECTIVE and not joined:
            further, after = _one_place(sentence, word + 1, joined=True)
            if further > word + 1 and not _is_subject(sentence, further):
                return further, after
            break
        if kind(name) not in (Kind.ADJECTIVE, Kind.NOUN) and not _of_levels(sentence, word):
            break
        word += 1
        if is_place(name) and (word > first + 1 or not is_vague(name)):
            end = word
    if sentence.words[end : end + 1] == ["xxxx"] and sentence.follows(end) and sentence.words[end - 1] not in _COMPLETE:
        return first, first
    if end > first and sentence.words[end - 1] in SIDES and (joined or not _side_alone(sentence, first, end)):
        return first, first
    return end, word


def _side_alone(sentence: Sentence, first: int, end: int) -> bool:
    """Whether a side is a place: "on the left", but not "on the left [view]" or "on the posterior left, ..."."""
    follower = sentence.words[end] if sentence.follows(end) else "and"
    return end == first + 1 and (follower in IN or follower in COPULAS or follower in _BEHIND_A_SIDE)


def _is_subject(sentence: Sentence, word: int) -> bool:
    """Whether a verb follows: "in the left lung and the heart [is]"."""
    return sentence.follows(word) and sentence.words[word] in COPULAS


def _of_levels(sentence: Sentence, word: int) -> bool:
    """Whether a word continues a list of levels: "the 4th, 5th [and] 6th ribs"."""
    if sentence.words[word] == "and":
        return (
            word + 1 < len(sentence.words) and is_level(sentence.words[word - 1]) and is_level(sentence.words[word + 1])
        )
    before = sentence.words[word - 1 - (sentence.words[word - 1] == "and")]
    return is_level(sentence.words[word]) and is_level(before)
