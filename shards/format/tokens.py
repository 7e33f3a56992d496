"""The member ``KEY.tokens`` of a sample: the codes of its report and of its distilled text."""

import numpy as np

TOKENS_FORMAT = 1


def pack_tokens(report: np.ndarray, distilled: np.ndarray) -> bytes:
    """The member ``KEY.tokens``.  report: (n,), distilled: (m,) int32 codes."""
    head = np.array([TOKENS_FORMAT, len(report), len(distilled)], "<i4")
    return head.tobytes() + report.astype("<i4").tobytes() + distilled.astype("<i4").tobytes()


def unpack_tokens(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of ``pack_tokens``: report (n,), distilled (m,) int32.  Raises ValueError for any other content."""
    codes = np.frombuffer(data, "<i4")
    if len(codes) < 3 or codes[0] != TOKENS_FORMAT or min(codes[1:3]) < 0 or len(codes) != 3 + codes[1] + codes[2]:
        raise ValueError(f"not tokens of format {TOKENS_FORMAT}")
    return codes[3 : 3 + codes[1]], codes[3 + codes[1] :]
