"""Tables: what an empty cell is, whose name is whose, what parts columns, and what is said of patients."""

from typing import Any

from mutant import mutants

_VALUES = (
    "nan",
    "NaN.",
    "<NA>",
    "n / a",
    "nan nan",
    "-",
    "\\N",
    "Nanna",
    "No",
    "na2",
    "007.0",
    "7.5",
    "1E5",
    " 7 ",
    "N/A x",
)


def cells() -> Any:
    from ecamp_fast.shards.sources.cells import cell, identifier

    return [(cell(value), identifier(value)) for value in _VALUES]


def names() -> Any:
    """What --columns reads, which columns look like ours, and where they then are."""
    from ecamp_fast.errors import ConfigError
    from ecamp_fast.shards.sources import columns

    out: list[Any] = []
    for value in ("report=a", "labels=a, b,view=c", "report=a,report=b", "report=", "reprt=a", "report=a, b=c"):
        try:
            out.append(columns.parse([value]))
        except ConfigError as error:
            out.append(str(error))
    header = ("Unnamed: 0", "uid", "patient_note", "deid_patient_id", "report", "caption", "", "")
    out += [columns.likely("patient_id", header[:number]) for number in range(len(header))]
    out += [columns.other_half("Findings", ("findings", "Impression")), columns.positions(header, {"view": "report"})]
    out += [columns.positions(header, {"report": "caption"}), columns.nameless(header), columns.tail(header)]
    return out


def tables() -> Any:
    import tempfile
    from pathlib import Path

    from ecamp_fast.shards.sources.table import read_table

    out = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        for text in (
            "report;a,b;c,d\nnan;1,2;3\n;;\n",
            "report,a;b;c\n1,2\n",
            "sep=|\nreport|a\nx|y\n",
            "report,a,,\nx,y\nx,y,,z\nx,nan,,\nx\n",
        ):
            path.write_text(text)
            table = read_table(path, ("report",), read=("report",))
            out.append((table.rows, [str(fault) for fault in table.faults], table.note))
    return out


def patients() -> Any:
    from ecamp_fast.shards.builder.patients import doubts, name_patients
    from ecamp_fast.shards.sources.base import Record

    out: list[Any] = []
    for studies in (("p1-s1", "p1-s2", "p2-s1"), ("p1-s1", "p1-s2"), ("p1-s1", "other"), ("study1", "study1")):
        for split in ("", "train"):
            places = [f"patient{n}/study1/a.jpg" if studies[0] == "study1" else "a.jpg" for n in range(len(studies))]
            splits = [split, *[split and "val"] * (len(studies) - 1)]
            rows = zip(studies, places, splits, strict=True)
            records = [Record("", n, study, "", place, "", split=own) for n, (study, place, own) in enumerate(rows)]
            out += [name_patients(records), [record.patient_id for record in records]]
    for crowd in (
        ("a", "a", "b"),
        ("a", "b", "c", "c"),
        ("0", "0", "b", "c", "d"),
        ("0", "0", "b", "b", "d"),
        ("", "b", ""),
        ("-1", "-1", "b", "c", "d"),
        ("1e+07", "b"),
        ("10000032",) * 12,
        ("a",) * 12,
    ):
        for train in (1, len(crowd)):
            records = [
                Record("", n, f"s{n}", "", "", "", patient_id=name, split="train" if n < train else "val")
                for n, name in enumerate(crowd)
            ]
            out += [doubts(records, stated=False, holdout=holdout) for holdout in (0.0, 0.1)]
            records[0].split = "fold"
            out.append(doubts(records, stated=True, holdout=0.0))
    return out


CELLS = "tests/shards/sources/test_cells.py"
COLUMNS = "tests/shards/sources/test_columns.py"
PATIENTS = "tests/shards/builder/test_patients.py"

MUTANTS = (
    mutants(
        "shards/sources/cells.py",
        CELLS,
        cells,
        {
            "a word that begins as a mark does is a mark": (r"(?![^\W_])", ""),
            "only small letters are marks": (", re.IGNORECASE)", ")"),
            "leading zeros of an identifier are lost": (
                "return whole[1] if whole",
                'return whole[1].lstrip("0") if whole',
            ),
            "a whole float stays one": ("whole[1] if whole else name", "name"),
        },
    )
    + mutants(
        "shards/sources/columns.py",
        COLUMNS,
        names,
        {
            "every comma with a sign behind parts two names": ("or _likely_name(comma[1].strip())", "or True"),
            "a column serves for one name": (".difference(_SHARED)", ""),
            "findings are a whole report": ("if found and found[1] != half[1]", "if found and found[1] == half[1]"),
            "a name given twice is the first": ("if found.setdefault(name, column) != column:", "if not column:"),
            "a column that is renamed keeps its name as well": ("if column not in taken}", "if column not in names}"),
            "anything of a patient looks like one": ("(?:$|anon|deid|hash|dicom)", ""),
            "an index is a column that holds something": ('name[:10] != "Unnamed: 0"', "name"),
        },
    )
    + mutants(
        "shards/sources/table.py",
        f"{COLUMNS} {CELLS}",
        tables,
        {
            "most columns decide, whatever their names": (
                "return len({name.strip() for name in header} & {*wanted}), len(header)",
                "return 0, len(header)",
            ),
            "a line that states the separator is a header": ("not (line == 1 and _STATED.match(text))", "line > 0"),
            "every column loses its marks": ("if is_read and is_blank(value)", "if is_blank(value)"),
            "a text may spill into columns without a name": (
                'which has no name" if number else ""',
                'which has no name" if number < 0 else ""',
            ),
        },
    )
    + mutants(
        "shards/builder/patients.py",
        PATIENTS,
        patients,
        {
            "one patient for all is read off": ("or len(set(patients)) < 2", ""),
            "a study may have two patients": (
                "if all(by_study[record.study_id] == patient for",
                "if any(by_study[record.study_id] == patient for",
            ),
            "who is read off may be in two splits": ("        if twice:", "        if twice < 0:"),
            "half of the samples are most": ("if count <= HALF * len(records)", "if count < HALF * len(records)"),
            "a stand-in is said whoever has more": ("and all(count > other for _, other in others)", ""),
            "no number stands for nobody": ("_NEGATIVE.fullmatch(name) or ", ""),
            "rounded numbers have capitals": ('E\\+\\d+", re.IGNORECASE)', 'E\\+\\d+")'),
            "who is known is a stand-in": (" or _REAL.fullmatch(name)", ""),
            "two of three samples are a crowd": (" or len(records) < FEW", ""),
            "splits that are faults are empty as well": ("if not found.issubset(SPLITS):", "if not found:"),
            "an empty split that was asked for is said": ("(stated or holdout > 0)", "(stated or holdout >= 0)"),
        },
    )
)
