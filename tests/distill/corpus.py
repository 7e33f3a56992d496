"""Answers of known worth: good ones in all the forms that models write, garbage by class, and unfaithful ones.

Reports are put together from facts (``composed``), so what is true of them is known and not read; phantoms and real
reports (``spoiled``) are told by the rules' text, and only what is done to that text is known.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

PRESENT, POSSIBLE, ABSENT = "present", "possible", "absent"
OPENING = {PRESENT: "There is", POSSIBLE: "There may be", ABSENT: "There is no"}

# Noun, plural, adjectives, places
FINDINGS = {
    "effusion": ("pleural effusion", "pleural effusions", ("small", "large"), ("on the right", "on the left")),
    "pneumothorax": ("pneumothorax", "pneumothoraces", ("small", "tiny", "apical"), ("on the left",)),
    "consolidation": ("consolidation", "consolidations", ("focal", "patchy"), ("in the right lower lobe",)),
    "edema": ("pulmonary edema", "", ("mild", "interstitial", "moderate"), ()),
    "atelectasis": ("atelectasis", "", ("minimal", "linear", "bibasilar"), ("at the left base",)),
    "nodule": ("nodule", "nodules", ("small", "calcified"), ("in the right upper lobe", "in the lingula")),
    "mass": ("mass", "masses", ("large", "spiculated"), ("in the left upper lobe",)),
    "fracture": ("rib fracture", "rib fractures", ("old", "healed", "displaced"), ("on the right",)),
    "pneumonia": ("pneumonia", "", ("multifocal",), ("in the right middle lobe",)),
    "emphysema": ("emphysema", "", ("severe", "centrilobular"), ()),
    "hernia": ("hiatal hernia", "hiatal hernias", ("large",), ()),
    "cardiomegaly": ("cardiomegaly", "", ("mild", "stable"), ()),
    "fibrosis": ("fibrosis", "", ("mild",), ("in the left lung",)),
    "opacity": ("opacity", "opacities", ("hazy", "streaky"), ("in the right lung base", "in both lungs")),
    "infiltrate": ("infiltrate", "infiltrates", ("patchy",), ("in the left lower lobe",)),
    "bronchiectasis": ("bronchiectasis", "", ("cylindrical",), ("in the lingula",)),
}  # fmt: skip
ORGANS = (("The cardiomediastinal silhouette is unremarkable.", "There is unremarkable cardiomediastinal silhouette."),
          ("The aorta is tortuous.", "There is tortuous aorta."), ("", ""))  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """What a report says of a finding."""

    entity: str
    state: str
    adjective: str = ""
    place: str = ""
    plural: bool = False

    @property
    def noun(self) -> str:
        return FINDINGS[self.entity][self.plural]

    @property
    def phrase(self) -> str:
        return " ".join(filter(None, (self.adjective, self.noun, self.place)))

    def sentence(self) -> str:
        opening = (
            OPENING[self.state].replace("is", "are") if self.plural and self.state != POSSIBLE else OPENING[self.state]
        )
        return f"{opening} {self.phrase}."


@dataclass(frozen=True)
class Case:
    """A report, its facts, and a good answer sentence by sentence."""

    report: str
    facts: tuple[Fact, ...]
    answer: tuple[str, ...]


def composed(seed: int) -> Case:
    rng = random.Random(seed)
    names = rng.sample(sorted(FINDINGS), rng.randint(3, 7))
    facts = [_fact(rng, name) for name in names]
    denied = [fact for fact in facts if fact.state == ABSENT]
    sentences = [_said(rng, fact) for fact in facts if fact.state != ABSENT] + _denials(rng, denied)
    rng.shuffle(sentences)
    told, stated = rng.choice(ORGANS)
    if "mass" in names or not told:  # "of the aorta" and its like are not what is tried here
        told, stated = "", ""
    answer = [fact.sentence() for fact in facts] + [stated] * bool(stated)
    return Case(" ".join([*sentences, *filter(None, [told])]), tuple(facts), tuple(answer))


def _fact(rng: random.Random, name: str) -> Fact:
    _, plural, adjectives, places = FINDINGS[name]
    state = rng.choices((PRESENT, POSSIBLE, ABSENT), (3, 2, 4))[0]
    if state == ABSENT:
        return Fact(name, state, plural=bool(plural) and rng.random() < 0.1)
    place = rng.choice(places) if places and rng.random() < 0.6 else ""
    many = bool(plural) and rng.random() < 0.2
    return Fact(name, state, rng.choice((*adjectives, "")), place, many)


def _said(rng: random.Random, fact: Fact) -> str:
    body, are = fact.phrase, "are" if fact.plural else "is"
    article = "" if fact.plural else "a "
    there = " ".join(filter(None, (fact.adjective, fact.noun)))
    if fact.state == PRESENT:
        forms = (f"There {are} {article}{body}.", f"{body}, unchanged.", f"Again seen {are} {article}{body}.",
                 f"{there} {are} present {fact.place}".strip() + ".")  # fmt: skip
    else:
        forms = (f"Possible {body}.", f"There may be {article}{body}.", f"Findings could represent {body}.",
                 f"{there} {fact.place} cannot be excluded.".replace("  ", " "), f"Suspected {body}.")  # fmt: skip
    text = rng.choice(forms)
    return text[0].upper() + text[1:]


def _denials(rng: random.Random, facts: list[Fact]) -> list[str]:
    nouns = [fact.noun for fact in facts]
    if len(nouns) < 2 or rng.random() < 0.4:
        forms = (
            "No {}.",
            "There is no evidence of {}.",
            "No {} is seen.",
            "Negative for {}.",
            "The lungs are free of {}.",
        )
        return [rng.choice(forms).format(noun) for noun in nouns]
    return [f"No {', '.join(nouns[:-1])} or {nouns[-1]}."]


# Forms of a good answer


def plain_(rng: random.Random, case: Case) -> str:
    return " ".join(case.answer)


def shuffled(rng: random.Random, case: Case) -> str:
    return " ".join(rng.sample(case.answer, len(case.answer)))


def lines(rng: random.Random, case: Case) -> str:
    return "\n".join(case.answer)


def bullets(rng: random.Random, case: Case) -> str:
    return "\n".join(f"{rng.choice('-*•')} {one}" for one in case.answer)


def numbers(rng: random.Random, case: Case) -> str:
    return "\n".join(f"{number}. {one}" for number, one in enumerate(case.answer, 1))


def numbers_in_a_row(rng: random.Random, case: Case) -> str:
    return " ".join(f"{number}. {one}" for number, one in enumerate(case.answer, 1))


def lower(rng: random.Random, case: Case) -> str:
    return " ".join(case.answer).lower()


def blanks(rng: random.Random, case: Case) -> str:
    return "\n\n" + " \n".join(case.answer) + "  \r\n"


def headed(rng: random.Random, case: Case) -> str:
    return "Conclusion:\n" + "\n".join(case.answer)


def literal(rng: random.Random, case: Case) -> str:
    return " ".join(case.answer).replace("There may be", "There may")


def with_articles(rng: random.Random, case: Case) -> str:
    return (
        " ".join(case.answer)
        .replace("There is no ", "There is no evidence of ")
        .replace("There may be ", "There may be a ")
    )


def british(rng: random.Random, case: Case) -> str:
    return " ".join(case.answer).replace("edema", "oedema")


def bare(rng: random.Random, case: Case) -> str:
    return " ".join(replace(fact, adjective="", place="").sentence() for fact in case.facts)


def other_number(rng: random.Random, case: Case) -> str:
    flipped = [replace(fact, plural=not fact.plural) if FINDINGS[fact.entity][1] else fact for fact in case.facts]
    return " ".join(fact.sentence() for fact in flipped)


def no_stop(rng: random.Random, case: Case) -> str:
    return " ".join(case.answer).removesuffix(".")


def denials_together(rng: random.Random, case: Case) -> str:
    denied = [fact.noun for fact in case.facts if fact.state == ABSENT]
    others = [fact.sentence() for fact in case.facts if fact.state != ABSENT]
    return " ".join([*others, *([f"There is no {' or '.join(denied)}."] if denied else [])])


GOOD: tuple[Callable[[random.Random, Case], str], ...] = (
    *(plain_, shuffled, lines, bullets, numbers, numbers_in_a_row, lower, blanks, headed, literal, with_articles),
    *(british, bare, other_number, no_stop, denials_together),
)

# Garbage, by the name that it must be given

EXAMPLE = "There is moderate pleural effusion.\nThere is mild over inflation.\nThere is descending aorta."
PROSE = (
    "The report describes the findings in detail. Overall the patient appears stable.",
    "Based on the report, there is an effusion and the patient should be followed up in two weeks.",
    "Here are the conclusions: {}",
    "{} Please let me know if you need anything else.",
    "{} The patient is doing well.",
)
REFUSALS = (
    "I'm sorry, but I can't assist with that.",
    "As an AI language model, I cannot interpret medical reports.",
    "I cannot provide medical advice. {}",
    "{} Please consult a physician; I am unable to confirm these findings.",
)
FOREIGN = (
    "Hay un derrame pleural pequeño. No hay neumotórax.",
    "Es gibt einen kleinen Pleuraerguss. Kein Pneumothorax.",
    "Il y a un petit épanchement pleural. Pas de pneumothorax.",
    "有少量胸腔积液。没有气胸。",
    "Имеется небольшой плевральный выпот.",
    "There is кардиомегалия. {}",
)
CONTROL = ("\x00", "\x1b[31m", "\u202e", "\x07", "\u200b")


def garbage(rng: random.Random, case: Case, other: Case) -> Iterator[tuple[str, str, str]]:
    """Class, answer and the server's reason to end."""
    good = " ".join(case.answer)
    yield "empty", rng.choice(("", " ", "\n\n", "\t\r\n ")), "stop"
    yield "prose", rng.choice(PROSE).format(good), "stop"
    yield (
        "fenced",
        rng.choice(("```json\n{{}}\n```", "```\n{}\n```", '```json\n{{"statements": []}}\n```')).format(good),
        "stop",
    )
    yield (
        "json",
        rng.choice(('{"effusion": "present"}', '[{"entity": "effusion"}]', json.dumps({"conclusion": good}))),
        "stop",
    )
    yield "truncated", good[: rng.randrange(1, len(good))], "length"
    asked = f"Given the report: {case.report}\nConclusion:\n{good}"
    yield "echo", rng.choice((EXAMPLE, EXAMPLE.replace("\n", " "), asked, f"{good}\n—Example END—")), "stop"
    first = " ".join([case.answer[0]] * rng.randint(4, 60))
    yield "loop", rng.choice((first, f"{good} " * 5, good + " effusion" * 30, "There is no " * 40)), "stop"
    yield "refusal", rng.choice(REFUSALS).format(good), "stop"
    yield "language", rng.choice(FOREIGN).format(good), "stop"
    more = [composed(rng.randrange(10**9)).report for _ in range(6)]
    yield "long", " ".join([good, *more]), "stop"
    yield "other", " ".join(other.answer), "stop"
    cut = rng.randrange(1, len(good))
    yield "control", good[:cut] + rng.choice(CONTROL) + good[cut:], "stop"


