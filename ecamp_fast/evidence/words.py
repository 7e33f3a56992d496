"""Predicted words against the commonest ones, and with another patient's image in place of the own.

In nats of the true word per predicted token: every token alike, or by the weight of its loss (paper Eq. 3).
Legend: P predicted tokens, V vocabulary.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecamp_fast.batch import Batch, Text
from ecamp_fast.evidence.check import Check, needed, told
from ecamp_fast.evidence.samples import Samples
from ecamp_fast.model.ecamp import WordScores
from ecamp_fast.scores import Estimate, draw_patients, estimate
from ecamp_fast.text.codes import Mark, has


@dataclass(frozen=True)
class Unigram:
    """Nats of each word if every place is taken for the average one of the training split, (V,) float64."""

    alike: Tensor
    weighted: Tensor


@dataclass(frozen=True)
class WordEvidence:
    """Nats a token, as estimates over patients.

    nats, unigram          of the model and of the commonest words, every token alike
    below                  unigram - nats
    weighted_below         the same by weight
    swapped                by weight, what another patient's image costs: nats with it - nats with the own
    swapped_findings       the same on entities and their descriptors alone
    accuracy, commonest    share of tokens whose likeliest word is the true one; share of the commonest word
    """

    nats: Estimate
    unigram: Estimate
    below: Estimate
    weighted_below: Estimate
    swapped: Estimate
    swapped_findings: Estimate
    accuracy: Estimate
    commonest: Estimate

    def check_words(self, least: float = 0.0) -> Check:
        """That the model is ``least`` nats below the unigram, and surely below it."""
        found = (
            f"{self.nats.value:.2f} nats a token, unigram {self.unigram.value:.2f}: below it by "
            f"{told(self.below, '.2f')}{needed(least)}; right in {self.accuracy.value:.1%}, "
            f"the commonest word in {self.commonest.value:.1%}"
        )
        return Check("words are predicted, not guessed by how common they are", found, self._sure(self.below, least))

    def check_picture(self, least: float = 0.0) -> Check:
        """That another patient's image costs ``least`` weighted nats, and surely some, on findings alone too."""
        found = (
            f"another patient's image costs {told(self.swapped)} weighted nats{needed(least)}, "
            f"on findings alone {told(self.swapped_findings)}"
        )
        passed = self._sure(self.swapped, least) and self.swapped_findings.positive
        return Check("words are read off the picture", found, passed)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {field.name: getattr(self, field.name).as_dict() for field in fields(self)}

    @staticmethod
    def _sure(number: Estimate, least: float) -> bool:
        return number.positive and number.value >= least


def unigram(batches: Iterable[Batch], vocab_size: int) -> Unigram:
    """From the predicted words of a split, each word counted once more than it occurs."""
    counts = torch.ones(2, vocab_size, dtype=torch.float64)
    for batch in batches:
        text = batch.text
        assert text is not None
        labels = text.labels.cpu()
        for row, weights in enumerate((torch.ones_like(text.weights), text.weights)):
            counts[row].index_add_(0, labels, weights.double().cpu())
    nats = -(counts / counts.sum(1, keepdim=True)).log()
    return Unigram(nats[0], nats[1])


def compare_words(score: Callable[[Batch], WordScores], samples: Samples, words: Unigram) -> WordEvidence:
    """Score every predicted word with the own and with the next other patient's image.

    score: what ``Ecamp.score_words`` does
    """
    own = collect(score, samples.batches)
    other = collect(score, samples.swapped())
    weights = draw_patients(samples.patients)
    sample, label = own["sample"], own["label"].astype(np.int64)

    def mean(values: np.ndarray, worth: np.ndarray) -> np.ndarray:
        """(1 + D,): weighted mean over the tokens of the patients drawn."""
        sums = [np.bincount(sample, part, len(samples.patients)) for part in (values * worth, worth)]
        above, below = (weights @ part for part in sums)
        return np.asarray(above / below)

    alike, worth, nats = np.ones_like(own["nats"]), own["weight"], own["nats"]
    plain, weighted = words.alike.numpy()[label], words.weighted.numpy()[label]
    extra, findings = other["nats"] - nats, worth * own["finding"]
    commonest = (label == np.bincount(label).argmax()).astype(float)
    return WordEvidence(
        nats=estimate(mean(nats, alike)),
        unigram=estimate(mean(plain, alike)),
        below=estimate(mean(plain - nats, alike)),
        weighted_below=estimate(mean(weighted - nats, worth)),
        swapped=estimate(mean(extra, worth)),
        swapped_findings=estimate(mean(extra, findings)),
        accuracy=estimate(mean(own["hit"], alike)),
        commonest=estimate(mean(commonest, alike)),
    )


def owners(text: Text) -> Tensor:
    """The sample, by its row in the batch, of each entry of ``text.rows``; (R,) int64."""
    entries = torch.arange(len(text.rows), device=text.rows.device)
    return torch.bucketize(entries, text.predicted[1:].long(), right=True)


def collect(score: Callable[[Batch], WordScores], batches: Iterable[Batch]) -> dict[str, np.ndarray]:
    """Every predicted word of all batches.

    returns (P,) float64 each: ``nats``, ``hit``, ``label``, ``weight``, ``finding`` (of an entity or its descriptors);
    ``sample``, over all batches, is an integer
    """
    columns: dict[str, list[Tensor]] = {}
    first = 0
    for batch in batches:
        text, scores = batch.text, score(batch)
        assert text is not None
        of, owner = scores.entries, owners(text)
        found = {
            "nats": scores.nats,
            "hit": scores.hits,
            "label": text.labels[of],
            "weight": text.weights[of],
            "finding": has(text.codes[text.rows[of]], Mark.ENTITY | Mark.DESCRIPTOR),
            "sample": first + owner[of],
        }
        first += len(batch)
        for name, values in found.items():
            columns.setdefault(name, []).append(values.cpu().double())
    out = {name: torch.cat(parts).numpy() for name, parts in columns.items()}
    return out | {"sample": out["sample"].astype(np.int64)}
