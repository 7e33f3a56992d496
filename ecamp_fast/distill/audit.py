"""A random sample of what was distilled, to be read beside its reports: what is marked in either, and in what order."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ecamp_fast.distill.by_rules import distill_report
from ecamp_fast.distill.journal import Finished
from ecamp_fast.distill.reports import Report, report_digest
from ecamp_fast.distill.source import State, read_marks, read_sentences
from ecamp_fast.errors import DataError
from ecamp_fast.text.reading.entities import DEFAULT, EntityList
from ecamp_fast.text.reading.words import Span

Mark = tuple[Span, str, State]  # characters, entity, how it is said to be


@dataclass(frozen=True)
class Audited:
    """One report with what was distilled of it.

    report, text  as they are             report_marks, text_marks  the entities in them, in order
    how           as in ``Finished``      faults  of answers that were rejected before
    rules         what the rules would have written
    """

    report: str
    text: str
    report_marks: list[Mark]
    text_marks: list[Mark]
    how: str
    faults: Mapping[str, int]
    rules: str


def draw_sample(
    reports: Iterable[Report],
    answers: Mapping[str, Finished],
    entities: EntityList = DEFAULT,
    *,
    count: int = 50,
    seed: int = 42,
    how: str | None = None,
) -> list[Audited]:
    """Some of the reports that differ and were distilled, drawn by the seed; fewer where there are no more.

    answers: of the journal, by digest of the report   entities: that both are read by
    how: only those that came about so (``Finished.how``)
    Raises DataError where none of these reports has an answer.
    """
    texts = {report_digest(report.text): report.text for report in reports}
    found = [digest for digest in texts if digest in answers and how in (None, answers[digest].how)]
    if not found:
        what = "no report of this source has an answer" + (f" of the kind {how}" if how else "")
        raise DataError(what, "name the source and the journal of one `ecamp-fast distill run`")
    found.sort(key=lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).digest())
    return [_audited(texts[digest], answers[digest], entities) for digest in found[:count]]


def _audited(report: str, answer: Finished, entities: EntityList) -> Audited:
    marks: list[Mark] = []
    at = 0
    for sentence, state, mentions in read_sentences(answer.text, entities):
        at = answer.text.index(sentence, at)
        marks += [((at + one.start, at + one.end), one.entity, state) for one in mentions]
        at += len(sentence)
    return Audited(
        report,
        answer.text,
        read_marks(report, entities),
        marks,
        answer.how,
        answer.faults,
        distill_report(report, entities),
    )
