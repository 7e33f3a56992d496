"""A report card that needs no label: what a pre-trained model is worth on any shard set with reports.

Held-out losses; own image against another patient's; retrieval of the own report; a probe of what the reports state;
agreement between the views of a study. Every number has an interval over patients and an opponent that learned nothing,
and two models are compared patient by patient. Losses are no measure of worth between recipes that mask otherwise.
Legend: N samples, D draws of patients.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecamp_fast.config import Recipe
from ecamp_fast.downstream.features import encode, untrained
from ecamp_fast.downstream.probe import probe
from ecamp_fast.downstream.threads import threads_for
from ecamp_fast.errors import DataError
from ecamp_fast.evidence.entities import LEAST, StatedLabels, stated
from ecamp_fast.evidence.features import INITS, RAW, pixels
from ecamp_fast.evidence.images import interpolate, masked_correlation, pixel_mask
from ecamp_fast.evidence.retrieval import GALLERY, retrieve
from ecamp_fast.evidence.samples import Samples, held_out
from ecamp_fast.evidence.views import agreement
from ecamp_fast.evidence.words import collect
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.scores import Estimate, draw_patients, estimate, weighted_mean
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.read import ShardSet

COUNT = 512  # samples, at most
OTHER = "another patient's image"
CHANCE, RANDOM = "chance", "random weights"
TERMS = ("total", "mim", "sr", "mlm")
# Keys of a recipe on which depends what a loss, a word or a hidden patch is
_SAME = ("masking.", "text.", "image.", "losses.", "sr.", "rebalance", "lambda_neg", "negation")


@dataclass(frozen=True)
class Measure:
    """One number of a model.

    title      what it is
    resampled  (1 + D,) of all patients and of each draw
    opponents  by name, likewise: what a model gets that learned nothing of it
    lower      whether less is better
    by_recipe  whether it depends on what the recipe hides
    """

    title: str
    resampled: np.ndarray
    opponents: Mapping[str, np.ndarray] = field(default_factory=dict)
    lower: bool = False
    by_recipe: bool = False

    @property
    def value(self) -> Estimate:
        """The number with its interval."""
        return estimate(self.resampled)

    def better(self, opponent: np.ndarray) -> Estimate:
        """By how much it is better than an opponent, or than another model; over 0 is better.  opponent: (1 + D,)"""
        return estimate((opponent - self.resampled) if self.lower else (self.resampled - opponent))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        opponents = {
            name: {"value": float(resampled[0]), "better": self.better(resampled).as_dict()}
            for name, resampled in self.opponents.items()
        }
        return {"title": self.title, "lower_is_better": self.lower, **self.value.as_dict(), "opponents": opponents}


@dataclass(frozen=True)
class LabelFree:
    """The report card of a model.

    split     whose samples they are
    samples   how many; at most ``COUNT``
    patients  of how many patients
    measures  by name
    absent    by name, why something could not be measured
    recipe    of the model
    """

    split: str
    samples: int
    patients: int
    measures: dict[str, Measure]
    absent: dict[str, str]
    recipe: Recipe

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        measures = {name: one.as_dict() for name, one in self.measures.items()}
        counts = {"split": self.split, "samples": self.samples, "patients": self.patients}
        return {**counts, "measures": measures, "absent": self.absent}

    def better_than(self, other: "LabelFree") -> dict[str, Estimate]:
        """By how much this model is better, patient by patient, in what both were measured by.

        other: of the same samples. What depends on what a recipe hides is left out where the recipes hide otherwise.
        """
        alike = not self.hides_otherwise(other)
        return {
            name: one.better(other.measures[name].resampled)
            for name, one in self.measures.items()
            if name in other.measures and (alike or not one.by_recipe)
        }

    def hides_otherwise(self, other: "LabelFree") -> list[str]:
        """Keys in which the recipes differ on which depends what a loss, a word or a hidden patch is."""
        one, two = self.recipe.identity(), other.recipe.identity()
        return [key for key in one if key.startswith(_SAME) and one[key] != two.get(key)]


def label_free(
    model: Ecamp,
    shards: ShardSet,
    split: str,
    count: int = COUNT,
    *,
    seed: int | None = None,
    words_fault: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> LabelFree:
    """Measure a model, in evaluation mode, on the first ``count`` samples of a split.

    seed         that what is hidden is drawn from, for two models alike; None: the recipe's
    words_fault  why the model cannot read the words of the set (``tokenizer_fault``); '' where it can
    say          gets a line as each part begins
    Raises DataError where the samples are of one patient, or without text for a model that reads it.
    """
    device, recipe = next(model.parameters()).device, model.recipe
    seeded = recipe if seed is None else recipe.model_copy(update={"seed": seed})
    samples = held_out(shards, split, seeded, count, device)
    weights = draw_patients(samples.patients)
    card = LabelFree(split, len(samples.patients), len(set(samples.patients)), {}, {}, recipe)
    readable = model.text is not None and not words_fault
    no_words = words_fault or "the model has no text side"
    with threads_for(recipe.model.vision.width, device), torch.no_grad():
        say("held-out losses")
        card.measures.update(_losses(model, shards, split, seeded, weights, readable))
        say("own image against another patient's")
        if model.decoder:
            card.measures.update(_own_image(model, samples, weights))
        else:
            card.absent["reconstruction"] = "the model has no image decoder"
        if readable:
            card.measures.update(_words(model, samples, weights))
            say("retrieval of the own report")
            card.measures.update(_retrieval(model, samples))
        else:
            card.absent.update(words=no_words, retrieval=no_words)
        say("probe of what reports state")
        _features(card, model, shards, samples, weights)
    return card


def _losses(
    model: Ecamp, shards: ShardSet, split: str, recipe: Recipe, weights: np.ndarray, readable: bool
) -> dict[str, Measure]:
    """Each sample a batch of its own, so that patients can be drawn; means as an evaluation of the run has them."""
    device, rows = next(model.parameters()).device, []
    for batch in Loader(shards, split, recipe.with_micro(1), device=device, train=False).evaluation(weights.shape[1]):
        losses, _ = model.losses_and_words(batch)
        rows.append(torch.stack([getattr(losses, term).double() for term in TERMS]).cpu().numpy())
    columns = np.stack(rows, 1)
    on = {"mim": recipe.losses.mim, "sr": recipe.losses.sr, "mlm": recipe.losses.mlm and readable}
    on["total"] = readable or not recipe.losses.mlm
    return {
        f"loss/{term}": Measure(f"Held-out loss, {term}", weighted_mean(values, weights), lower=True, by_recipe=True)
        for term, values in zip(TERMS, columns, strict=True)
        if on[term]
    }


def _own_image(model: Ecamp, samples: Samples, weights: np.ndarray) -> dict[str, Measure]:
    """How the filled-in patches correlate with the own image, and with the next other patient's, where hidden."""
    found: dict[str, list[Tensor]] = {"own": [], OTHER: [], "interpolation": []}
    for batch, other in zip(samples.batches, samples.swapped(), strict=True):
        drawn = model.reconstruct(batch)
        assert drawn.prediction is not None
        low, mask = drawn.low, drawn.mask
        smooth = interpolate(low, pixel_mask(mask, low.shape[-1])[:, None], mask)
        found["own"].append(masked_correlation(drawn.prediction, low, mask))
        found[OTHER].append(masked_correlation(drawn.prediction, model.view(other).low, mask))
        found["interpolation"].append(masked_correlation(smooth, low, mask))
    resampled = {name: weighted_mean(torch.cat(parts).cpu().numpy(), weights) for name, parts in found.items()}
    title = "Correlation of hidden patches with the own image"
    return {"reconstruction": Measure(title, resampled.pop("own"), resampled, by_recipe=True)}


