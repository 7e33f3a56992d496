"""Every key of the recipe and of DeepSpeed's JSON, with its value, and where that comes from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecamp_fast.config import Recipe
from ecamp_fast.config.deepspeed_json import DEFAULT, read_json
from ecamp_fast.config.recipe import flatten
from ecamp_fast.config.tables import rows

_FILLED_FROM = {
    "train_batch_size": "batch.total",
    "train_micro_batch_size_per_gpu": "batch.micro",
    "gradient_accumulation_steps": "batch.total, batch.micro and ranks",
    "bf16.enabled": "precision",
    "data_types.grad_accum_dtype": "precision and ZeRO's stage",
}


def recipe_rows(recipe: Recipe, origins: Mapping[str, str]) -> list[dict[str, Any]]:
    """key, value, default and origin of every key.  origins: of those that are set, ``config.load.key_origins``"""
    return [
        {"key": key.name, "value": value, "default": key.default, "origin": origins.get(key.name, "default")}
        for key, value in rows(recipe)
    ]


def deepspeed_rows(path: Path | None, resolved: dict[str, Any]) -> list[dict[str, Any]]:
    """key, value and origin of every key that goes to DeepSpeed.  path: of the file   resolved: without an "auto\""""
    file = path or DEFAULT
    written = flatten(read_json(file))
    return [
        {"key": key, "value": value, "origin": _origin(key, written, file)} for key, value in flatten(resolved).items()
    ]


def _origin(key: str, written: Mapping[str, Any], file: Path) -> str:
    if key in written and written[key] != "auto":
        return file.name
    before = f'{file.name}, "auto": ' if key in written else ""
    return before + _FILLED_FROM.get(key, "ecamp-fast")
