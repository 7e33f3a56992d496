"""Every value of the recipes of the method, written down once more from the paper and the released code."""

from typing import Any

import pytest

from ecamp_fast.config import load_recipe

PAPER: dict[str, Any] = {
    "seed": 42,
    "precision": "bf16",
    "activations": "keep",
    "float8": False,
    "compile": "auto",
    "share_projections": True,
    "init_from": None,
    "init_parts": "all",
    "model.vision.width": 768,
    "model.vision.depth": 12,
    "model.vision.heads": 12,
    "model.vision.mlp_ratio": 4.0,
    "model.vision.patch": 16,
    "model.decoder.width": 512,
    "model.decoder.depth": 4,
    "model.decoder.heads": 16,
    "model.decoder.mlp_ratio": 4.0,
    "model.text.width": 768,
    "model.text.depth": 6,
    "model.text.heads": 6,
    "model.text.ffn": 1536,
    "model.text.dropout": 0.1,
    "model.position_table": "standard",
    "model.tie_embeddings": False,
    "image.high_size": 448,
    "image.low_size": 224,
    "image.low_res": "antialiased",
    "image.crop_area": (0.2, 1.0),
    "image.crop_aspect": (3 / 4, 4 / 3),
    "image.flip": 0.5,
    "image.mean": 0.4721,
    "image.std": 0.3037,
    "text.max_tokens": 256,
    "text.distilled_probability": 0.8,
    "text.distilled_position": "random",
    "text.capacity": "auto",
    "masking.image_ratio": 0.75,
    "masking.descriptors": "always",
    "masking.word_ratio": 0.75,
    "masking.entity_ratio": 0.75,
    "masking.ratio_with_entity": 0.75,
    "masking.unit": "word",
    "rebalance": "eq3",
    "lambda_neg": 0.05,
    "rebalance_cap": 10.0,
    "negation": "lexicon",
    "fusion.projection": "shared",
    "fusion.use_global": True,
    "fusion.use_local": True,
    "sr.guidance": "soft",
    "sr.final_relu": False,
    "sr.maps": "shards",
    "losses.mim": True,
    "losses.sr": True,
    "losses.mlm": True,
    "losses.align": False,
    "align.width": 128,
    "align.scale": 0.025,
    "align.temperature": 0.1,
    "align.sentences": 24,
    "losses.gloria": False,
    "gloria.image": "resnet50",
    "gloria.image_weights": None,
    "gloria.image_size": 299,
    "gloria.bert": None,
    "gloria.layers": 4,
    "gloria.text": "distilled",
    "gloria.max_tokens": 97,
    "gloria.sentences": 1,
    "gloria.positives": "stated",
    "gloria.poles": False,
    "gloria.local_scale": 1.0,
    "gloria.global_scale": 1.0,
    "gloria.sharpness": (4.0, 5.0, 10.0),
    "losses.mim_scale": 0.75,
    "losses.norm_pix": False,
    "losses.mlm_positions": "masked",
    "losses.mlm_normaliser": "budget",
    "schedule.epochs": 115,
    "schedule.warmup_epochs": 40,
    "schedule.horizon_epochs": 200,
    "optim.lr": 1.5e-4,
    "optim.betas": (0.9, 0.95),
    "optim.eps": 1e-8,
    "optim.weight_decay": 0.05,
    "batch.total": 8192,
    "batch.micro": 256,
    "batch.balance": True,
}
# What is no part of the method: how a run is watched, stored and fed.
OTHER = ("name", "checkpoint.", "evaluation.", "safety.", "loader.", "log_every")
PAPER_LITERAL = {
    "model.vision.depth": 8,
    "model.decoder.width": 768,
    "model.decoder.heads": 12,
    "model.tie_embeddings": True,
    "text.distilled_probability": 1.0,
    "text.distilled_position": "append",
    "rebalance_cap": None,
    "fusion.projection": "separate",
    "losses.mim_scale": 1.0,
    "losses.mlm_normaliser": "sum",
}
OFFICIAL = {
    "model.position_table": "official",
    "image.low_res": "plain",
    "masking.descriptors": "random",
    "masking.ratio_with_entity": 0.70,
    "masking.unit": "wordpiece",
    "rebalance": "official",
    "negation": "phrases",
    "sr.guidance": "window_fixed",
    "sr.final_relu": True,
    "losses.mlm_positions": "all",
    "schedule.epochs": 120,
}
TABLES = {
    "paper": {},
    "paper_literal": PAPER_LITERAL,
    "paper_8layer": {"model.vision.depth": 8},
    "official": OFFICIAL,
    "mae": {"losses.sr": False, "losses.mlm": False, "losses.mim_scale": 1.0},
    "large": {"model.vision.width": 1024, "model.vision.depth": 24, "model.vision.heads": 16, "batch.micro": "auto"},
}


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Keys of sections joined by dots."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


@pytest.mark.parametrize("name", TABLES)
def test_a_recipe_has_the_values_of_the_method(name: str) -> None:
    values = flat(load_recipe(name).model_dump())
    assert {key: value for key, value in values.items() if not key.startswith(OTHER)} == PAPER | TABLES[name]
