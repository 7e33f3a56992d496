"""From the codes of reports and distilled texts to the text rows of a micro-batch, on the host, in numpy.

The distilled text enters at a random sentence slot with the recipe's probability; draws are keyed by sample.
"""

from collections.abc import Sequence

import numpy as np

from ecamp_fast.config import TextConfig
from ecamp_fast.keyed_random import Stream, uniform
from ecamp_fast.text.codes import CLS_ID, ID_BITS, PAD_ID, Mark

_PERIOD = int(Mark.PERIOD) << ID_BITS
_SENTENCE = int(Mark.SENTENCE_START) << ID_BITS


def assemble(
    reports: Sequence[np.ndarray],
    distilled: Sequence[np.ndarray],
    keys: np.ndarray,
    text: TextConfig,
    *,
    padded: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[CLS], report and distilled text of each sample, end to end, each at most ``text.max_tokens`` long.

    reports    B arrays (n,) int32 codes
    distilled  likewise
    keys       (B,) int64
    padded     every sample has exactly max_tokens rows, and slots follow the released code, which splits at every "."
    returns codes (T,) int32, cu_seqlens (B + 1,) int32, lengths (B,) int32 (see ``Batch``).
    """
    uniforms = uniform(keys, Stream.DISTILLED, 2).tolist()
    max_tokens, head = text.max_tokens, np.array([CLS_ID], np.int32)
    parts: list[np.ndarray] = []
    lengths = np.empty(len(reports), np.int32)
    for index, (report, extra, (whether, where)) in enumerate(zip(reports, distilled, uniforms, strict=True)):
        pieces = [head, report]
        if len(extra) and whether < text.distilled_probability:
            pieces = [head, *_insert(report, extra, where, text.distilled_position, padded)]
        room = max_tokens
        for piece in pieces:
            parts.append(piece[:room])
            room -= len(parts[-1])
        lengths[index] = max_tokens - room
        if padded and room:
            parts.append(np.full(room, PAD_ID, np.int32))
    rows = np.full(len(reports), max_tokens, np.int32) if padded else lengths
    cu_seqlens = np.concatenate([[0], np.cumsum(rows)]).astype(np.int32)
    return np.concatenate(parts) if parts else np.zeros(0, np.int32), cu_seqlens, lengths


def _insert(report: np.ndarray, extra: np.ndarray, where: float, position: str, padded: bool) -> list[np.ndarray]:
    """The pieces of one text. where: draw in [0, 1) that picks the slot."""
    if padded and position == "random":
        return _insert_as_released(report, extra, where)
    slot = len(report)
    if position == "random":
        starts = np.flatnonzero(report & _SENTENCE)
        chosen = int(where * (len(starts) + 1))
        slot = int(starts[chosen]) if chosen < len(starts) else slot
    return [report[:slot], extra, report[slot:]]


def _insert_as_released(report: np.ndarray, extra: np.ndarray, where: float) -> list[np.ndarray]:
    """Split at every ".": a report of n parts has the slots 0 to n; a "." is added where the report lacks its last."""
    periods = np.flatnonzero(report & _PERIOD)
    slots = [0, *(periods + 1).tolist(), len(report)]
    ends = len(periods) > 0 and periods[-1] == len(report) - 1
    missing = [] if ends else _some_period(report, extra)
    slot = slots[int(where * len(slots))]
    if slot == len(report):
        return [report, *missing, extra]
    return [report[:slot], extra, report[slot:], *missing]


def _some_period(*texts: np.ndarray) -> list[np.ndarray]:
    for codes in texts:
        found = codes[(codes & _PERIOD) != 0]
        if len(found):
            return [found[:1]]
    return []
