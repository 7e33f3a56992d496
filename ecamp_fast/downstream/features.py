"""Frozen features of the samples of a shard set, by a trained encoder and by untrained ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ecamp_fast.config import LossesConfig, Recipe
from ecamp_fast.downstream.threads import threads_for
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.shards.format.labels import NEGATIVE, POSITIVE
from ecamp_fast.shards.load.read import ShardSet

BATCH = 32  # images through the encoder at once


@dataclass(frozen=True)
class Labelled:
    """What the metadata of a split says about its samples, in order.

    findings  F names
    labels    (N, F) bool, what is stated to be present: uncertain and unknown classes are not
    values    (N, F) float32, 1 present, 0 absent, -1 uncertain, NaN unknown
    patients  N names, the study where the patient is not known
    """

    findings: list[str]
    labels: Tensor
    values: Tensor
    patients: list[str]


def labelled(shards: ShardSet, split: str, count: int | None = None, findings: Sequence[str] | None = None) -> Labelled:
    """Labels and patients of the first ``count`` samples (None: all).

    findings: None: those that are present in any sample, by name
    """
    total = shards.count(split)
    total = total if count is None else min(count, total)
    about = [shards.metadata(split, index) for index in range(total)]
    if findings is None:
        findings = sorted({name for one in about for name, value in one["labels"].items() if value == POSITIVE})
    blank = math.nan if shards.manifest.labels else float(NEGATIVE)
    stated = [[float(one["labels"].get(finding, blank)) for finding in findings] for one in about]
    values = torch.tensor(stated).reshape(total, len(findings))
    return Labelled(
        list(findings), values == POSITIVE, values, [str(one.get("patient_id") or one["study_id"]) for one in about]
    )


@torch.inference_mode()
def encode(model: Ecamp, images: Tensor, pooling: int = 1) -> Tensor:
    """``Ecamp.features`` of many images, with the weights as they are.

    images: (N, 1, S, S) uint8   pooling: as there   returns (N, D) float32, on the host.
    """
    device = next(model.parameters()).device
    with threads_for(model.recipe.model.vision.width, device):
        return torch.cat([model.features(part.to(device), pooling).float().cpu() for part in images.split(BATCH)])


def untrained(recipe: Recipe, seed: int, vocab_size: int | None = None) -> Ecamp:
    """A model with the initial weights of ``seed``; the random state of the caller stays as it is.

    vocab_size: of the whole model; None: of the image side alone, since features need no more
    """
    if vocab_size is None:
        recipe = recipe.model_copy(update={"losses": LossesConfig(sr=False, mlm=False)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Ecamp(recipe, vocab_size or 1).eval()
