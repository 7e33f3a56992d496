"""What is denied and what is doubted: the normal form, the tables of cues, how far each reaches."""

from pathlib import Path
from typing import Any

from mutant import mutants

READING = "ecamp_fast/text/reading"
HOME = "tests/text/reading"
KINDS = f"{HOME}/test_kinds.py::test_how_a_sentence_is_read"
CUES = f"{HOME}/test_negation.py::test_every_cue"
DOUBTS = f"{HOME}/test_doubt.py"
PLAIN = f"{HOME}/test_plain.py"


def readings() -> Any:
    """What is said of every entity of the sentences by kind, and of a few more."""
    from ecamp_fast.text.reading.annotate import describe
    from ecamp_fast.text.reading.doubt import Doubts
    from ecamp_fast.text.reading.plain import plain
    from ecamp_fast.text.reading.sentences import plain_sentences

    lines = (Path(HOME) / "sentences.tsv").read_text(encoding="utf-8").splitlines()
    texts = [line.split("\t")[1].replace("\\n", "\n") for line in lines if not line.startswith("#")]
    texts += ["Possible effusion; edema", "Edema; effusion is possible", "Congestion; edema versus effusion"]
    texts += ["No effusion is seen while edema is larger.", "Edema cannot be clearly seen.", "Patient denies edema."]
    found = []
    for text in texts:
        form = plain(text).text
        doubts = [Doubts(form, sentence) for sentence in plain_sentences(form)]
        for one in describe(text):
            found.append((one.mention, one.denied, one.denied_by_phrase))
        found.append([doubt.cover(one.mention) for doubt in doubts for one in describe(form)])
    return found


def forms() -> Any:
    from ecamp_fast.text.reading.plain import plain

    texts = (
        "No\u00a0 edema",
        "e\ufb00usion",
        "\u0153dema",
        "cardio\u2011mediastinal",
        "can\u2019t",
        "pneumo\u00adthorax",
        "a\u2014b",
        "port-a-\ncath",
        "No edema\n- mass",
        "No edema\nMild mass",
        "no edema\nmild mass",
        "no edema\nno mass",
        "an enlarged\nheart",
        "old rib\nfractures",
        "a catheter\nHickman by name",
        "of the\nHeart",
        "a\n\nb",
        "There is a large pleural effusion in the left hemithorax\nopacity",
    )
    return [(plain(text).text, list(plain(text).origins or ())) for text in texts]


def starts() -> Any:
    from ecamp_fast.text.reading.clauses import clause_starts

    return [
        clause_starts(text)
        for text in (
            "the heart is large and the lungs are clear",
            "the effusion is large and has grown",
            "no effusion seen, and the aorta is calcified",
            "the heart is large, and no effusion, edema or mass is seen",
            "effusion or edema, or mass is seen",
        )
    ]


