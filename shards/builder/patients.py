"""Patients and splits of a plan: who the patients are where only names tell, and what is doubtful about them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile

from ecamp_fast.shards.format.manifest import SPLITS
from ecamp_fast.shards.sources.base import Record, several
from ecamp_fast.shards.sources.redact import redact

# Where names of studies or paths of images carry the patient: each finds a patient that a study follows.
_START, _JOINT = r"(?:^|[/\\_.-])", r"[/\\_.-]"
_FAMILIES = {
    "MIMIC-CXR": re.compile(rf"{_START}p?(1\d{{7}}){_JOINT}s?5\d{{7}}(?!\d)"),  # files/p10/p10000032/s50414267
    "patient and study": re.compile(  # patient00001/study1, p001-s01, sub-S0301_ses-E0612
        rf"{_START}((?:patient|subject|subj|sub|pat|pt|p)[_-]?[a-z]?\d+){_JOINT}"
        r"(?:study|session|ses|exam|visit|s|e)[_-]?[a-z]?\d+(?![a-z\d])",
        re.IGNORECASE,
    ),
    "ChestX-ray14": re.compile(r"(?:^|[/\\])(000[0-3]\d{4})_\d{3}(?:\.\w+)?$"),  # 00000001_000.png
}
# What stands for a patient who is not known, in small letters without anything between.
_NOBODY = re.compile(
    r"0+|9+|1?x+|unknown|unk|anonymous|anonymi[sz]ed|anon|patient|test|missing|deidentified|removed|redacted|noid|"
    r"noname|notavailable|notprovided|undefined|unspecified|notknown|dummy|default|blank|empty|other|phi|hidden|id"
)
_NEGATIVE = re.compile(r"-\d+(?:\.0+)?")  # -1, -99: no patient is numbered so
# How the public sets name patients, who are known then however many samples they have.
_REAL = re.compile(r"p?1\d{7}|patient\d{5}|000[0-3]\d{4}", re.IGNORECASE)
_ROUNDED = re.compile(r"\d(?:[.,]\d+)?E\+\d+", re.IGNORECASE)  # 1.23E+08; R and numpy write 1e+07
FEW = 10  # samples: of fewer, one patient may well have most
HALF = 0.5  # share of the samples that one patient may have without a word


def name_patients(records: Sequence[Record]) -> list[str]:
    """Give each record the patient that its study's name or its path carries, where no record names one; notes of it.

    Nothing is done unless all records have names of one kind, no study would have two patients, and the patients are
    several. Where the source states splits and such a patient is in two of them, that is noted and no more.
    """
    family, patients = ("", []) if any(record.patient_id for record in records) else _read_off(records)
    if not family:
        return []
    names = f"the names of studies and images ({family}, as in {redact(patients[0])})"
    if any(record.split for record in records):
        pairs = {(patient, record.split) for patient, record in zip(patients, records, strict=True)}
        twice = len(pairs) - len(set(patients))
        if twice:
            return [f"by {names} {several(twice, 'patient is', 'patients are')} in more than one split"]
    for record, patient in zip(records, patients, strict=True):
        record.patient_id = patient
    return [f"patients are read off {names}: {len(set(patients)):,} of them"]


def doubts(records: Sequence[Record], *, stated: bool, holdout: float) -> list[str]:
    """What a person should know of the patients of records that have their splits.

    stated: the source names the splits; else a share ``holdout`` was drawn
    """
    if len(records) < 2:
        return []
    notes = _unknown(records, stated=stated) + _crowd(records) + _rounded(records)
    return notes + _empty_splits(records, stated=stated, holdout=holdout)


def _read_off(records: Sequence[Record]) -> tuple[str, list[str]]:
    """The family whose names all studies or images have, and the patient of each record; ('', []) if there is none."""
    for family, pattern in _FAMILIES.items():
        patients = list(takewhile(bool, (_patient(pattern, record) for record in records)))
        if len(patients) < len(records) or len(set(patients)) < 2:
            continue
        by_study = dict(zip((record.study_id for record in records), patients, strict=True))
        if all(by_study[record.study_id] == patient for record, patient in zip(records, patients, strict=True)):
            return family, patients
    return "", []


def _patient(pattern: re.Pattern[str], record: Record) -> str:
    """The last patient in the study's name, else in the path: folders above may be called so as well."""
    for name in (record.study_id, record.place):
        found = pattern.findall(name)
        if found:
            return str(found[-1])
    return ""


def _unknown(records: Sequence[Record], *, stated: bool) -> list[str]:
    unknown = sum(not record.patient_id for record in records)
    if not unknown or len({record.split for record in records}) < 2:
        return []
    do = "does" if unknown == 1 else "do"
    who = "no sample names" if unknown == len(records) else f"{unknown:,} of {len(records):,} samples {do} not name"
    if stated:
        what = "whether one is on both sides of the split cannot be told"
    else:
        what = "they are held out by study, so that a patient may be on both sides of the split"
    return [f"{who} a patient: {what}; name them as patient_id, where they are known"]


def _crowd(records: Sequence[Record]) -> list[str]:
    """One patient who has most of the samples, or whose name is nobody's and who has more than any other."""
    samples = Counter(record.patient_id for record in records if record.patient_id)
    if not samples:
        return []
    (name, count), *others = samples.most_common(2)
    nobody = bool(_NEGATIVE.fullmatch(name) or _NOBODY.fullmatch(re.sub(r"[\W_]", "", name.lower())))
    studies = len({record.study_id for record in records if record.patient_id == name})
    if count <= HALF * len(records) and not (nobody and studies > 1 and all(count > other for _, other in others)):
        return []
    what = f"patient {redact(name)} has {count:,} of {len(records):,} samples ({several(studies, 'study', 'studies')})"
    if not nobody and (studies == 1 or len(records) < FEW or _REAL.fullmatch(name)):
        return [what]
    return [f"{what}: if that stands for patients who are not known, leave these cells empty, and studies are held out"]


def _rounded(records: Iterable[Record]) -> list[str]:
    """Names that a spreadsheet has written as rounded numbers: several may have become one."""
    names = [name for record in records for name in (record.patient_id, record.study_id) if _ROUNDED.fullmatch(name)]
    if not names:
        return []
    one, many = "name of a patient or study is a rounded number", "names of patients and studies are rounded numbers"
    what = f"{several(len(names), one, many)}, as {names[0]}"
    return [f"{what}: a spreadsheet wrote them, and several may have become one; export that column as text"]


def _empty_splits(records: Iterable[Record], *, stated: bool, holdout: float) -> list[str]:
    found = {record.split for record in records}
    notes = []
    if not found.issubset(SPLITS):  # a fault that is told
        return []
    if "train" not in found:
        notes.append("no sample is in the split train: there is nothing to train on")
    if "val" not in found and (stated or holdout > 0):
        why = "the source names none" if stated else "all samples are of one patient, or of one study"
        notes.append(f"the split val is empty, nothing is held out: {why}")
    return notes
