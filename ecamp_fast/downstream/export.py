"""Frozen features of a shard set as one file of numpy's, for tools that know nothing of shards."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecamp_fast.downstream.features import encode, labelled
from ecamp_fast.files import write_atomically
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.shards.format.labels import POSITIVE
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.read import ShardSet


def write_features(model: Ecamp, shards: ShardSet, splits: Sequence[str], out: Path, pooling: int = 1) -> int:
    """``features`` (N, D) float32, ``keys``, ``splits``, ``patients`` (N), and by ``findings`` (F):

    ``labels``  (N, F) bool, what is stated to be present
    ``values``  (N, F) float32, 1 present, 0 absent, -1 uncertain, NaN unknown

    pooling: as of ``Ecamp.features``
    returns the number of samples; ``out`` is complete or absent. Raises DataError where the set has no such split.
    """
    known = {split: labelled(shards, split) for split in splits}
    findings = sorted({finding for one in known.values() for finding in one.findings})
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("features", "keys", "splits", "patients", "values")}
    for split, one in known.items():
        columns["features"].append(_features(model, shards, split, pooling))
        columns["keys"].append(np.array([shards.key(split, index) for index in range(shards.count(split))]))
        columns["splits"].append(np.array([split] * shards.count(split)))
        columns["patients"].append(np.array(one.patients))
        same = one.findings == findings
        columns["values"].append((one if same else labelled(shards, split, findings=findings)).values.numpy())
    held = {name: np.concatenate(parts) for name, parts in columns.items()}
    held["labels"] = held["values"] == POSITIVE
    buffer = io.BytesIO()
    np.savez(buffer, findings=np.array(findings, dtype=str), **held)  # type: ignore[arg-type]
    write_atomically(out, buffer.getvalue())
    return len(held["keys"])


def _features(model: Ecamp, shards: ShardSet, split: str, pooling: int) -> np.ndarray:
    """(N, D) float32, in the order of the split. Of images alone, which need no text."""
    device = next(model.parameters()).device
    losses = model.recipe.losses.model_copy(update={"mlm": False, "align": False})
    loader = Loader(shards, split, model.recipe.model_copy(update={"losses": losses}), device=device, train=False)
    parts = [encode(model, batch.image, pooling).numpy() for batch in loader.evaluation(None)]
    return np.concatenate(parts)