MUTANTS = (
    mutants(
        f"{READING}/cues.py",
        CUES,
        readings,
        {
            "'denies' is no cue": ("den(?:y|ies|ied|ying)", "den(?:y|ied|ying)"),
            "'absence of' is no cue": ('    "(?:absence|lack) of",\n    "lack', '    "lack of",\n    "lack'),
            "'lack of' is no cue": ('    "(?:absence|lack) of",\n    "lack', '    "absence of",\n    "lack'),
            "'although' stops nothing": ('"although|though|yet",', '"though|yet",'),
            "'though' stops nothing": ('"although|though|yet",', '"although|yet",'),
        },
    )
    + mutants(
        f"{READING}/cues.py",
        KINDS,
        readings,
        {
            "growth is denied of what has not grown": ("|progression|growth|", "|progression|"),
            "a date is no past": ("|then|ago|january", "|then|january"),
            "what was not seen before is denied": ("(?:prior|previous|previously|before", "(?:prior|previous|before"),
            "what has nearly gone has gone": ('"NEARLY": "(?:nearly|almost|', '"NEARLY": "(?:almost|'),
            "'not free of' denies": ("(?:{NOT}|no longer|by no means|", "(?:no longer|by no means|"),
            "'nil' is no cue": ('    "nil",\n', ""),
            "'with the exception' takes nothing out": ("|unchanged|the|an?|his", "|unchanged|his"),
            "'despite' stops nothing": ('"despite|in spite of|', '"in spite of|'),
            "a relative clause denies its head": ("which|that|who|where", "who|where"),
            "'r/o' is no doubt": ('    "[rs]/o",\n', ""),
            "an answer is no denial": (r"|none|nil|absent)\b|", r"|nil)\b|"),
        },
    )
    + mutants(
        f"{READING}/negation.py",
        f"{KINDS} {HOME}/test_negation.py::test_what_a_sentence_denies "
        f"{HOME}/test_annotate.py::test_phrases_alone_deny_less",
        readings,
        {
            "a denial reaches into a bracket": (r"| -+ |[(\[](?![a-z0-9/-]{1,8}[)\]])|", "| -+ |"),
            "a cue behind the entity reaches back to the start": (
                "(self._back(match.start()), match.start())",
                "(0, match.start())",
            ),
            "a cue behind the entity reaches on as well": (
                "used = _Spans(match.span() for match in (*behind, *answers, *first))",
                "used = _Spans(match.span() for match in (*answers, *first))",
            ),
            "'is not' denies the rest of the sentence": (
                "if _DENIES_STATE.search(self._text, max(0, cue.start() - 6), cue.end()):",
                "if False:",
            ),
            "a verb ends no denial": ("            return verb.start()\n        return end", "        return end"),
            "'or' behind a verb goes on with nothing": (
                "return _GOES_ON.match(self._text, verb.end()) is not None",
                "return False",
            ),
            "a place is denied with what is not in it": (
                "self.reaches += _without(ahead, self._findings_in_places(organs))",
                "self.reaches += ahead",
            ),
            "an organ is not denied where it is a place": ("if not organs.issuperset(", "if not {-1}.issuperset("),
            "an adjective of an entity has not changed": (" if not self._of_entity(m.span(), mentions)", ""),
            "a list ends with its first comma": ("elif not self._list_goes_on(match.end()):", "else:"),
            "what only looks like a denial is one": ("_DECOYS.finditer(sentence))", '_DECOYS.finditer(""))'),
            "the phrases alone are all cues": ("if phrases_only:", "if False:"),
            "what has gone takes with it what is left": (
                "self._part(match.end(), _LEFT_BEHIND)",
                "_next(self._stops, match.end(), len(sentence))",
            ),
        },
    )
    + mutants(
        f"{READING}/clauses.py",
        f"{HOME}/test_clauses.py",
        starts,
        {
            "every part with a verb is a clause of its own": ("if verb and verb_before and", "if verb and"),
            "a second verb of one subject begins a clause": (
                " and not _NO_SUBJECT.fullmatch(sentence, start, verb.start())",
                "",
            ),
            "the comma of a list begins a clause": (" and not in_list", ""),
            "'seen' is no verb": (" or _PARTICIPLE.search(sentence, start, end) is not None", ""),
        },
    )
    + mutants(
        f"{READING}/doubt.py",
        f"{DOUBTS} {KINDS}",
        readings,
        {
            "'versus' is about the first alternative alone": (
                "found.update(self._compound(mentions, last))\n                continue",
                "continue",
            ),
            "an and between two places ends doubt": ("if not self._joins_places(stop, mentions)", "if True"),
            "doubt reaches what follows a doubted place": (
                "return all(self._is_place(mention) for mention in between)",
                "return True",
            ),
            "every organ is a place": (
                " and bool(_PLACE.match(self._text, mention.start, mention.end + 1))",
                "",
            ),
            "doubt reaches over a semicolon": ('_MARKS = re.compile(r";|', '_MARKS = re.compile(r"'),
            "a stop before the cue ends its reach": ("self._stops[stop] < self._before[cue]", "False"),
            "doubt behind the entity reaches back over everything": (
                "return stop == len(self._stops) or self._behind[cue] < self._stops[stop]",
                "return True",
            ),
            "'or' doubts nothing": ("if start in self._alternatives:", "if False:"),
            "'likely atelectasis' doubts the opacity": (" and not self._leads_on(match, mentions)", ""),
            "'but not excluded' is about nothing": (
                "_BUT.match(self._text, self._stops[stop], self._behind[cue]) or",
                "",
            ),
            "a circumstance is doubted with what it is one of": ("not self._is_aside(start) and", ""),
            "a list of what is not there is a choice": ("> _last(clauses, position)", "> len(self._text)"),
        },
    )
    + mutants(
        f"{READING}/plain.py",
        PLAIN,
        forms,
        {
            "ligatures stay": ('unicodedata.normalize("NFKC", letter)', "letter"),
            "hyphens of other kinds stay": (r'"\u2010\u2011', r'"\u2010'),
            "a soft hyphen stays": ('if unicodedata.category(letter) == "Cf":', "if False:"),
            "a wrapped line is a sentence": (
                "return BREAK if lines > 1 or _ends(before.strip(), after, entities) else",
                "return BREAK if lines else",
            ),
            "an item is a wrapped line": ("    if _ITEM.match(after):\n        return True\n", ""),
            "a line that goes on ends": ("    if _GOES_ON.search(before):\n        return False\n", ""),
            "a name begins an item": ("return not _NAMES.match(after)", "return True"),
            "an adjective ends a line": ("if _ADJECTIVE.search(before) or", "if"),
            "a word cut by a hyphen stays cut": ('        return ""  # "port-a-"', '        return " "  # "port-a-"'),
            "a long line is an item": ("if len(before) <= _SHORT and", "if True and"),
            "a character came from the next": (
                "origins.extend(range(match.start(), match.end()))",
                "origins.extend(range(match.start() + 1, match.end() + 1))",
            ),
        },
    )
)
