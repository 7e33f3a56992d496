"""What a report says: bytes, sections, sentences, entities, what is denied or doubted, and the distilled text."""

from typing import Any

from mutant import mutants


def bytes_read() -> Any:
    from ecamp_fast.text.reading.cleaning import is_empty, read_text

    files = [
        "Größe\r\none\rtwo".encode(),
        "mild".encode("utf-16"),
        "mild".encode("utf-16-be").join([b"\xfe\xff", b""]),
        b"\x93mild\x94",
        "a\u202eb\u2066c\u200dd\u00ade\x0cf\x85g".encode(),
    ]
    reports = ("___", "XXXX.", "XX", "XXX", "_X_", "no", "", "- , ;", "1.")
    return [read_text(file) for file in files], [is_empty(report) for report in reports]


def cuts() -> Any:
    from ecamp_fast.text.reading.sections import Tally, cut

    tally = Tally()
    reports = (
        "WET READ: Early.\n FINAL REPORT\n EXAMINATION: Chest.\n FINDNGS: LUNGS: A.\n HEART: B.\n IMPRESSON: C.\n"
        " COMPARISON: None.\n FINAL ADDENDUM\n Told.",
        "IMPRESSION: B.\nFINDINGS: A.\nFINDINGS: A.\nFINDINGS: C.",
        "REASON FOR CHEST FILM: Cough.\nCHEST EXAMINATION: A.",
        "FINDINGS AND IMPRESSION: A.",
        "PRELIMINARY REPORT\nFINDINGS: A.\nFINAL REPORT\nFINDINGS: B.",
        "IMPRESSION: B.",
        "FINAL REPORT: A.",
        "FINDINGS: A.\n\nFINAL REPORT IMPRESSION: B.",
        "INDICATION: Cough.\n\nCONCLUSIONS REACHED: The lungs\n are clear.\n\n___",
        "",
    )
    found = [cut(report) for report in reports]
    return [(one.text, one) for one in found], [tally.choose(one) for one in found], tally.counts


def parts() -> Any:
    from ecamp_fast.text.reading.sentences import sentence_spans

    texts = (
        "A nodule of 1.5 cm. Dr. J. Smith was told, e.g. by phone. Seen in 2014. Edema vs. mass.Clear.",
        "1. Clear. 2. Edema.\n \nNo stop",
        "What?! Hepatitis B. Edema... Yes.  ",
        "1. No effusion 2. Edema 5. Mass",
        "No effusion\n- edema",
        "Film. ? edema (?mass). Effusion? None.",
    )
    return [sentence_spans(text) for text in texts]


def mentions() -> Any:
    from ecamp_fast.text.reading.entities import PIECES, find_mentions

    texts = (
        "Mild EDEMA, massive mass effect; masses, aortic contours",
        "picc lines, under-aerated, perihilar",
        "TB. tbc",
    )
    return [find_mentions(text) for text in texts], sorted(PIECES)


def marks() -> Any:
    from ecamp_fast.text.codes import SPECIALS
    from ecamp_fast.text.reading.annotate import Annotator
    from ecamp_fast.text.wordpiece import Wordpiece, build_tokenizer

    words = (
        "there is no evidence of mild ede ##ma pleural effusion effus ##ion : ; . , copd very large mass [ mask ] "
        "- 5 mm non calc ##ified para hilar"
    )
    tokenizer = build_tokenizer({token: number for number, token in enumerate([*SPECIALS, *words.split()])})
    annotator = Annotator(Wordpiece(tokenizer, b""))
    texts = (
        "There is no evidence of edema. There is no very large pleural effusion",
        "Very large mass: mild pleural effusion edema.  No copd; large: mass [MASK]",
        "No non-calcified mass, 5.5 mm large para-hilar mass-related edema.",
    )
    return [annotator.codes(text).tolist() for text in texts]


