"""The tables of MIMIC-CXR and MIMIC-CXR-JPG, joined by key: which image is of which study, patient, split and view."""

from dataclasses import dataclass, replace
from pathlib import Path

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format.labels import Labels
from ecamp_fast.shards.sources.base import RecordFault
from ecamp_fast.shards.sources.cells import identifier
from ecamp_fast.shards.sources.joins import index, unmatched
from ecamp_fast.shards.sources.leftovers import is_leftover
from ecamp_fast.shards.sources.redact import redact
from ecamp_fast.shards.sources.table import origin, read_table

LABELLERS = ("chexpert", "negbio")
METADATA, RECORDS = "*-metadata.csv", "cxr-record-list.csv"  # the leading tables
_IDS = ("subject_id", "study_id", "dicom_id")


@dataclass(frozen=True, slots=True)
class MimicImage:
    """A row of the leading table.  study, patient: as folders are named, s50414267 and p10000032."""

    origin: str
    row: int
    dicom_id: str
    study: str
    patient: str
    view: str = ""
    split: str = ""

    @property
    def folder(self) -> str:
        """Where its study lies: files/p10/p10000032/s50414267."""
        return f"files/{self.patient[:3]}/{self.patient}/{self.study}"


@dataclass(slots=True)
class Tables:
    """The tables of a release, joined.

    images  in the order of the leading table
    labels  labeller -> study -> label -> 1, 0 or -1 as written
    faults  rows that must be fixed
    notes   what a person should know
    """

    images: list[MimicImage]
    labels: dict[str, dict[str, dict[str, str]]]
    faults: list[RecordFault]
    notes: list[str]


def read_tables(root: Path) -> Tables:
    """Read and join all tables that lie in ``root``.

    The leading table is ``*-metadata.csv`` or, where there is none, ``cxr-record-list.csv``; each may end in .gz.
    Raises DataError: no leading table, or one that is no table.
    """
    metadata, records = find(root, METADATA), find(root, RECORDS)
    leading = metadata or records
    if leading is None:
        raise DataError(
            f"{root}: neither mimic-cxr-2.0.0-metadata.csv(.gz) nor cxr-record-list.csv(.gz)",
            "name the folder that holds `files` and the tables of the release",
        )
    tables = Tables([], {}, [], [])
    images = _images(tables, leading)
    if metadata and records:
        _agree(tables, images, _images(tables, records), metadata, records)
    split = find(root, "*-split.csv")
    if split:
        splits = _images(tables, split)
        _agree(tables, images, splits, leading, split)
        images = {key: replace(image, split=splits[key].split) for key, image in images.items() if key in splits}
    else:
        tables.notes.append("no table of the official split: patients are held out by --holdout")
    tables.images = list(images.values())
    _check_studies(tables, root, leading)
    if not tables.faults:
        names = ", ".join(path.name for path in (metadata, records, split) if path)
        tables.notes.append(f"{len(images):,} images joined one to one by dicom_id over {names}")
    studies = {image.study for image in tables.images}
    for labeller in LABELLERS:
        path = find(root, f"*-{labeller}.csv")
        if path:
            tables.labels[labeller] = _labels(tables, path, studies)
    return tables


def find(root: Path, pattern: str) -> Path | None:
    """The table of a name in ``root``, plain rather than gzipped; None if there is none."""
    found = sorted(root.glob(pattern)) + sorted(root.glob(f"{pattern}.gz"))
    return next((path for path in found if not is_leftover(path.name)), None)


def _images(tables: Tables, path: Path) -> dict[str, MimicImage]:
    table = read_table(path, _IDS, (*_IDS, "ViewPosition", "split"))
    tables.faults += table.faults
    tables.notes += [table.note] if table.note else []
    images = [
        MimicImage(
            origin=origin(path, line),
            row=line,
            dicom_id=row["dicom_id"].strip(),
            study=_number("s", row["study_id"]),
            patient=_number("p", row["subject_id"]),
            view=row.get("ViewPosition", "").strip(),
            split=row.get("split", "").strip(),
        )
        for line, row in table.rows
    ]
    for image in images:
        if not (image.study and image.patient and _plain(image.dicom_id)):
            what = "study_id and subject_id are no numbers, or dicom_id is no name"
            tables.faults.append(RecordFault(image.origin, what, "are the columns shifted?"))
    found, twice = index(images, lambda image: image.dicom_id, lambda image: image.origin)
    tables.faults += twice
    return found


def _agree(
    tables: Tables, left: dict[str, MimicImage], right: dict[str, MimicImage], left_path: Path, right_path: Path
) -> None:
    """Prove that two tables hold the same images, of the same studies and patients."""
    tables.faults += unmatched(left, right, left_path.name, right_path.name)
    for key, image in left.items():
        other = right.get(key)
        if other and (other.study, other.patient) != (image.study, image.patient):
            what = f"{redact(key)} is of {image.patient}/{image.study} here, of {other.patient}/{other.study} there"
            tables.faults.append(
                RecordFault(f"{image.origin} and {other.origin}", what, "take both files from one release")
            )


def _check_studies(tables: Tables, root: Path, leading: Path) -> None:
    """Prove that the list of studies, where there is one, names those of the images and no other."""
    path = find(root, "cxr-study-list.csv")
    if not path:
        return
    table = read_table(path, ("subject_id", "study_id"), ("subject_id", "study_id"))
    tables.faults += table.faults
    rows, twice = index(table.rows, lambda row: _number("s", row[1]["study_id"]), lambda row: origin(path, row[0]))
    tables.faults += twice + unmatched({image.study: image for image in tables.images}, rows, leading.name, path.name)


def _labels(tables: Tables, path: Path, studies: set[str]) -> dict[str, dict[str, str]]:
    """Study -> label -> value, of the values that are stated."""
    table = read_table(path, ("subject_id", "study_id"))
    tables.faults += table.faults
    rows, twice = index(table.rows, lambda row: _number("s", row[1]["study_id"]), lambda row: origin(path, row[0]))
    tables.faults += twice
    hint = "take both files from one release"
    tables.faults += [RecordFault(path.name, f"{study} has no image", hint) for study in rows if study not in studies]
    without = sum(study not in rows for study in studies)
    if without:
        has = "has" if without == 1 else "have"
        tables.notes.append(f"{path.name}: {without:,} of {len(studies):,} studies {has} no row: no labels")
    found = {}
    for study in studies:
        stated = rows[study][1].items() if study in rows else ()
        found[study] = {name: _value(value) for name, value in stated if name not in _IDS and value.strip()}
    _check_values(tables, path, found)
    return found


def _check_values(tables: Tables, path: Path, found: dict[str, dict[str, str]]) -> None:
    for study, labels in found.items():
        wrong = [name for name, value in labels.items() if value not in ("1", "0", "-1")]
        if wrong:
            tables.faults.append(
                RecordFault(path.name, f"{study}: {wrong[0]} is neither 1, 0 nor -1", "are the columns shifted?")
            )


def _value(text: str) -> str:
    return text.strip().removesuffix(".0")


def _number(letter: str, text: str) -> str:
    """A number with its letter, s50414267; '' where it is none."""
    text = identifier(text).lower().removeprefix(letter)
    return f"{letter}{text}" if text.isascii() and text.isdigit() else ""


def _plain(name: str) -> bool:
    return bool(name) and all(letter.isalnum() or letter in "-_" for letter in name)


def numbers(labels: dict[str, str]) -> Labels:
    """The labels of a study as numbers, their names without blanks around."""
    return {name.strip(): int(value) for name, value in labels.items() if value in ("1", "0", "-1")}
