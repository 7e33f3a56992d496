"""What a large model distilled, as conversations that a student is fitted to: chat JSONL, parted by patient.

Each line is an object with ``messages``: those by which the student will be asked too, and the answer, one sentence a
line as Table S2 shows it. Only answers of the model are taught, not what the rules wrote in its place.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ecamp_fast.distill.distiller import Distiller
from ecamp_fast.distill.journal import Finished
from ecamp_fast.distill.reports import Report, report_digest
from ecamp_fast.errors import DataError
from ecamp_fast.files import new_folder, open_private
from ecamp_fast.shards.builder.notice import write_report_notice
from ecamp_fast.text.reading.sentences import sentence_spans

SPLITS = ("train", "val")
VAL_SHARE = 0.05
_TAUGHT = ("model", "re-asked")


@dataclass
class SftCounts:
    """What became of the reports of a source.

    train, val  conversations    patients of either
    unknown     of these, those whose patient the source does not name; each then counts as one of its own
    repeated    reports left out, as another with the same words is there
    by_rules    left out, as the rules wrote their text
    nothing     left out, as nothing was asked about them
    unanswered  left out, as they are not in the journal
    """

    train: int = 0
    val: int = 0
    train_patients: int = 0
    val_patients: int = 0
    unknown: int = 0
    repeated: int = 0
    by_rules: int = 0
    nothing: int = 0
    unanswered: int = 0


def split_of(patient: str, seed: int, share: float) -> str:
    """The split of a patient: the same whatever else is exported."""
    drawn = int.from_bytes(hashlib.sha256(f"{seed} {patient}".encode(errors="surrogatepass")).digest()[:8], "big")
    return SPLITS[drawn < share * 2**64]


def export_sft(
    reports: Iterable[Report],
    answers: Mapping[str, Finished],
    distiller: Distiller,
    out: Path,
    *,
    share: float = VAL_SHARE,
    seed: int = 42,
) -> SftCounts:
    """Write ``train.jsonl`` and ``val.jsonl`` with a notice into the new folder ``out``, for its owner alone.

    answers: of the journal, by digest of the report   distiller: that asks the student   share: of patients held out
    Raises DataError where there is nothing to teach, StorageError where the disk refuses.
    """
    counts = SftCounts()
    patients: dict[str, set[str]] = {split: set() for split in SPLITS}
    lines: dict[str, list[str]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    for report in reports:
        digest = report_digest(report.text)
        answer = answers.get(digest)
        words = " ".join(report.text.lower().split())
        if words in seen:
            counts.repeated += 1
            continue
        seen.add(words)
        if answer is None:
            counts.unanswered += 1
        elif answer.how == "nothing" or not answer.text:
            counts.nothing += 1
        elif answer.how not in _TAUGHT:
            counts.by_rules += 1
        else:
            patient = report.patient or f"report {digest}"
            split = split_of(patient, seed, share)
            counts.unknown += not report.patient
            patients[split].add(patient)
            lines[split].append(_line(distiller, report.text, answer.text))
    if not any(lines.values()):
        raise DataError(_nothing_taught(counts), "run `ecamp-fast distill run` with --endpoint on these reports first")
    counts.train, counts.val = (len(lines[split]) for split in SPLITS)
    counts.train_patients, counts.val_patients = (len(patients[split]) for split in SPLITS)
    with new_folder(out) as folder:
        for split in SPLITS:
            with open_private(folder / f"{split}.jsonl", "w") as file:
                file.writelines(lines[split])
        write_report_notice(folder)
    return counts


def _nothing_taught(counts: SftCounts) -> str:
    what = "no answer of a model is in the journal for these reports"
    if counts.by_rules:
        return f"{what}: {counts.by_rules:,} are the rules' own, and a student is taught by a model"
    return f"{what}: {counts.unanswered:,} are not in it, {counts.nothing:,} state nothing"


def _line(distiller: Distiller, report: str, text: str) -> str:
    sentences = (text[start:end].strip() for start, end in sentence_spans(text))
    answer = {"role": "assistant", "content": "\n".join(filter(None, sentences))}
    return json.dumps({"messages": [*distiller.messages(report), answer]}, ensure_ascii=False) + "\n"