def _words(model: Ecamp, samples: Samples, weights: np.ndarray) -> dict[str, Measure]:
    own, other = collect(model.score_words, samples.batches), collect(model.score_words, samples.swapped())
    size = weights.shape[1]

    def mean(values: np.ndarray, worth: np.ndarray) -> np.ndarray:
        """(1 + D,): weighted mean over the tokens of the patients drawn."""
        above, below = (weights @ np.bincount(own["sample"], part, size) for part in (values * worth, worth))
        with np.errstate(invalid="ignore"):  # a draw of patients that have no such word
            return np.asarray(above / below)

    found = {}
    alike = np.ones_like(own["nats"])
    kinds = {"words": (alike, "a hidden word"), "findings": (own["finding"], "a hidden word of a finding")}
    for name, (worth, what) in kinds.items():
        if worth.any():
            opponents = {OTHER: mean(other["nats"], worth)}
            resampled = mean(own["nats"], worth)
            found[name] = Measure(f"Nats of {what}", resampled, opponents, lower=True, by_recipe=True)
    found["accuracy"] = Measure("Hidden words that are predicted rightly", mean(own["hit"], alike), by_recipe=True)
    return found


def _retrieval(model: Ecamp, samples: Samples) -> dict[str, Measure]:
    ranks = retrieve(model, samples, GALLERY)
    size, weights = len(ranks.patients), draw_patients(ranks.patients)
    found = {}
    for kind, rank in (("report", ranks.report), ("image", ranks.image)):
        title = f"Own {kind} among {size}"
        for first in (1, 5):
            resampled = weighted_mean((rank <= first).astype(float), weights)
            chance = {CHANCE: np.full_like(resampled, min(first / size, 1.0))}
            found[f"retrieval/{kind}@{first}"] = Measure(
                f"{title}: in the first {first}", resampled, chance, by_recipe=True
            )
        resampled = weighted_mean(rank, weights)
        chance = {CHANCE: np.full_like(resampled, (size + 1) / 2)}
        found[f"retrieval/{kind}_rank"] = Measure(f"{title}: mean rank", resampled, chance, lower=True, by_recipe=True)
    return found


