"""A list of entities of one's own, from a file of names and forms: YAML, or a table with tabs.

YAML: names, each with nothing, a list of further forms, or any of ``forms``, ``adjectives``, ``plural``, ``organ``; a
table has these columns behind ``name``, with ";" between several in a cell. Forms are words, not expressions: upper and
lower case are one, a blank or a hyphen may be either, a hyphen be left out, and nouns have their plurals. One of the
paper's 44 by its name alone brings the forms of the paper.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ecamp_fast.errors import ConfigError
from ecamp_fast.printable import items
from ecamp_fast.text.reading.annotate import describe
from ecamp_fast.text.reading.cleaning import read_text
from ecamp_fast.text.reading.doubt import Doubts
from ecamp_fast.text.reading.entities import ANATOMY, DEFAULT, Entity, EntityList, find_mentions
from ecamp_fast.text.reading.plain import plain
from ecamp_fast.text.reading.sentence_words import AND_OR, ARTICLES, COPULAS, IN, SEEN

_COLUMNS = ("name", "forms", "adjectives", "plural", "organ")
_YAML = (".yaml", ".yml")
_FORM = re.compile(r"[^\W_]+(?:['\s-][^\W_]+)*")
_LONGEST, _WORDS = 60, 6  # of a form
_ENTITIES, _FORMS = 1_000, 5_000  # of a list; the largest is read in five seconds
_BYTES = 2**20
_LISTED = 20
_FUNCTION_WORDS = COPULAS | ARTICLES | AND_OR | IN | SEEN
_YES, _NO = ("true", "yes", "1"), ("", "false", "no", "0")

Row = tuple[int, Entity]  # line of the file, entity


def read_entities(path: Path) -> EntityList:
    """The list that a file holds.  Raises ConfigError that names every line at fault."""
    try:
        if path.stat().st_size > _BYTES:
            raise ConfigError(f"{path}: larger than {_BYTES:,} bytes", "a list has names and forms, nothing else")
        text, _ = read_text(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", "check the path") from None
    faults: list[str] = []
    rows = list(_yaml_rows(path, text, faults) if path.suffix.lower() in _YAML else _table_rows(path, text, faults))
    if not rows and not faults:
        raise ConfigError(f"{path}: no entity", "write a name a line, with its forms")
    faults += [f"line {line}: {what}" for line, what in _faults(rows)]
    if not faults:
        entities = EntityList(entity for _, entity in rows)
        faults = [f"line {line}: {what}" for line, what in _misread(rows, entities)]
    if faults:
        more = [f"and {len(faults) - _LISTED} more"] if len(faults) > _LISTED else []
        raise ConfigError(f"{path}:{items([*faults[:_LISTED], *more])}", "forms are the words by which reports name it")
    return entities


def parse_entities(tree: Any) -> EntityList:
    """The list that ``EntityList.tree`` gave; None is the paper's.  Raises ValueError for any other content."""
    if tree is None:
        return DEFAULT
    if not isinstance(tree, list) or not tree or not all(isinstance(one, dict) for one in tree):
        raise ValueError("entities that are no list")
    rows = [(number, _entity(one)) for number, one in enumerate(tree, 1)]
    for number, what in _faults(rows):
        raise ValueError(f"entity {number}: {what}")
    return EntityList(entity for _, entity in rows)


def _entity(tree: Mapping[str, Any]) -> Entity:
    lists = [tree.get(name, []) for name in ("forms", "adjectives")]
    texts = [
        tree.get("name"),
        tree.get("plural", ""),
        *(form for one in lists if isinstance(one, list) for form in one),
    ]
    organ = tree.get("organ", False)
    if set(tree) - {*_COLUMNS} or not all(isinstance(one, list) for one in lists) or not isinstance(organ, bool):
        raise ValueError("an entity of other fields")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("an entity whose words are no texts")
    return Entity(tree["name"], tuple(lists[0]), tuple(lists[1]), tree.get("plural", ""), organ)


def _yaml_rows(path: Path, text: str, faults: list[str]) -> Iterator[Row]:
    from ecamp_fast.config.yaml import read_document  # brings pydantic, which who reads a manifest does not need

    document = read_document(text, str(path))
    faults += document.twins
    for name, value in document.value.items():
        line = document.lines[name]
        fields = {"forms": value} if isinstance(value, list) else {} if value is None else value
        if not isinstance(fields, dict) or set(fields) - {*_COLUMNS[1:]}:
            faults.append(f"line {line}: write nothing behind a name, a list of forms, or {', '.join(_COLUMNS[1:])}")
            continue
        lists = [fields.get(column) or [] for column in ("forms", "adjectives")]
        plural, organ = fields.get("plural") or "", fields.get("organ")
        strings = [*(one for some in lists if isinstance(some, list) for one in some), plural]
        if not all(isinstance(some, list) for some in lists) or not all(isinstance(one, str) for one in strings):
            faults.append(f"line {line}: forms and adjectives are lists of words, the plural is one")
        elif organ is not None and not isinstance(organ, bool):
            faults.append(f"line {line}: organ is true or false")
        else:
            yield line, _from_words(name, lists[0], lists[1], plural, organ)


