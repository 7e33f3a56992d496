"""What a cell depends on, as content and not as names: a result is used again where all of it is the same."""

import hashlib
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from ecamp_fast.downstream.tables.cells import UNTRAINED
from ecamp_fast.downstream.tables.registry import CellInputs
from ecamp_fast.files import sha256_of
from ecamp_fast.run.checkpoint.find import find
from ecamp_fast.run.export import WEIGHTS
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.trained import read_recipe
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


@cache
def encoder_digest(source: str) -> str:
    """Of the weights that ``open_trunk`` would read, or of what else a source says.

    Of a run that is still training, its newest checkpoint: what was scored of it before then counts no more.
    """
    head, colon, run = source.partition(":")
    if colon and head == UNTRAINED:
        folder, _, seed = run.rpartition(":") if run.rpartition(":")[2].isdigit() else (run, "", "0")
        return f"{UNTRAINED} {read_recipe(Path(folder)).digest} {seed}"
    path = Path(source)
    if path.is_file():
        return sha256_of(path)
    if (path / "recipe.yaml").is_file():
        return _run_digest(path)
    if path.is_dir():
        return _content(sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".bin", ".json")))
    return source  # plain pixels


def _run_digest(run: Path) -> str:
    complete = RunDir(run, writes=False).state().get("status", "complete") == "complete"  # an export has no state
    if complete and (run / WEIGHTS).is_file():
        return sha256_of(run / WEIGHTS)
    checkpoint = find(run / "checkpoints", "must", lambda name, reason: None)
    assert checkpoint is not None  # "must"
    return f"{checkpoint.name} {_content(sorted(checkpoint.glob('*.json')))}"


def _content(files: list[Path]) -> str:
    told = "".join(f"{file.name} {sha256_of(file)}\n" for file in files)
    return hashlib.sha256(told.encode()).hexdigest()


@cache
def _data_digest(shards: str) -> str:
    return ShardSet(shards).manifest.digest
