"""JSON as its standard has it: written without NaN, and read bounded in size and depth, every fault a ValueError."""

import json
import math
import re
from typing import Any

DEEPEST = 64  # brackets within brackets; ours have six
LARGEST = 2**26  # bytes; the manifest of 100,000 shards has 40 million. Python's objects take ten times as much
NOT_FINITE = "not_finite"  # key of the list of where null stands for a NaN or an infinity
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


def dump_json(value: Any, indent: int | None = None) -> str:
    """JSON as its standard has it, which knows no NaN and no infinity: null stands for them.

    Where ``value`` is an object, its key ``not_finite`` then lists where, keys joined by dots.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        found: list[str] = []
        value = _finite(value, "", found)
        if isinstance(value, dict):
            value |= {NOT_FINITE: found}
        return json.dumps(value, indent=indent, allow_nan=False)


def parse_record(text: bytes | str) -> Any:
    """What ``dump_json`` was given, NaN for all that was not finite.  Raises ValueError where it is no JSON."""
    value = parse_json(text)
    try:
        for path in value.pop(NOT_FINITE, ()) if isinstance(value, dict) else ():
            *above, last = path.split(".")
            part = value
            for key in above:
                part = part[int(key) if isinstance(part, list) else key]
            part[int(last) if isinstance(part, list) else last] = math.nan
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"{NOT_FINITE} does not list what is there ({type(error).__name__})") from None
    return value


def _finite(value: Any, path: str, found: list[str]) -> Any:
    """``value`` with None for what is not finite; ``found`` receives where that was."""
    if isinstance(value, dict):
        return {key: _finite(part, f"{path}.{key}".lstrip("."), found) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part, f"{path}.{i}".lstrip("."), found) for i, part in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        found.append(path)
        return None
    return value


def _check_depth(text: str) -> None:
    depth = 0
    for token in _TOKENS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > DEEPEST:
            raise ValueError(f"nested deeper than {DEEPEST} brackets")
