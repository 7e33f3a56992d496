"""The report of a run from its parts: model, held-out samples, run directory."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.report.evaluate import own_versus_other
from ecamp_fast.report.facts import save_results
from ecamp_fast.report.html import write_report
from ecamp_fast.report.pictures import Pictures, draw
from ecamp_fast.shards.format.manifest import METADATA
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.wordpiece import load_wordpiece

COMPARED = 256  # held-out samples, at most, whose reconstructions are compared
SEARCHED = 128  # samples, at most, among which those to show are sought


def report_run(run: Path, model: Ecamp, shards: ShardSet, recipe: Recipe, samples: int = 4) -> Path:
    """Measure the model on held-out samples, draw some, and write RUN/report.html. Returns its path.

    The measurements go into RUN/results.json. Where nothing is held out, training samples are drawn, and the page
    says so. samples: pictures to show; 0: a report without images and text, which may be shared
    """
    held = [split for split in ("val", "test") if split in shards.splits]
    if held and (recipe.losses.mim or recipe.losses.sr):
        measure(run, model, shards, held[0], recipe)
    split = held[0] if held else "train"
    pictures = choose(model, shards, split, recipe, samples) if samples else []
    return write_report(run, pictures, "Held-out samples" if held else "Training samples (nothing was held out)")


def measure(run: Path, model: Ecamp, shards: ShardSet, split: str, recipe: Recipe) -> None:
    """Compare reconstructions with the own and with another patient's image; into RUN/results.json."""
    names = patients(shards, split, COMPARED)
    if len(set(names)) > 1:
        found = own_versus_other(model, evaluation_batches(model, shards, split, recipe, len(names)), names)
        save_results(run, own_versus_other=found.as_dict())


def choose(model: Ecamp, shards: ShardSet, split: str, recipe: Recipe, count: int) -> list[Pictures]:
    """Draw the first samples of ``count`` patients of a split; those with an attention map come first."""
    wordpiece = load_wordpiece(shards.wordpiece_path) if recipe.losses.mlm else None
    names = patients(shards, split, SEARCHED)
    rich: list[Pictures] = []
    plain: list[Pictures] = []
    for batch in evaluation_batches(model, shards, split, recipe, len(names)):
        rows = {}
        for row, sample in enumerate(batch.samples.tolist()):
            if names[sample] not in names[:sample]:  # the patient's first
                rows[row] = shards.key(split, sample)
        for drawn in draw(batch, model.reconstruct(batch), recipe, wordpiece, rows):
            (plain if drawn.attention is None else rich).append(drawn)
        if len(rich) >= count:
            break
    return (rich + plain)[:count]


def patients(shards: ShardSet, split: str, count: int) -> list[str]:
    """The patient of each of the first ``count`` samples of a split; the study where the patient is not known."""
    read = (json.loads(shards.read(split, i, (METADATA,))[METADATA]) for i in range(min(count, shards.count(split))))
    return [str(about.get("patient_id") or about["study_id"]) for about in read]


def evaluation_batches(model: Ecamp, shards: ShardSet, split: str, recipe: Recipe, count: int) -> Iterator[Batch]:
    """The first ``count`` samples of a split on the model's device, whole images, each once."""
    device: torch.device = next(model.parameters()).device
    return Loader(shards, split, recipe, device=device, train=False).evaluation(count)
