"""Whether two views of a study look alike to an encoder, more than views of other patients do.  Legend: N samples."""

from collections.abc import Sequence

import numpy as np


def agreement(
    features: np.ndarray, studies: Sequence[str], patients: Sequence[str], views: Sequence[str]
) -> np.ndarray:
    """For each sample, the chance that another view of its study is nearer than one of another patient, ties one half.

    By the cosine of features less their mean. The view of the other patient is of the same projection as the study's
    own: that a lateral view looks like a lateral view tells nothing.

    features  (N, D) floating
    studies, patients, views  N names each
    returns   (N,) float64; NaN where the study has no other view, or no other patient has one of its projection
    """
    centred = features.astype(np.float64) - features.mean(0)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    cosine = (centred / np.where(norm > 0, norm, 1)) @ (centred / np.where(norm > 0, norm, 1)).T
    study, patient, view = (np.asarray(names, dtype=object).astype(str) for names in (studies, patients, views))
    found = np.full(len(study), np.nan)
    for number in range(len(study)):
        chances = []
        for own in np.flatnonzero((study == study[number]) & (np.arange(len(study)) != number)):
            others = cosine[number, (patient != patient[number]) & (view == view[own])]
            if len(others):
                chances.append(((cosine[number, own] > others) + (cosine[number, own] == others) / 2).mean())
        if chances:
            found[number] = np.mean(chances)
    return found