def counted() -> Any:
    from ecamp_fast.text.reading.words import word_spans

    texts = (
        "A 1.5 cm nodule, 5mm; 5 months and/or 12-15 mm w/o 3 x 4 cm",
        "non-calcified patient's 10:30 ill\u2010defined 1.5",
    )
    return [word_spans(text) for text in texts]


def digests() -> Any:
    import re
    from types import ModuleType

    from ecamp_fast.text.reading import version

    module = ModuleType("one")
    vars(module).update(A=1, _P=re.compile("a", re.IGNORECASE), _S=frozenset("ab"))
    return version.rules_tables(module), version._digest()


def sentences() -> Any:
    from ecamp_fast.text.reading.rules import distill

    texts = (
        "Edema. No edema. Possible edema. Mild edema.",
        "Lungs are mildly hyperinflated. The aorta is not enlarged. The silhouette is mildly enlarged.",
        "No free air beneath the hemidiaphragm. A large 5mm mass. Small, left nodule.",
        "Very large right pleural effusion.",
        "Mild perihilar vascularity congestion. The contours are otherwise normal. No effusion on the left. No masses.",
        "Right hilar fullness. Hyperinflated left lung. Prior granulomatous disease. Pulmonary, edema.",
        "Heart large, small effusion. Hernia repair. Opacity obscures mild edema. No multiple nodules. Left hilum.",
        "The effusion is small. The left clavicle is fractured. Opacity on the left view. Non- displaced fractures.",
        "Nodule in the right lung and the heart is large. Opacity in the right and left lower lobes. Shaped opacity.",
        "Tortuous aorta, heart is enlarged. Elevation of the left hemidiaphragm. Stable hila, heart is enlarged.",
        "Secondary to small effusion. Small areas of opacity. The effusion is decreased. Aorta calcified.",
        "Contour, heart is enlarged. The heart contour is enlarged. No enlarged contour.",
        "Opacities in the mid to upper zones.",
        "Left base and right lower lobe opacities. Obscured. Effusion, small. Mass, small, and nodule.",
        "Lungs and right lower lobe opacity. Edema in left base and right base opacity.",
        "Nodule in the left lung and right heart is large. Nodule in the left lung opacity.",
        "No edema. No large edema. Opacity in the left hilum. Heavily calcified. Fractures of the 4th, 5th ribs.",
    )
    return [distill(text) for sentence in texts for text in (sentence, *sentence.split(". "))]


READING = "ecamp_fast/text/reading"
HOME = "tests/text/reading"
DESCRIBED = f"{HOME}/test_annotate.py::test_descriptors_and_negation"

