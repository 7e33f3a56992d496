"""What a run would go without, for want of data, of a package or of a GPU; each with the reason."""

from importlib.util import find_spec
from typing import Any

import torch

from ecamp_fast.config import Recipe
from ecamp_fast.config.deepspeed_values import absent_monitors
from ecamp_fast.extras import install_hint
from ecamp_fast.forecast.dataset import DataFacts


def switched_off(recipe: Recipe, data: DataFacts, ds_config: dict[str, Any]) -> list[dict[str, str]]:
    """Rows of ``what`` and ``why``.  ds_config: resolved"""
    rows = [*_by_recipe(recipe), *_by_data(recipe, data), *_by_machine(recipe, ds_config)]
    return [{"what": what, "why": why} for what, why in rows]


def _by_recipe(recipe: Recipe) -> list[tuple[str, str]]:
    """Terms of the paper that the recipe leaves out."""
    if recipe.losses.gloria:
        return []
    names = {"mim": "masked image modelling", "sr": "super-resolution", "mlm": "masked language modelling"}
    return [(name, f"losses.{term}: false") for term, name in names.items() if not getattr(recipe.losses, term)]


def _by_data(recipe: Recipe, data: DataFacts) -> list[tuple[str, str]]:
    rows = []
    few = f"{data.maps:,} of {data.train:,} training samples have an attention map"
    if recipe.reads_maps and data.maps < data.train:
        part = "guidance by attention maps" if not data.maps else "guidance by attention maps, in part"
        rows.append((part, f"{few}: without one every pixel weighs alike (sr.maps)"))
    probability = recipe.text.distilled_probability
    if recipe.losses.mlm and probability and data.distilled < data.train:
        part = "context distillation" if not data.distilled else "context distillation, in part"
        have = f"{data.distilled:,} of {data.train:,} training samples have distilled text"
        rows.append((part, f"{have} (text.distilled_probability {probability:g})"))
    if recipe.losses.align and not data.distilled:
        rows.append(("images against sentences", "no training sample has distilled text (losses.align)"))
    if not data.val:
        rows.append(("held-out losses", "the set has no split val"))
    if data.lost:
        rows.append((f"{data.lost:,} training samples", "their files are damaged: others stand in (loader.quarantine)"))
    return rows


def _by_machine(recipe: Recipe, ds_config: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if not find_spec("tensorboard"):
        rows.append(("TensorBoard", f"its package is not installed: {install_hint('tensorboard')}"))
    for name, package in absent_monitors(ds_config).items():
        rows.append((f"DeepSpeed's {name}", f"{package} is not installed"))
    if not torch.cuda.is_available() and recipe.compile == "auto":
        rows.append(("torch.compile", "compile: auto compiles on a GPU alone"))
    return rows
