"""Phantoms: synthetic chest radiographs with planted findings, masks, boxes and reports, drawn from a seed.

A test instrument. Real radiographs cannot be shipped; phantoms give every part of the project, from pre-training to
detection, paired data with a ground truth on any machine. Nothing measured on them is a medical result.

anatomy   who is on the film, and how it was taken
course    which findings a study has, and what became of earlier ones
picture   the picture with masks, boxes and attention map
outline   the contours of body, lungs, heart and diaphragm
thorax    the chest as attenuation
bones     ribs, vertebrae, shoulder blades
vessels   vascular markings
findings  planting a finding
film      from attenuation to a film
canvas    planes and curves to draw on
report    a report that is true of the picture
phrases   normal statements and negations
positive  statements of what is there
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecamp_fast.phantom.anatomy import draw_acquisition, draw_anatomy, patient_of
from ecamp_fast.phantom.course import FINDINGS, draw_lesions
from ecamp_fast.phantom.picture import draw_picture
from ecamp_fast.phantom.report import write_report

__all__ = ["FINDINGS", "MIN_SIZE", "Phantom", "StudyDescription", "describe", "phantom"]

MIN_SIZE = 32  # pixels per side


@dataclass(frozen=True)
class StudyDescription:
    """What a phantom is and says, without its picture. ``labels``: positive findings, in the order of FINDINGS."""

    patient_id: str
    view: str  # PA or AP
    labels: tuple[str, ...]
    report: str


@dataclass(frozen=True)
class Phantom:
    """One study with one frontal image.

    image      (S, S) uint8        bright where little radiation passes; the patient's left is on the right
    masks      finding -> (S, S) bool, for each label, all its places together
    boxes      (finding, x, y, width, height) in pixels, one for each place; tight around that place
    attention  (28, 28) uint8      smooth, bright at the planted findings, over the whole image; 0 without any
    """

    image: NDArray[np.uint8]
    report: str
    labels: tuple[str, ...]
    boxes: list[tuple[str, int, int, int, int]]
    masks: dict[str, NDArray[np.bool_]]
    attention: NDArray[np.uint8]
    patient_id: str
    view: str


def describe(seed: int, index: int) -> StudyDescription:
    """Everything about phantom ``index`` of a seed but its picture, in a fraction of the time."""
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must not be negative, not {seed} and {index}")
    lesions = draw_lesions(seed, index)
    patient, _ = patient_of(seed, index)
    present = {lesion.finding for lesion in lesions}
    return StudyDescription(
        patient_id=f"phantom{seed}p{patient:06d}",
        view=draw_acquisition(seed, index).view,
        labels=tuple(finding for finding in FINDINGS if finding in present),
        report=write_report(seed, index, lesions),
    )


def phantom(seed: int, index: int, size: int = 512) -> Phantom:
    """Draw phantom ``index`` of a seed: a pure function of (seed, index, size).

    size: pixels per side, at least MIN_SIZE; anatomy, findings and report do not depend on it.
    Consecutive studies belong now and then to one patient: 8 studies to 6 patients.
    """
    if size < MIN_SIZE:
        raise ValueError(f"size must be at least {MIN_SIZE} pixels, not {size}")
    description = describe(seed, index)
    patient, _ = patient_of(seed, index)
    anatomy, film = draw_anatomy(seed, patient), draw_acquisition(seed, index)
    drawn = draw_picture(seed, index, size, anatomy, film, draw_lesions(seed, index))
    return Phantom(
        image=drawn.image,
        report=description.report,
        labels=description.labels,
        boxes=drawn.boxes,
        masks=drawn.masks,
        attention=drawn.attention,
        patient_id=description.patient_id,
        view=description.view,
    )