MUTANTS = (
    mutants(
        f"{READING}/cleaning.py",
        f"{HOME}/test_cleaning.py",
        bytes_read,
        {
            "every file is cp1252 if it can be": ('"utf-8-sig", "cp1252"', '"cp1252", "utf-8-sig"'),
            "UTF-16 has one byte order": (r'(b"\xff\xfe", b"\xfe\xff")', r'(b"\xff\xfe",)'),
            "a form feed joins two words": ('_BREAK.sub(" ", text', '_BREAK.sub("", text'),
            "marks that turn the direction stay": (r"\u202a-\u202e\u2060", r"\u2060"),
            "two X are the mark of de-identification": ("X{4,}+", "X{2,}+"),
        },
    )
    + mutants(
        f"{READING}/sections.py",
        f"{HOME}/test_sections.py",
        cuts,
        {
            "the impression comes first": (
                '[self.findings, self.joint, "" if self.impression == self.findings else self.impression]',
                '["" if self.impression == self.findings else self.impression, self.joint, self.findings]',
            ),
            "a section that stands twice is read twice": (" and text not in found[section.kind]", ""),
            "the wet read counts as the report": ('end in parts if title["report"] in wanted]', "end in parts]"),
            "what was preliminary counts beside the final report": ("{_ENDED} if _ENDED in kinds else kinds", "kinds"),
            "what stands beside a title is lost": (
                "_below(title, report[title.end() : end])",
                "report[title.end() : end]",
            ),
            "a heading that begins with a title is one": (
                "(?!(?<!READ)[ \\t]+(?:(?:TO|ON) )?",
                "(?!(?<!READ)#(?:(?:TO|ON) )?",
            ),
            "a report without findings is dropped": ("if len(missing) < 2:", "if len(missing) < 1:"),
            "findings and impression in one lack both": (
                "is_empty(text) and is_empty(sections.joint)",
                "is_empty(text)",
            ),
        },
    )
    + mutants(
        f"{READING}/sentences.py",
        f"{HOME}/test_annotate.py::test_sentences",
        parts,
        {
            "a decimal point ends a sentence": ("before[-1:].isdigit() and after.isdigit()", "False"),
            "no number ends a sentence": ("before[-1:].isdigit() and after", "before[-1:].isdigit() or after"),
            "a stop after 'vs' ends a sentence": ("prof|vs|approx", "prof|approx"),
            "a break between items ends none": ('rf"[.!?]+|{BREAK}"', 'r"[.!?]+"'),
            "an item that runs on begins none": ("if number == expected and number > 1:", "if False:"),
            "any number begins an item": ("if number == expected and number > 1:", "if number > 1:"),
            "a question in front ends a sentence": ('match.start() - 1] in " ("', 'match.start() - 1] in "("'),
            "an answer is a sentence of its own": ("_ANSWER.match(text, match.end())", "False"),
            "the number of an item ends a sentence": (r"|(?:\A|[.!?:\n])\s*\d\d?)\Z", r")\Z"),
        },
    )
    + mutants(
        f"{READING}/entities.py",
        f"{HOME}/test_annotate.py",
        mentions,
        {
            "a mass effect is a mass": (r"(?![- ](?:effect|like)\b)", ""),
            "capitals mention nothing": ('(?!\\w)", re.IGNORECASE)', '(?!\\w)")'),
            "an entity may be the beginning of a word": (")(?!\\w)", ")"),
            "the released code finds COPD too": ('frozenset(FORMS) - {"copd"} | {"COPD"}', "frozenset(FORMS)"),
        },
    )
    + mutants(
        f"{READING}/annotate.py",
        f"{DESCRIBED} {HOME}/test_annotate.py::test_phrases_alone_deny_less "
        f"{HOME}/test_annotate.py::test_codes_of_a_report "
        f"{HOME}/test_annotate.py::test_a_denial_of_the_lexicon_is_marked_as_one "
        f"{HOME}/test_annotate.py::test_every_piece_of_an_entity_is_marked "
        f"{HOME}/test_annotate.py::test_the_longer_phrase_is_marked_where_it_stands "
        f"{HOME}/test_annotate.py::test_a_report_cannot_write_specials",
        marks,
        {
            "three words describe": ("REACH = 2", "REACH = 3"),
            "a description reaches across a colon": ("span[0] >= barrier and span", "span"),
            "an entity describes the next": (" and span not in within)", ")"),
            "the lexicon denies where the phrases alone count": (
                "Mark.NEGATIVE_PHRASE * description.denied_by_phrase",
                "Mark.NEGATIVE_PHRASE * description.denied",
            ),
            "the second token begins a sentence": (
                "np.searchsorted(starts, start))\n",
                'np.searchsorted(starts, start, side="right"))\n',
            ),
            "the shorter phrase is found first": ("for n in (5, 3)", "for n in (3, 5)"),
            "the longer phrase is not known": ("for n in (5, 3)", "for n in (3,)"),
            "a report can write a mask": ("specials=False", "specials=True"),
            "all words of a phrase begin one": (
                "marks[start] |= Mark.PHRASE_START",
                "marks[start : start + length] |= Mark.PHRASE_START",
            ),
            "the first piece alone is the entity": (
                "(words >= first) & (words < last)",
                "(words >= first) & (words < last) & ((marks & Mark.CONTINUATION) == 0)",
            ),
        },
    )
    + mutants(
        f"{READING}/annotate.py",
        f"{HOME}/test_words.py",
        marks,
        {
            "pieces of a word are words": ("marks[_joined(text, starts) &", "marks[False & _joined(text, starts) &"),
            "a word ends where the next begins": ("(word < 0) | (starts >= words[word, 1])", "word < 0"),
            "a mention within a word leaves its beginning out": (
                'np.searchsorted(word_starts, start, side="right") - 1',
                "np.searchsorted(word_starts, start)",
            ),
            "a word that an entity begins describes": (
                "bisect_left(word_starts, m.end)]",
                "bisect_right(word_ends, m.end)]",
            ),
        },
    )
    + mutants(
        f"{READING}/entities.py",
        f"{HOME}/test_words.py",
        marks,
        {"what is not calcified is a calcification": (r"(?<!\bnon[-\s\u2010\u2011])", "")},
    )
    + mutants(
        f"{READING}/words.py",
        f"{HOME}/test_words.py",
        counted,
        {
            "a unit is a word of its own": ('rf"{_MEASURE}|{_PLAIN}"', "_PLAIN"),
            "a decimal point parts": (r"(?<=\d)[.,:/](?=\d){_RUN}", r"(?<=\d)[,:/](?=\d){_RUN}"),
            "a hyphen parts": (r"[-\u2010\u2011'’]", r"[\u2010\u2011'’]"),
            "an apostrophe parts": (r"\u2011'’]", r"\u2011]"),
            "months are a measure": (r"(?![\w-])", ""),
            "two words with a slash are one": (r"(?<=\b[^\W\d_])[./][^\W\d_]\b", r"/{_RUN}"),
        },
    )
    + mutants(
        f"{READING}/version.py",
        f"{HOME}/test_version.py",
        digests,
        {
            "flags of a pattern do not count": ("[value.pattern, int(value.flags)]", "[value.pattern]"),
            "the version of the code does not count": ("[RULES_VERSION, tables]", "[tables]"),
            "one module's rules do not count": ('{"version"}', '{"version", "cleaning"}'),
        },
    )
    + mutants(
        f"{READING}/rules.py",
        f"{HOME}/test_rules.py",
        sentences,
        {
            "an entity is stated once": (
                "key = statement.entity, statement.opening",
                'key = statement.entity, ""',
            ),
            "the last of what is said counts": ("stated.setdefault(key, statement)", "stated[key] = statement"),
            "the narrower denial counts": ("statement.opening != _NO and set(", "set("),
            "who says more is not heard": ("set(earlier.words) < set(statement.words)", "False"),
            "anatomy can be absent": ("    if opening == _NO:\n        return None\n", ""),
            "anatomy is named and no more": ("return (_IS, phrase) if state else None", "return _IS, phrase"),
            "what is obscured need not be said": ('if entity == "obscure" and opening', "if False and opening"),
            "a repaired hernia is there": ("sentence.words[end] in _PROCEDURES", "False"),
            "what is denied stays in the plural": ("noun = entities.singular(noun)", "noun"),
            "are is always is": ('opening.replace("is", "are")', "opening"),
            "a compound is several findings": ('_ADJACENT = re.compile(r"[\\s-]?")', '_ADJACENT = re.compile(r"-")'),
            "another entity may be mentioned": (
                '{mention.entity for mention in find_mentions(" ".join(words), entities)} == named',
                "named",
            ),
            "a verb says nothing of how severe it is": (
                "[word for word in told if word not in phrase.before] + phrase.before",
                "phrase.before",
            ),
        },
    )
    + mutants(
        f"{READING}/noun_phrase.py",
        f"{HOME}/test_rules.py",
        sentences,
        {
            "adjectives from the next part of the sentence": (
                "and first < word and _coordinated(sentence, first - 1)",
                "and first < word",
            ),
            "a comma ends what is said": ("and first < word and _coordinated(sentence, first - 1)", "and False"),
            "half of a torn adjective stays": ("if before in _UNDONE and", "if False and"),
            "a measure ends what is said": (
                "elif meaning is not Kind.PASSED and meaning is not Kind.ADVERB:",
                "elif meaning is not Kind.ADVERB:",
            ),
            "an adverb stays before a noun": ("degree(word) if kind(word) is Kind.ADVERB else word", "word"),
            "what is said of an area is lost": ("if not part and _of_a_part(sentence, first):", "if False:"),
            "the side of a broken bone is lost": (
                'else ["of", "the", *words]\n\n\ndef _object',
                "else []\n\n\ndef _object",
            ),
            "a place before an and is lost": (
                "isdisjoint(after) and _ends_a_place(sentence, joint - 1)",
                "isdisjoint(after) and False",
            ),
            "a place needs no side": ("(sided and name in _PARTS_OF_LUNGS)", "name in _PARTS_OF_LUNGS"),
            "a place of the finding before is the next one's": (
                "name in _PARTS_OF_LUNGS)) and _opens(sentence, last)",
                "name in _PARTS_OF_LUNGS))",
            ),
            "a degree behind a comma is lost": ("if amount := _amount_behind(sentence, word):", "if amount := []:"),
            "a degree before a further comma is of what came before": (
                "return sentence.words[word:end] if ended and",
                "return sentence.words[word:end] if",
            ),
            "a change is how it is": ("        elif name in _CHANGES:\n            break\n", ""),
        },
    )
    + mutants(
        f"{READING}/places.py",
        f"{HOME}/test_rules.py",
        sentences,
        {
            "the side of a view is a place": ("(joined or not _side_alone(sentence, first, end))", "joined"),
            "the subject of the next verb is a place": (
                "if further == word + 1 or _is_subject(sentence, further):",
                "if further == word + 1:",
            ),
            "the second of two sides is lost": ("is Kind.ADJECTIVE and not joined:", "is Kind.ADJECTIVE and False:"),
            "a place may name another entity": (
                "        if sentence.owner[word] >= 0:\n            return first, first\n",
                "",
            ),
            "a list of ribs ends at its comma": (
                "if word > first and sentence.gap(word) and not _of_levels(sentence, word):",
                "if word > first and sentence.gap(word):",
            ),
        },
    )
    + mutants(
        f"{READING}/states.py",
        f"{HOME}/test_rules.py",
        sentences,
        {
            "'not enlarged' is enlarged": ('stable unchanged xxxx and of"', 'stable unchanged xxxx and of not"'),
            "the state of the next subject is taken": (
                "return not commas or (last_and > 0 and _opens(sentence, first))",
                "return True",
            ),
        },
    )
    + mutants(
        f"{READING}/modifiers.py",
        f"{HOME}/test_rules.py {HOME}/test_distiller_properties.py",
        sentences,
        {
            "an unknown word is an adjective": (
                "        return Kind.ADJECTIVE\n    return Kind.END",
                "        return Kind.ADJECTIVE\n    return Kind.ADJECTIVE",
            ),
            "the half of an adjective is one": (
                '"appearing shaped like based sided sized defined acquired marginated"',
                '"appearing like based sided sized defined acquired marginated"',
            ),
        },
    )
    + mutants(
        f"{READING}/nouns.py",
        f"{HOME}/test_distiller_properties.py::test_number {HOME}/test_rules.py",
        sentences,
        {
            "masses are many mass": ('noun.endswith(("ss", "us", "is"))', 'noun.endswith(("us", "is"))'),
            "heavily is heavi": ('        return adverb[:-3] + "y"\n', "        return adverb[:-2]\n"),
        },
    )
)