def schema_broken(rng: random.Random, case: Case) -> str:
    """What a server that knows no schema makes of a structured answer."""
    entity = case.facts[0].entity
    right = f'{{"entity": "{entity}", "state": "{case.facts[0].state}", "adjectives": []}}'
    state = right.replace(case.facts[0].state, "maybe")
    entity = right.replace(entity, "banana")
    bare = (
        right[:-1],
        f"{right},",
        right.replace("adjectives", "words"),
        state,
        entity,
        right.replace("[]", '"small"'),
    )
    broken = [f'{{"statements": [{one}]}}' for one in (*bare, '"effusion"')]
    others = ["{}", "null", "[" * 3000, '{"statements": {}}', f'{{"statements": [{right}], "more": 1}}', right]
    return rng.choice([*broken, *others, f"[{right}]", f'{{"statements": [{right}', " ".join(case.answer)])


# Unfaithful ones, by the name that it must be given


def unfaithful(rng: random.Random, case: Case) -> Iterator[tuple[str, str]]:
    facts = list(case.facts)
    organs = list(case.answer[len(facts) :])

    def told(changed: list[Fact]) -> str:
        return " ".join([*(fact.sentence() for fact in changed), *organs])

    absent = rng.choice(sorted(set(FINDINGS) - {fact.entity for fact in facts}))
    new = Fact(absent, rng.choice((PRESENT, POSSIBLE, ABSENT)))
    where = rng.randrange(len(facts) + 1)
    yield "hallucinated", told([*facts[:where], new, *facts[where:]])
    at = rng.randrange(len(facts))
    rest = facts[:at] + facts[at + 1 :]
    yield "dropped", told(rest)
    denied = facts[at].state == ABSENT
    state = rng.choice((PRESENT, POSSIBLE)) if denied else ABSENT
    yield "flipped", told([*facts[:at], replace(facts[at], state=state), *facts[at + 1 :]])
    sure = [n for n, fact in enumerate(facts) if fact.state != ABSENT]
    if sure:
        at = rng.choice(sure)
        state = POSSIBLE if facts[at].state == PRESENT else PRESENT
        yield "certainty", told([*facts[:at], replace(facts[at], state=state), *facts[at + 1 :]])


