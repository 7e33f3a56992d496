"""Counts over the samples of a set: how many, of whom, and how long their texts are."""

from collections.abc import Iterable, Sequence

import numpy as np

from ecamp_fast.shards.source import Record


def counts(records: Iterable[Record], dropped_empty: int) -> dict[str, int]:
    """samples, studies, patients (0: the source names none), dropped_empty."""
    records = list(records)
    return {
        "samples": len(records),
        "studies": len({record.study_id for record in records}),
        "patients": len({record.patient_id for record in records if record.patient_id}),
        "dropped_empty": dropped_empty,
    }


def text_statistics(report_tokens: Sequence[int], distilled_tokens: Sequence[int]) -> dict[str, float]:
    """Tokens per sample: ``tokens_*`` with [CLS], report and distilled text, ``report_*`` of the report alone.

    From these the capacity of packed batches and ``text.max_tokens`` can be chosen.
    """
    report = np.asarray(report_tokens)
    return _summary("tokens", 1 + report + np.asarray(distilled_tokens)) | _summary("report", report)


def _summary(name: str, lengths: np.ndarray) -> dict[str, float]:
    middle, high = np.percentile(lengths, [50, 95], method="higher")
    return {
        f"{name}_mean": round(float(lengths.mean()), 3),
        f"{name}_p50": int(middle),
        f"{name}_p95": int(high),
        f"{name}_max": int(lengths.max()),
    }
