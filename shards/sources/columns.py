"""Which column of a table holds what: the names a person gives by --columns, and names that look like ours."""

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from ecamp_fast.errors import ConfigError
from ecamp_fast.shards.sources.redact import redact

REQUIRED = ("study_id", "image_path", "report")
OPTIONAL = ("view", "patient_id", "split", "labels", "attention_map", "distilled", "mask", "boxes")
NAMES = REQUIRED + OPTIONAL

# What public sets call these columns, in small letters without anything between; the likeliest first.
_LIKELY = {
    "study_id": "study studyid studyuid studyinstanceuid accession accessionnumber examid exam reportid",
    "image_path": "path imagepath pathtoimage imgpath filepath filename image imageindex imageid file img pngpath",
    "view": "viewposition viewpos projection appa frontallateral orientation viewcode",
    "report": "reporttext radiologyreport fullreport fulltext text caption narrative findings",
    "patient_id": "patient subjectid subject pid patid ptid mrn patientnumber patientno patientkey empianon personid",
    "split": "set subset partition fold",
    "labels": "label findinglabels findings diseases classes",
    "attention_map": "attention map heatmap",
    "distilled": "distilledreport distilledtext",
}
_PATIENT = re.compile(r"(?:patient|subject)(?:id|uid|number|no|num|key|hash|code|name)(?:$|anon|deid|hash|dicom)")
_NEXT_PAIR = re.compile(r",(?=([^,=]*)=([^,]*))")  # other commas belong to a name
_HALF = re.compile(r"(finding|impression)s?(?:text|section)?")  # of a report
# Of a column that a person gives another of our names: what it may be as well, by its own.
_SHARED = (*REQUIRED, "view", "patient_id", "split")
_CLOSE = 0.6  # of difflib


def likely(name: str, header: Iterable[str]) -> str:
    """The column that is called as ``name`` is elsewhere, else one of nearly that name; '' where there is none."""
    flat: dict[str, str] = {}
    for column in header:
        flat.setdefault(_flat(column), column)
    for known in (_flat(name), *_LIKELY.get(name, "").split()):
        if known in flat:
            return flat[known]
    if name == "patient_id":
        return next((column for letters, column in flat.items() if _PATIENT.search(letters)), "")
    return ""


def nearest(name: str, header: Iterable[str]) -> str:
    """The column whose name is spelled most alike; '' where none is."""
    flat = {_flat(column): column for column in reversed([*header]) if column}
    close = difflib.get_close_matches(_flat(name), flat, n=1, cutoff=_CLOSE)
    return flat[close[0]] if close else ""


def meant(name: str, wanted: str, header: Sequence[str]) -> str:
    """The column that may be ``name``, which a person or we call ``wanted``; '' where none looks like it."""
    close = likely(name, header) if wanted == name else ""
    return close or nearest(wanted, header) or likely(name, header)


def other_half(column: str, header: Iterable[str]) -> str:
    """The column of impressions beside that of findings, or the other way; '' where ``column`` is neither or alone."""
    half = _HALF.fullmatch(_flat(column))
    if not half:
        return ""
    halves = ((name, _HALF.fullmatch(_flat(name))) for name in header)
    return next((name for name, found in halves if found and found[1] != half[1]), "")


def option(names: Mapping[str, str]) -> str:
    """The option that says what a table calls our columns, as a shell takes it.  names: ours -> the table's"""
    return f"--columns {shlex.quote(','.join(f'{name}={column}' for name, column in names.items()))}"


def listing(header: Sequence[str]) -> str:
    """The columns of a table in one line; one by its number where its name might be a text."""
    return ", ".join(told(name) or f"(column {number})" for number, name in enumerate(header, 1) if name)


def told(name: str) -> str:
    """A name that may stand in a message: an identifier, or one that columns are known to have; else ''."""
    known = any(_flat(name) in (_flat(ours), *others.split()) for ours, others in _LIKELY.items())
    known = known or (_PATIENT.search(_flat(name)) is not None and len(name) < 30)
    return name if known or redact(name) == name else ""


def parse(pairs: Iterable[str]) -> dict[str, str]:
    """Our name -> the table's, from values of --columns: NAME=COLUMN, several parted by commas.  Raises ConfigError."""
    found: dict[str, str] = {}
    for pair in (pair for value in pairs for pair in _pairs(value)):
        name, equals, column = (part.strip() for part in pair.partition("="))
        if not (name and equals and column):
            raise ConfigError(f"--columns '{pair.strip()}' is not NAME=COLUMN", "write --columns report=caption")
        if name not in NAMES:
            raise ConfigError(f"--columns {name}={column}: '{name}' is no column we read", _hint(name, column))
        if found.setdefault(name, column) != column:
            raise ConfigError(f"--columns {name}: given twice, as '{found[name]}' and '{column}'", "leave one out")
    return found


def _pairs(value: str) -> list[str]:
    """The parts of a value of --columns. A comma before what is no name of ours, nor meant for one, parts none."""
    ends = [
        comma.start()
        for comma in _NEXT_PAIR.finditer(value)
        if comma[1].strip() in ("", *NAMES) or comma[2].strip() in NAMES or _likely_name(comma[1].strip())
    ]
    return [value[start:end].lstrip(",") for start, end in zip([0, *ends], [*ends, None], strict=True)]


def _hint(name: str, column: str) -> str:
    if column in NAMES:
        return f"our name comes first: {option({column: name})}"
    close = _likely_name(name)
    return (f"is it {close}? " if close else "") + f"NAME is one of {', '.join(NAMES)}"


def _likely_name(column: str) -> str:
    """Which of our names a column looks like; '' where none."""
    return nearest(column, NAMES) or next((name for name in NAMES if likely(name, (column,))), "")


def positions(header: Sequence[str], names: Mapping[str, str]) -> dict[str, int]:
    """Where the columns of a table are, by our names where ``names`` has them and the table does too, else by its own.

    A column that ``names`` gives another name may keep its own, where that is one of ours: it serves for two then.
    A column without a name has no place here: spreadsheets leave such behind, and pandas its index.
    """
    at = {column: number for number, column in enumerate(header) if not unnamed(column)}
    renamed = {name: at[column] for name, column in names.items() if column in at}
    taken = {names[name] for name in renamed}.difference(_SHARED)
    return {column: number for column, number in at.items() if column not in taken} | renamed


def unnamed(column: str) -> bool:
    """Whether a column has no name; pandas reads such as 'Unnamed: 0'."""
    return not column or re.fullmatch(r"Unnamed: ?\d+(?:[._]\w+)*", column) is not None


def nameless(header: Sequence[str]) -> list[int]:
    """Columns without a name but for an index: that comes first, and pandas calls it 'Unnamed: 0' or 'Unnamed: 0.1'."""
    return [number for number, name in enumerate(header) if number and unnamed(name) and name[:10] != "Unnamed: 0"]


def tail(header: Sequence[str]) -> int:
    """Where the columns begin that have no name and none with a name behind them; spreadsheets leave such."""
    return max((number for number, name in enumerate(header, 1) if name), default=0)


def _flat(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
