"""What is wrong with a patient: the findings of a study, and what became of them since the study before."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ecamp_fast.phantom.anatomy import generator, patient_of

FINDINGS: tuple[str, ...] = (
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "edema",
    "effusion",
    "mass",
    "nodule",
    "pneumothorax",
)
FOCAL = ("consolidation", "mass", "nodule")
LASTING = ("cardiomegaly", "mass", "nodule")  # do not change between studies
COUNTS = (0.4, 0.34, 0.18, 0.08)  # share of first studies with 0, 1, 2, 3 findings


@dataclass(frozen=True)
class Lesion:
    """One place of a finding. ``t``, ``s``: where in the lung (``Outline.place``); ``grade``: 0 small to 2 large."""

    finding: str
    side: int  # -1 the patient's right, 1 left, 0 both or midline
    t: float
    s: float
    grade: int
    key: int  # of the random shape
    change: str = ""  # since the study before: unchanged, increased, decreased, new; '' if there is none


@lru_cache(maxsize=64)
def draw_lesions(seed: int, index: int) -> tuple[Lesion, ...]:
    """The lesions of study ``index``, in the order of FINDINGS."""
    _, earlier = patient_of(seed, index)
    first = index - earlier
    rng = generator(seed, 5, first)
    lesions: list[Lesion] = []
    count = int(rng.choice(len(COUNTS), p=COUNTS))
    for number in rng.choice(len(FINDINGS), count, replace=False):
        lesions += _plant(rng, FINDINGS[int(number)], lesions)
    for study in range(first + 1, index + 1):
        lesions = _evolve(generator(seed, 6, study), lesions)
    return tuple(sorted(lesions, key=lambda lesion: FINDINGS.index(lesion.finding)))


def _plant(rng: np.random.Generator, finding: str, present: list[Lesion]) -> list[Lesion]:
    """New lesions of one finding; focal ones keep to the side that has none yet."""
    side = int(rng.choice([-1, 1]))
    grade = int(rng.choice(3, p=[0.35, 0.4, 0.25]))
    both = rng.random() < 0.3
    crowded = {other.side for other in present if other.finding in (*FOCAL, "pneumothorax")}
    if finding in (*FOCAL, "pneumothorax") and side in crowded and -side not in crowded:
        side = -side
    sides, low, high = [side], 0.3, 0.7
    if finding in ("cardiomegaly", "edema"):
        sides = [0]
    elif finding in ("effusion", "atelectasis"):
        sides, low, high = ([-1, 1] if both else [side]), 0.86, 0.94
    elif finding == "consolidation":
        sides, low, high = ([-1, 1] if both and not crowded else [side]), 0.2, 0.85
    elif finding == "nodule":
        sides, low, high = [side] * int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15])), 0.15, 0.62
    elif finding == "mass":
        low, high = 0.22, 0.58
    return [
        Lesion(finding, a, rng.uniform(0.3, 0.68), rng.uniform(low, high), grade, int(rng.integers(1 << 30)))
        for a in sides
    ]


def _evolve(rng: np.random.Generator, lesions: list[Lesion]) -> list[Lesion]:
    later = []
    for finding in FINDINGS:
        mine = [lesion for lesion in lesions if lesion.finding == finding]
        if not mine:
            continue
        step = int(rng.choice([0, 1, -1], p=[0.6, 0.18, 0.22]))
        grade = mine[0].grade + (0 if finding in LASTING else step)
        if grade < 0:
            continue  # resolved
        grade = min(grade, 2)
        change = ("unchanged", "increased", "decreased")[grade - mine[0].grade]
        later += [replace(lesion, grade=grade, change=change) for lesion in mine]
    absent = [finding for finding in FINDINGS if finding not in {lesion.finding for lesion in later}]
    if rng.random() < 0.25:
        new = _plant(rng, str(rng.choice(absent)), later)
        later += [replace(lesion, change="new") for lesion in new]
    return later
