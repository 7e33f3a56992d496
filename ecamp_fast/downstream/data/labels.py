"""What is known of each sample of a split: 1, 0 or unknown of each class, and whose image it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.printable import items
from ecamp_fast.shards.format.labels import UNCERTAIN_AS, targets
from ecamp_fast.shards.load.read import ShardSet

NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Labels:
    """Of the samples of a split, in order.

    names      F classes
    values     (N, F) float32: 1, 0, NaN where unknown
    patients   N names, the study where the patient is not known
    fractions  N sets of official lists that a sample is in ("1", "10", "100"); empty where the set knows of none
    """

    names: list[str]
    values: np.ndarray
    patients: list[str]
    fractions: list[frozenset[str]]


def read_labels(shards: ShardSet, split: str, names: Sequence[str] = (), uncertain: Mapping[str, int] = NONE) -> Labels:
    """Read the metadata of a split.

    names      classes, in this order; (): those of the set
    uncertain  class -> what an uncertain label of it counts as, 1 or 0; of others ``UNCERTAIN_AS`` says it

    Raises DataError where the split is missing or has no class that ``names`` or ``uncertain`` name, ConfigError where
    a class is named twice.
    """
    require_once(names, "a class")
    about = [shards.metadata(split, index) for index in range(shards.count(split))]
    stated, kind = shards.manifest.labels, str(shards.manifest.source.get("kind", ""))
    known = list(stated) or sorted({name for one in about for name in one["labels"]})
    if absent := [name for name in (*names, *uncertain) if name not in known]:
        raise DataError(f"{shards.path} has no labels of {items(absent)}", f"it has {items(known) or 'none at all'}")
    chosen = list(names) or known
    rules = {**UNCERTAIN_AS, **uncertain}
    values = np.array([targets(one["labels"], chosen, stated, kind, rules) for one in about])
    return Labels(
        chosen,
        values.reshape(len(about), len(chosen)).astype(np.float32),
        [_patient(one) for one in about],
        [frozenset(one.get("columns", {}).get("lists", "").split()) for one in about],
    )


def require_once(names: Sequence[str], what: str) -> None:
    """what: that they are names of, as in "a class".  Raises ConfigError where one stands twice."""
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise ConfigError(f"{what} is named twice:{items(twice)}", "name each once")


def _patient(metadata: Mapping[str, Any]) -> str:
    return str(metadata.get("patient_id") or metadata["study_id"])


def parse_counts(text: Sequence[str]) -> dict[str, int]:
    """``CLASS=0`` or ``CLASS=1``: what uncertain labels count as.  Raises ConfigError."""
    found = {}
    for item in text:
        name, _, value = item.rpartition("=")
        if not name or value not in ("0", "1"):
            raise ConfigError(f"--uncertain {item}", "write --uncertain CLASS=0 or CLASS=1")
        if found.setdefault(name, int(value)) != int(value):
            raise ConfigError(f"--uncertain {name}=0 and {name}=1", "write one of them")
    return found
