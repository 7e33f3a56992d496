"""Keys and splits of samples: which name each gets, and which patients are held out."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from ecamp_fast.keyed_random import Stream, sample_keys, uniform
from ecamp_fast.shards.sources.base import Record, RecordFault
from ecamp_fast.shards.sources.redact import redact

KEY_LENGTH = 80  # a USTAR name holds 100 bytes, the longest extension is .distilled.txt
_ALIASES = {
    "validate": "val",
    "validation": "val",
    "valid": "val",
    "dev": "val",
    "training": "train",
    "testing": "test",
}
_FOREIGN = re.compile(r"[^A-Za-z0-9_-]")


def assign_keys(records: list[Record]) -> None:
    """Give each record its key: study and image name, other characters replaced, no dot, unique.

    A key that is too long, or that two records would share (upper and lower case alike), gets a suffix hashed from the
    unaltered names, so that it depends on no other row's place in the table.
    """
    users: dict[str, int] = defaultdict(int)
    plain = [_FOREIGN.sub("_", f"{record.study_id}_{record.stem}") for record in records]
    for key in plain:
        users[key.lower()] += 1
    for record, key in zip(records, plain, strict=True):
        if len(key) > KEY_LENGTH or users[key.lower()] > 1:
            full_name = "\0".join((record.study_id, record.stem, record.place))
            key = f"{key[: KEY_LENGTH - 17]}-{hashlib.sha256(full_name.encode()).hexdigest()[:16]}"
        record.key = key


def repeated_keys(records: Iterable[Record]) -> list[RecordFault]:
    """Records that still share a key, upper and lower case alike: the source lists the same image of a study twice."""
    faults = []
    first: dict[str, Record] = {}
    for record in records:
        other = first.setdefault(record.key.lower(), record)
        if other is not record:
            what = f"the same sample as {other.origin}: study and image are the same"
            faults.append(RecordFault(record.origin, what, "remove one of the two"))
    return faults


def assign_splits(records: list[Record], holdout: float, seed: int) -> list[RecordFault]:
    """Give each record its split, and return what forbids it.

    Where the source names splits they are checked: names, and no patient (no study, where patients are not known) in
    two of them. Where it names none, a share ``holdout`` of patients goes to ``val``, drawn by a hash of the patient's
    own name: adding patients moves no other. If the share is above 0 and there are two patients, at least one is held
    out and at least one stays.
    """
    faults = _two_patients(records)
    if any(record.split for record in records):
        return faults + _check_splits(records)
    units = sorted({_unit(record) for record in records})
    held = _held_out(units, holdout, seed)
    for record in records:
        record.split = "val" if _unit(record) in held else "train"
    return faults


def _unit(record: Record) -> str:
    return f"patient {record.patient_id}" if record.patient_id else f"study {record.study_id}"


def _held_out(units: list[str], holdout: float, seed: int) -> set[str]:
    if holdout <= 0 or len(units) < 2:
        return set()
    hashes = [int.from_bytes(hashlib.sha256(unit.encode()).digest()[:8], "little") for unit in units]
    uniforms = uniform(sample_keys(seed, 0, np.array(hashes, np.uint64)), Stream.SPLIT, 1)[:, 0]
    ranked = np.argsort(uniforms, kind="stable")
    count = min(max(int((uniforms < holdout).sum()), 1), len(units) - 1)
    return {units[index] for index in ranked[:count]}


def _check_splits(records: list[Record]) -> list[RecordFault]:
    faults = []
    first: dict[str, Record] = {}
    for record in records:
        record.split = _ALIASES.get(record.split.lower(), record.split.lower())
        if record.split not in ("train", "val", "test"):
            what = f"split {redact(record.split)}" if record.split else "no split"
            faults.append(RecordFault(record.origin, what, "write train, val or test"))
            continue
        other = first.setdefault(_unit(record), record)
        if other.split != record.split:
            who, name = ("patient", record.patient_id) if record.patient_id else ("study", record.study_id)
            what = f"{who} {redact(name)} is in split {record.split} and, by {other.origin}, in {other.split}"
            faults.append(RecordFault(record.origin, what, "keep every patient in one split"))
    return faults


def _two_patients(records: Iterable[Record]) -> list[RecordFault]:
    faults = []
    first: dict[str, Record] = {}
    for record in records:
        other = first.setdefault(record.study_id, record)
        if other.patient_id != record.patient_id:
            patients = [redact(one.patient_id) if one.patient_id else "no patient" for one in (record, other)]
            what = f"study {redact(record.study_id)}: {patients[0]}, but {patients[1]} in {other.origin}"
            faults.append(RecordFault(record.origin, what, "give a study one patient"))
    return faults
