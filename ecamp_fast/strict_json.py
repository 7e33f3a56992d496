"""JSON that others may have written: bounded in size and depth, and every fault of it a ValueError."""

import json
import re
from typing import Any

DEEPEST = 64  # brackets within brackets; ours have six
LARGEST = 2**26  # bytes; the manifest of 100,000 shards has 40 million. Python's objects take ten times as much
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def parse_json(raw: bytes | str, **hooks: Any) -> Any:
    """What ``json.loads`` makes of it.  hooks: of ``json.loads``

    Raises ValueError: no JSON, not UTF-8, more than ``LARGEST``, or nested deeper than ``DEEPEST``, which would take
    Python's stack from whoever reads it.
    """
    if len(raw) > LARGEST:
        raise ValueError(f"{len(raw):,} bytes of JSON, the limit is {LARGEST:,}")
    text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw))
    if text.count("[") + text.count("{") > DEEPEST:  # few samples have so many brackets; they are not walked through
        _check_depth(text)
    return json.loads(text, **hooks)


def parse_object(raw: bytes | str) -> dict[str, Any]:
    """The object that a file holds.  Raises ValueError as ``parse_json``, and where it holds another value."""
    found = parse_json(raw)
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


def _check_depth(text: str) -> None:
    depth = 0
    for token in _TOKENS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} brackets")
