"""Two results of ``annotate`` against each other: what a change of rules does to the counts of the same reports."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ecamp_fast.errors import DataError
from ecamp_fast.shards.sources.files import reason
from ecamp_fast.strict_json import parse_json

_HINT = "write one by `ecamp-fast shard annotate --from KIND SOURCE --json > FILE`"


def read_counts(path: Path) -> dict[str, Any]:
    """What ``shard annotate --json`` wrote.  Raises DataError: no such file, no JSON, JSON of something else."""
    try:
        found = parse_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}", _HINT) from None
    except (ValueError, RecursionError):
        raise DataError(f"{path}: not JSON", _HINT) from None
    if not (isinstance(found, dict) and "denied_mentions" in found and _are_counts(found.get("entities"))):
        raise DataError(f"{path}: JSON, but no counts of reports", _HINT)
    named = isinstance(found.get("rules_digest"), str) and isinstance(found.get("source"), dict)
    if found.get("schema") != 1 or not named:
        raise DataError(f"{path}: counts of another version, which do not name their rules", _HINT)
    return found


def _are_counts(entities: Any) -> bool:
    if not isinstance(entities, dict) or not all(isinstance(row, dict) for row in entities.values()):
        return False
    return all(isinstance(count, int) for row in entities.values() for count in row.values())


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Every count that differs, by its name ("effusion denied"): old, new and difference. A missing one is 0."""
    before, after = dict(_counts(old)), dict(_counts(new))
    rows = {}
    for name in {**after, **before}:
        one, other = before.get(name, 0), after.get(name, 0)
        if one != other:
            rows[name] = {"old": one, "new": other, "difference": other - one}
    return rows


def _counts(tree: Mapping[str, Any], parents: str = "") -> Iterator[tuple[str, int]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _counts(value, parents if name == "entities" else f"{parents}{name} ")
        elif isinstance(value, int) and name != "schema":
            yield f"{parents}{name}", value
