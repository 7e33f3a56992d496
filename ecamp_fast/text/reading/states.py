"""How an organ is said to be, before it, behind a verb or right behind it: "normal", "within normal limits"."""

from ecamp_fast.text.reading.modifiers import STATES, Kind, kind
from ecamp_fast.text.reading.noun_phrase import NounPhrase
from ecamp_fast.text.reading.sentence_words import AND_OR, COPULAS, Sentence

# Of what an organ is: "normal [size and configuration] of the silhouette", "normal [size]".
_PROPERTIES = frozenset(
    "size sized configuration caliber appearance contour contours shape width position".split()  # noqa: SIM905
)
# Between an organ and its verb: the rest of a list and what is left of the subject.
_OF_SUBJECTS = frozenset("the and or & of both size xxxx overall also".split())  # noqa: SIM905
_PASSED = frozenset(
    "again also otherwise grossly overall still now all both essentially stable unchanged xxxx and of".split()  # noqa: SIM905
)
_WITHIN_LIMITS = (
    ("within", "normal", "limits"),
    ("within", "limits", "of", "normal"),
    ("within", "limits"),
    ("within", "the", "normal", "limits"),
    ("within", "normal", "range"),
    ("within", "normal"),
)
_LONGEST_SUBJECT = 12  # words between an organ and its verb


def states_in(words: list[str]) -> bool:
    """Whether one of the words before an organ says how it is."""
    return not STATES.isdisjoint(words)


def state_behind(sentence: Sentence, phrase: NounPhrase) -> list[str]:
    """What is said of an organ behind it, [] for nothing: "is [mildly enlarged]", "[normal]"."""
    word = phrase.last
    if not _own_subject(sentence, phrase.first, word):
        return []
    verb = _verb(sentence, word)
    if verb is None:
        return _state(sentence, word, bare=True)
    return _state(sentence, verb + 1, bare=False)


def state_of_property(sentence: Sentence, first: int) -> list[str]:
    """How a property of the organ whose phrase begins at ``first`` is: "[normal] size and configuration of the ..."."""
    word = first - 1
    if word > 0 and sentence.words[word] == "the":
        word -= 1
    if word < 1 or sentence.words[word] != "of":
        return []
    word -= 1
    while word > 0 and not sentence.gap(word + 1) and sentence.words[word] in _PROPERTIES | AND_OR:
        word -= 1
    return [sentence.words[word]] if word < first - 2 and sentence.words[word] in STATES else []


def _own_subject(sentence: Sentence, first: int, word: int) -> bool:
    """Whether commas between an organ and its verb, if any, are those of a list, and part no other subject from it."""
    commas = last_and = 0
    for at in range(word, min(len(sentence.words), word + _LONGEST_SUBJECT)):
        gap, name = sentence.gap(at), sentence.words[at]
        if gap == ",":
            commas += 1
            last_and = 0
        elif gap:
            break
        if name in COPULAS or name == "within":
            break
        last_and += name in AND_OR
    return not commas or (last_and > 0 and _opens(sentence, first))


def _opens(sentence: Sentence, first: int) -> bool:
    """Whether nothing but nouns of the same list stands before a word in its clause."""
    for at in range(first - 1, max(-1, first - 1 - _LONGEST_SUBJECT), -1):
        gap = sentence.gap(at + 1)
        if gap and gap != ",":
            return True
        known = sentence.owner[at] >= 0 or kind(sentence.words[at]) in (Kind.NOUN, Kind.ADJECTIVE, Kind.PASSED)
        if not known and sentence.words[at] not in _OF_SUBJECTS:
            return False
    return True


def _verb(sentence: Sentence, word: int) -> int | None:
    """The verb whose subject, or one of whose subjects, ends before ``word``."""
    for at in range(word, min(len(sentence.words), word + _LONGEST_SUBJECT)):
        name = sentence.words[at]
        if sentence.gap(at) not in ("", ","):
            return None
        if name in COPULAS:
            return at
        known = sentence.owner[at] >= 0 or kind(name) in (Kind.NOUN, Kind.ADJECTIVE)
        if name == "within":
            return at - 1
        if not known and name not in _OF_SUBJECTS:
            return None
    return None


def _state(sentence: Sentence, word: int, bare: bool) -> list[str]:
    """The state from ``word`` on.  bare: no verb came, so that it must end its part of the sentence"""
    while sentence.follows(word) and sentence.words[word] in _PASSED:
        word += 1
    if not sentence.follows(word):
        return []
    for limits in _WITHIN_LIMITS:
        if tuple(sentence.words[word : word + len(limits)]) == limits:
            return ["normal"]
    kept: list[str] = []
    while sentence.follows(word) and sentence.owner[word] < 0:
        name = sentence.words[word]
        if name in STATES or (kind(name) is Kind.ADVERB and not (kept and kept[-1] in STATES)):
            kept.append(name)
        elif not (name in AND_OR and kept and sentence.follows(word + 1) and _says_how(sentence.words[word + 1])):
            break
        word += 1
    if kept and kept[-1] not in STATES:
        return []
    if sentence.follows(word) and sentence.words[word] in _PROPERTIES:
        return kept
    if sentence.follows(word) and (
        sentence.owner[word] >= 0 or kind(sentence.words[word]) in (Kind.NOUN, Kind.ADJECTIVE)
    ):
        return []  # "is normal lung": it belongs to another noun
    if bare and sentence.follows(word) and sentence.words[word] not in ("in", "and", "for", "with", "without"):
        return []
    return kept


def _says_how(word: str) -> bool:
    return word in STATES or kind(word) is Kind.ADVERB