def spoiled(rng: random.Random, text: str, mentioned: set[str]) -> Iterator[tuple[str, str]]:
    """A distilled text with one thing wrong.  mentioned: entities of its report"""
    sentences = [f"{one}." for one in text.removesuffix(".").split(". ")]
    absent = rng.choice(sorted(set(FINDINGS) - mentioned))
    where = rng.randrange(len(sentences) + 1)
    new = Fact(absent, rng.choice((PRESENT, POSSIBLE, ABSENT))).sentence()
    yield "hallucinated", " ".join([*sentences[:where], new, *sentences[where:]])
    for name, change in (("flipped", _flip), ("certainty", _doubt)):
        able = [n for n, one in enumerate(sentences) if change(one) != one]
        if able:
            at = rng.choice(able)
            yield name, " ".join([*sentences[:at], change(sentences[at]), *sentences[at + 1 :]])


def _flip(sentence: str) -> str:
    for old, new in (("There is no ", "There is "), ("There are no ", "There are "), ("There may be ", "There is no "),
                     ("There is ", "There is no "), ("There are ", "There are no ")):  # fmt: skip
        if sentence.startswith(old):
            return new + sentence.removeprefix(old)
    return sentence


def _doubt(sentence: str) -> str:
    if " no " in sentence:
        return sentence
    for old, new in (("There may be ", "There is "), ("There is ", "There may be "), ("There are ", "There may be ")):
        if sentence.startswith(old):
            return new + sentence.removeprefix(old)
    return sentence


def garbled_json(rng: random.Random, name: str) -> str:
    """A structured answer that is none, of a class that plain ones have too."""
    if name == "fenced":
        return '```json\n{"statements": []}\n```'
    return rng.choice(REFUSALS[:2]) if name == "refusal" else " \n"
