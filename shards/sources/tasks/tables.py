"""An owner's tables: found by their names, values of classes checked."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format.labels import VALUES, Labels
from ecamp_fast.shards.sources.cells import cell
from ecamp_fast.shards.sources.leftovers import is_leftover
from ecamp_fast.shards.sources.redact import redact
from ecamp_fast.shards.sources.tasks.protocol import NO_FINDING


def table_named(folder: Path, pattern: str, example: str, *, required: bool = True) -> Path | None:
    """The file in ``folder`` whose whole name matches; None where there is none and it is not required.

    Raises DataError: none though required, or several.
    """
    try:
        found = [path for path in sorted(folder.iterdir()) if re.fullmatch(pattern, path.name)]
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be read: {error.strerror}", "name the folder with the owner's tables"
        ) from None
    found = [path for path in found if not is_leftover(path.name)]
    if len(found) > 1:
        raise DataError(f"{folder}: {found[0].name} and {found[1].name}: which is meant?", "move one away")
    if not found and required:
        raise DataError(f"{folder}: no {example}", "name the folder with the owner's tables")
    return found[0] if found else None


def stated(row: Mapping[str, str], classes: Iterable[str]) -> Labels:
    """The labels of a row with a column for each class: 1, 0 or -1, also as floats; blank is unknown.

    Raises ValueError.
    """
    labels = {}
    for name in classes:
        text = cell(row[name])
        if text:
            value = re.fullmatch(r"(-?[01])(?:\.0*)?", text)
            if not value or int(value[1]) not in VALUES:
                raise ValueError(f"{redact(name)} is neither 1, 0, -1 nor empty")
            labels[name] = int(value[1])
    return labels


def among(names: Iterable[str], classes: tuple[str, ...]) -> Labels:
    """The labels of a row that lists what is present, of a source that looked for all ``classes``.

    Raises ValueError: a name that is none of them, but for those that say that nothing was found, and stand alone.
    """
    found = {name.strip() for name in names}
    other = sorted(found.difference(classes, NO_FINDING))
    if other:
        raise ValueError(f"class {redact(other[0])} is none of {', '.join(classes)}")
    stands = found.intersection(classes)
    if stands and (nothing := sorted(found.difference(classes, ("",)))):
        raise ValueError(f"{nothing[0]} beside {min(stands)}")
    return {name: int(name in found) for name in classes}
