"""Joining tables by key, with the proof that they match one to one: nothing is ever paired by its place in a file."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from ecamp_fast.shards.sources.base import RecordFault
from ecamp_fast.shards.sources.redact import redact

Row = TypeVar("Row")


def index(
    rows: Iterable[Row], key: Callable[[Row], str], origin: Callable[[Row], str]
) -> tuple[dict[str, Row], list[RecordFault]]:
    """Rows by their key, and a fault for each row whose key is empty or came before."""
    found: dict[str, Row] = {}
    faults = []
    for row in rows:
        name = key(row)
        if not name:
            faults.append(RecordFault(origin(row), "its key is empty", "write the key, or remove the row"))
        elif name in found:
            what = f"the key {redact(name)} comes twice, first in {origin(found[name])}"
            faults.append(RecordFault(origin(row), what, "remove one of the rows"))
        else:
            found[name] = row
    return found, faults


def unmatched(left: Mapping[str, Any], right: Mapping[str, Any], left_name: str, right_name: str) -> list[RecordFault]:
    """A fault for every key that only one of two indexed tables has."""
    one_sided = [(left_name, key, right_name) for key in left if key not in right]
    one_sided += [(right_name, key, left_name) for key in right if key not in left]
    hint = "take both files from one release"
    return [RecordFault(has, f"{redact(key)} is not in {lacks}", hint) for has, key, lacks in one_sided]
