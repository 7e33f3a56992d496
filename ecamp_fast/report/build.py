"""The report of a run from its parts: model, held-out samples, run directory."""

from collections.abc import Iterator
from pathlib import Path

import torch

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe
from ecamp_fast.evidence.images import compare_images, mean_image
from ecamp_fast.evidence.samples import held_out, patients
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.report.facts import save_results
from ecamp_fast.report.html import write_report
from ecamp_fast.report.pictures import Pictures, draw
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.wordpiece import load_wordpiece

COMPARED = 256  # samples of a split, at most, whose reconstructions are compared
SEARCHED = 128  # samples, at most, among which those to show are sought


def report_run(
    run: Path, model: Ecamp, shards: ShardSet, recipe: Recipe, samples: int = 4, measured: bool = False
) -> Path:
    """Measure the model on held-out samples, draw some, and write RUN/report.html. Returns its path.

    The measurements go into RUN/results.json. Where nothing is held out, training samples are drawn, and the page
    says so. samples: pictures to show; 0: a report without images and text, which may be shared; measured: whether
    results.json holds the measurements of this model already
    """
    held = [split for split in ("val", "test") if split in shards.splits]
    if held and model.decoder and not measured:
        measure(run, model, shards, held[0], recipe)
    split = held[0] if held else "train"
    pictures = choose(model, shards, split, recipe, samples) if samples else []
    return write_report(run, pictures, "Held-out samples" if held else "Training samples (nothing was held out)")


def measure(run: Path, model: Ecamp, shards: ShardSet, split: str, recipe: Recipe) -> None:
    """Compare reconstructions with what needs no learning; into RUN/results.json."""
    if len(set(patients(shards, split, COMPARED))) > 1 and shards.count("train"):
        device = next(model.parameters()).device
        training = held_out(shards, "train", recipe, COMPARED, device)
        samples = held_out(shards, split, recipe, COMPARED, device)
        found = compare_images(model.reconstruct, samples, mean_image(training, recipe))
        save_results(run, images=found.as_dict() | {"check": found.check().as_dict()})


def choose(model: Ecamp, shards: ShardSet, split: str, recipe: Recipe, count: int) -> list[Pictures]:
    """Draw the first samples of ``count`` patients of a split; those with an attention map come first."""
    wordpiece = load_wordpiece(shards.wordpiece_path) if recipe.losses.mlm else None
    names = patients(shards, split, SEARCHED)
    rich: list[Pictures] = []
    plain: list[Pictures] = []
    first = 0
    for batch in evaluation_batches(model, shards, split, recipe, len(names)):
        rows = {}
        for row, sample in enumerate(batch.samples.tolist()):
            if names[first + row] not in names[: first + row]:  # the patient's first
                rows[row] = shards.key(split, sample)
        first += len(batch)
        for drawn in draw(batch, model.reconstruct(batch), recipe, wordpiece, rows):
            (plain if drawn.attention is None else rich).append(drawn)
        if len(rich) >= count:
            break
    return (rich + plain)[:count]


def evaluation_batches(model: Ecamp, shards: ShardSet, split: str, recipe: Recipe, count: int) -> Iterator[Batch]:
    """The first ``count`` samples of a split on the model's device, whole images, each once."""
    device: torch.device = next(model.parameters()).device
    return Loader(shards, split, recipe, device=device, train=False).evaluation(count)
