"""From the finished units of a build to the manifest: counts over the samples, and how long their texts are."""

from collections.abc import Iterable, Sequence

import numpy as np

from ecamp_fast.shards.builder.journal import Done, JournalHeader
from ecamp_fast.shards.format.manifest import Manifest
from ecamp_fast.shards.images.limits import ANNOTATION
from ecamp_fast.shards.sources.base import RecordFault, over_budget, refuse
from ecamp_fast.text.entity_file import parse_entities

_LISTED = 5  # pictures named in a note


def manifest_of(head: JournalHeader, entries: Sequence[Done]) -> Manifest:
    """The manifest of a set of these units, in this order; not yet written."""
    bad = rejected(head, entries)
    return Manifest(
        builder=head.builder,
        source=head.source,
        short_side=head.identity["short_side"],
        tokenizer_digest=head.tokenizer_digest,
        vocab_size=head.vocab_size,
        rules_digest=head.identity["rules_digest"],
        counts=counts(
            [study for done in entries for study in done.studies],
            [patient for done in entries for patient in done.patients],
            head.dropped_empty,
            sum(shard.without_text for done in entries for shard in done.shards),
        ),
        text=text_statistics(
            [count for done in entries for count in done.report_tokens],
            [count for done in entries for count in done.distilled_tokens],
        ),
        shards=tuple(shard for done in entries for shard in done.shards),
        notes=(*head.notes, *_inverted(entries)),
        quarantined=tuple({"origin": fault.origin, "fault": fault.what, "kind": fault.kind} for fault in bad),
        labels=head.labels,
        masks=head.masks,
        entities=parse_entities(head.identity.get("entities")),
    )


def check_budget(head: JournalHeader, entries: Sequence[Done], hint: str) -> None:
    """Raises DataError that lists the rows left out, if they are more than the budget allows or nothing is left.

    What is wrong with masks and boxes is listed alone: an image is never left out, nor kept without them, for that.

    entries: of all units, or of those of one part   hint: what to do about rows beyond the budget
    """
    bad = rejected(head, entries)
    wrong = [fault for fault in bad if fault.kind == ANNOTATION]
    if wrong:
        raise refuse(head.name, wrong)
    if len(bad) > head.allowed:
        rows = len(bad) + sum(len(done.studies) for done in entries)
        raise over_budget(head.name, bad, rows, head.allowed, hint)
    if len(entries) == len(head.units) and not any(done.studies for done in entries):
        raise refuse(head.name, bad)


def rejected(head: JournalHeader, entries: Sequence[Done]) -> list[RecordFault]:
    """The rows left out: those whose image was missing from the start, then those that were found on the way."""
    return [*head.absent, *(fault for done in entries for fault in done.rejected)]


def counts(
    studies: Sequence[str], patients: Iterable[str], dropped_empty: int, without_text: int = 0
) -> dict[str, int]:
    """The counts of a manifest: samples, studies, patients (0: the source names none), dropped_empty, without_text.

    studies, patients: of every sample
    """
    return {
        "samples": len(studies),
        "studies": len(set(studies)),
        "patients": len({patient for patient in patients if patient}),
        "dropped_empty": dropped_empty,
        "without_text": without_text,
    }


def text_statistics(report_tokens: Sequence[int], distilled_tokens: Sequence[int]) -> dict[str, float]:
    """Tokens per sample: ``tokens_*`` with [CLS], report and distilled text, ``report_*`` of the report alone.

    Of samples with text, {} where there is none. The capacity of packed batches and ``text.max_tokens`` can be chosen
    from these.
    """
    if not report_tokens:
        return {}
    report = np.asarray(report_tokens)
    return _summary("tokens", 1 + report + np.asarray(distilled_tokens)) | _summary("report", report)


def _inverted(entries: Sequence[Done]) -> list[str]:
    """A note of the pictures that look inverted, if there are any."""
    origins = [origin for done in entries for origin in done.inverted]
    if not origins:
        return []
    total = sum(len(done.studies) for done in entries)
    more = f" and {len(origins) - _LISTED} more" if len(origins) > _LISTED else ""
    listed = ", ".join(origins[:_LISTED]) + more
    return [
        f"{len(origins):,} of {total:,} pictures look inverted (air bright, bone dark) and are kept as they are, "
        f"look at them: {listed}"
    ]


def _summary(name: str, lengths: np.ndarray) -> dict[str, float]:
    middle, high = np.percentile(lengths, [50, 95], method="higher")
    return {
        f"{name}_mean": round(float(lengths.mean()), 3),
        f"{name}_p50": int(middle),
        f"{name}_p95": int(high),
        f"{name}_max": int(lengths.max()),
    }