def _table_rows(path: Path, text: str, faults: list[str]) -> Iterator[Row]:
    lines = text.split("\n")
    header = [cell.strip().lower() for cell in lines[0].split("\t")]
    if header[0] != "name" or set(header) - {*_COLUMNS} or len(set(header)) != len(header):
        what = f"{path} line 1: the header of a table is {', '.join(_COLUMNS)}, with tabs between, or some of these"
        raise ConfigError(what, "or call the file .yaml and write YAML")
    for line, row in enumerate(lines[1:], 2):
        cells = [cell.strip() for cell in row.split("\t")]
        if not any(cells):
            continue
        fields = dict(zip(header, cells, strict=False))
        organ = fields.get("organ", "").lower()
        if len(cells) > len(header) or organ not in (*_YES, *_NO):
            faults.append(f"line {line}: " + ("organ is yes or no" if len(cells) <= len(header) else "too many cells"))
            continue
        forms, adjectives = (
            [one for one in fields.get(name, "").split(";") if one.strip()] for name in ("forms", "adjectives")
        )
        stated = None if not organ else organ in _YES
        yield line, _from_words(fields["name"], forms, adjectives, fields.get("plural", ""), stated)


def _from_words(name: str, forms: list[str], adjectives: list[str], plural: str, organ: bool | None) -> Entity:
    """The entity as it is kept: in normal form and lower case.  organ: None: what it is in the paper's list"""
    bare = Entity(_normal(name), tuple(map(_normal, forms)), tuple(map(_normal, adjectives)), _normal(plural))
    return bare._replace(organ=bare.of_paper and bare.name in ANATOMY if organ is None else organ)


def _normal(form: str) -> str:
    return " ".join(plain(form).text.split()).lower()


def _faults(rows: list[Row]) -> Iterator[tuple[int, str]]:
    """What is wrong with the words of a list, by line."""
    if len(rows) > _ENTITIES:
        yield rows[_ENTITIES][0], f"more than {_ENTITIES:,} entities"
        return
    if sum(1 + len(one.forms) + len(one.adjectives) for _, one in rows) > _FORMS:
        yield rows[-1][0], f"more than {_FORMS:,} forms in all"
        return
    owners: dict[str, Row] = {}
    named: dict[str, int] = {}
    paper = EntityList(one for _, one in rows if one.of_paper)
    lines = {one.name: line for line, one in rows}
    for line, one in rows:
        stated = (one.name, *one.forms, *one.adjectives)
        wrong = [what for form in (*stated, *filter(None, (one.plural,))) if (what := _form_fault(form))]
        if wrong:
            yield line, wrong[0]
            continue
        if one.name in named:
            yield line, f"{one.name!r} comes twice, first in line {named[one.name]}"
            continue
        named[one.name] = line
        if len(set(stated)) < len(stated):
            yield line, f"a form of {one.name!r} comes twice"
        for form in () if one.of_paper else dict.fromkeys((*stated, *filter(None, (one.plural,)))):
            other, owner = owners.setdefault(re.sub(r"[\s-]", "", form), (line, one))
            if owner is not one:
                yield line, f"{form!r} is a form of {owner.name!r} too, line {other}"
            for mention in find_mentions(form, paper) if len(paper) else ():
                if mention[1:] == (0, len(form)):
                    yield (
                        line,
                        f"{form!r} is a form of the paper's {mention.entity!r} too, line {lines[mention.entity]}",
                    )


def _form_fault(form: str) -> str:
    """What is wrong with a form by itself, '' for nothing."""
    if not form:
        return "an empty name or form"
    if len(form) > _LONGEST or len(form.split(" ")) > _WORDS:
        return f"a form of more than {_LONGEST} characters or {_WORDS} words: {form[:_LONGEST]!r}"
    if not _FORM.fullmatch(form):
        return f"{form!r}: a form is words of letters and digits, with a blank, a hyphen or an apostrophe between"
    if form != form.lower() or sum(map(str.isalpha, form)) < 2:
        return f"{form!r}: a form has two letters at least, in lower case"
    if _FUNCTION_WORDS.issuperset(form.split(" ")):
        return f"{form!r} names nothing: it is in every report"
    return ""


def _misread(rows: list[Row], entities: EntityList) -> Iterator[tuple[int, str]]:
    """The forms that a report cannot state, since they are read as something else, as denied or as doubted."""
    for line, one in rows:
        for form in (one.name, *one.forms, *one.adjectives, *filter(None, (one.plural,))):
            text = f"There is {form}."
            found = describe(text, entities)
            if [(each.mention.entity, text[slice(*each.mention[1:])]) for each in found] != [(one.name, form)]:
                among = ", ".join(repr(each.mention.entity) for each in found) or "nothing"
                yield line, f"{form!r} would be read as {among}"
            elif any(map(_unsure, _in_sentences(form))):
                yield line, f"{form!r} has words that deny or doubt what it names: leave them out"


def _in_sentences(form: str) -> list[str]:
    """Sentences of the words of a form, with a finding in place of the last and of the first of them."""
    words = form.split(" ")
    return [f"There is {' '.join(words[:-1])} effusion.", f"There is effusion {' '.join(words[1:])}."]


def _unsure(text: str) -> bool:
    """Whether a sentence denies or doubts the effusion in it."""
    doubts = Doubts(text, (0, len(text)))
    found = [one for one in describe(text) if one.mention.entity == "effusion"]
    return any(one.denied or doubts.cover(one.mention) for one in found)
