"""Whose report is whose: an image finds its own report among those of other patients, and a report its own image.

By the nats that the masked words of each report cost with each image, all patches seen. No label is needed.
Legend: N patients, an image and a report of each.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ecamp_fast.downstream.visualize.look import encode_whole
from ecamp_fast.evidence.samples import Samples
from ecamp_fast.evidence.words import owners
from ecamp_fast.model.ecamp import Ecamp

GALLERY = 64  # patients among whom is searched


@dataclass(frozen=True)
class OwnRanks:
    """The place of the own one among N, 1 is best, ties count half.

    report    (N,) of each image's report
    image     (N,) of each report's image
    patients  N names
    """

    report: np.ndarray
    image: np.ndarray
    patients: list[str]


def retrieve(model: Ecamp, samples: Samples, gallery: int = GALLERY) -> OwnRanks:
    """Of the first samples of up to ``gallery`` patients.  model: with a text side, in evaluation mode"""
    chosen = first_of_patients(samples.patients)[:gallery]
    few = samples.first(chosen[-1] + 1)
    latents = encode_whole(model, few.images[chosen])
    nats = np.stack([_nats(model, latent, few) for latent in latents])[:, chosen]
    return OwnRanks(*own_ranks(nats), [samples.patients[number] for number in chosen])


def first_of_patients(patients: list[str]) -> list[int]:
    """The number of the first sample of each patient, ascending."""
    return sorted({patient: number for number, patient in reversed(list(enumerate(patients)))}.values())


def own_ranks(nats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """OwnRanks of the own report of each image, and of the own image of each report.

    For an image, a report counts by how much cheaper it is than with the average image: else the reports that are easy
    to guess would be everybody's.
    nats: (N, N) of the words of report j (column) with image i (row)   returns two arrays (N,)
    """
    extra = nats - nats.mean(0)
    return _rank(extra), _rank(nats.T)


def _rank(cost: np.ndarray) -> np.ndarray:
    """cost: (N, N)   returns (N,): 1 + how many of a row are below its diagonal, ties one half"""
    own = np.diagonal(cost)[:, None]
    return np.asarray(0.5 + (cost < own).sum(1) + (cost == own).sum(1) / 2)


@torch.inference_mode()
def _nats(model: Ecamp, latent: torch.Tensor, samples: Samples) -> np.ndarray:
    """(samples,) float64: what each sample's words cost with one image.  latent: (1+P, D)"""
    sums = []
    for batch in samples.batches:
        assert batch.text is not None
        scores = model.score_words(batch, latent.expand(len(batch), -1, -1))
        owner = owners(batch.text)[scores.entries].cpu().numpy()
        sums.append(np.bincount(owner, scores.nats.double().cpu().numpy(), len(batch)))
    return np.concatenate(sums)
