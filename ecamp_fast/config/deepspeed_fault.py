"""What is wrong with a value of a DeepSpeed JSON, and the small judgements that all of its sections share."""

import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from ecamp_fast.errors import ConfigError

AUTO = "auto"


class Fault(NamedTuple):
    """What is wrong with one key, and what to do about it."""

    what: str
    hint: str


def refusal(origin: str, faults: Sequence[Fault]) -> ConfigError:
    """One error that names every fault, and the hint of each."""
    hints = dict.fromkeys(fault.hint for fault in faults)
    return ConfigError(f"{origin}: " + "; ".join(fault.what for fault in faults), "; ".join(hints))


def is_number(value: Any) -> bool:
    """A finite one: float64 holds it, and true is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_whole(value: Any) -> bool:
    """Also 2.0, which other programs write for 2."""
    return is_number(value) and value == int(value)


def same(given: Any, wanted: Any) -> bool:
    """Whether two values of a JSON are equal, where true is no number and the last digit does not count."""
    if isinstance(wanted, list | tuple):
        return isinstance(given, list) and len(given) == len(wanted) and all(map(same, given, wanted))
    if is_number(wanted):
        return is_number(given) and math.isclose(given, wanted, rel_tol=1e-9)
    return type(given) is type(wanted) and bool(given == wanted)


def asks(section: dict[str, Any], name: str, faults: list[Fault], key: str = "enabled") -> bool | None:
    """Whether a section switches itself on; None where it leaves that open."""
    value = section.get(key, AUTO)
    if value == AUTO:
        return None
    if not isinstance(value, bool):
        faults.append(Fault(f"{name}.{key} is {value!r}", f'write true, false or "auto" for {name}.{key}'))
        return None
    return value