def _features(card: LabelFree, model: Ecamp, shards: ShardSet, samples: Samples, weights: np.ndarray) -> None:
    """Into the card: the probe of what reports state, and the agreement of views, or why there is none."""
    images = samples.images
    features = encode(model, images)
    others = {
        RANDOM: [encode(untrained(model.recipe, seed).to(images.device), images) for seed in range(INITS)],
        f"pixels {RAW} x {RAW}": [pixels(images, RAW).cpu()],
    }
    labels = stated(shards, card.split, samples.patients, LEAST)
    try:
        card.measures["probe"] = _probe(features, others, labels)
    except DataError as error:
        card.absent["probe"] = error.what
    about = [shards.metadata(card.split, number) for number in range(card.samples)]
    names = [[str(one[key]) for one in about] for key in ("study_id", "view")]

    def agree(one: Tensor) -> np.ndarray:
        return agreement(one.double().numpy(), names[0], samples.patients, names[1])

    own = agree(features)
    known = ~np.isnan(own)
    if not known.any():
        card.absent["views"] = "no study of these samples has two views"
        return
    chances = {name: np.mean([agree(one) for one in several], axis=0) for name, several in others.items()}
    resampled = {name: weighted_mean(one[known], weights[:, known]) for name, one in {"own": own, **chances}.items()}
    title = f"Views of a study look alike, AUROC of {int(known.sum())} samples"
    card.measures["views"] = Measure(
        title, resampled.pop("own"), resampled | {CHANCE: np.full_like(weights[:, 0], 0.5)}
    )


def _probe(features: Tensor, others: Mapping[str, Sequence[Tensor]], labels: StatedLabels) -> Measure:
    """Raises DataError where no entity is stated often enough."""
    if not labels.entities:
        raise DataError("no entity is stated in some reports and not in others often enough", "take more samples")
    weights = draw_patients(labels.patients)

    def score(one: Tensor) -> np.ndarray:
        return probe(one[labels.rows], labels.labels, labels.patients).auroc(weights)

    opponents = {name: np.mean([score(one) for one in several], axis=0) for name, several in others.items()}
    title = f"Linear probe of what reports state ({', '.join(labels.entities)}), AUROC"
    return Measure(title, score(features), opponents)
