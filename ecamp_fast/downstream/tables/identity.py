"""What a cell depends on, as content and not as names: a result is used again where all of it is the same."""

import hashlib
import json
from dataclasses import asdict
from functools import cache
from typing import Any

from ecamp_fast.downstream.source_digest import weights_digest
from ecamp_fast.downstream.tables.registry import CellInputs
from ecamp_fast.shards.load.read import ShardSet

_DIGITS = 12  # of a digest: enough to tell the cells of a folder apart


def identity(kind: str, given: CellInputs) -> dict[str, Any]:
    """Everything that the result of a cell follows from, as plain values.

    kind: of task. Raises ConfigError where the encoder is not there, DataError where the data is damaged.
    """
    described = asdict(given) | {"settings": given.settings.model_dump(mode="json"), "options": dict(given.options)}
    described |= {"kind": kind, "encoder": encoder_digest(given.encoder), "shards": _data_digest(given.shards)}
    del described["device"]  # it changes roundings alone
    return described


def short_digest(described: dict[str, Any]) -> str:
    """Of an ``identity``, for the name of a folder."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:_DIGITS]


encoder_digest = cache(weights_digest)  # a grid asks for the same few thousands of times


@cache
def _data_digest(shards: str) -> str:
    return ShardSet(shards).manifest.digest
