"""Who is on the film: the body of a patient, and how a study of that patient was taken.

Lengths are in chest units: the film reaches from -1 (left edge, the patient's right) to 1, and from -1 (top) to 1.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

BLOCK_STUDIES, BLOCK_PATIENTS = 8, 6  # every 8 studies in a row belong to 6 patients: 1.33 studies each


@dataclass(frozen=True)
class Anatomy:
    """A patient; the same in all studies of the patient. Pairs are (patient's right, patient's left)."""

    number: int
    wall: float  # half width of the chest inside the ribs, at its widest
    torso: float  # half width of the body there
    apex: float  # y of the lung apices
    dome: tuple[float, float]  # y of the tops of the hemidiaphragms
    sulcus: float  # how far the costophrenic angles reach below the domes
    arch: float  # curvature of the domes
    barrel: float  # exponent of the chest wall's outline: small is bell-shaped, large is barrel-shaped
    heart: float  # cardiothoracic ratio without cardiomegaly
    enlarged_heart: float  # and with it
    heart_tilt: float  # share of the heart left of the midline
    mediastinum: float  # half width
    knob: float  # how far the aortic knob stands out
    knob_y: float
    ribs: float  # spacing of the ribs
    rib_fall: float  # how far posterior ribs descend from spine to side
    rib_width: float  # half width of a rib, share of the spacing
    rib_contrast: float
    spine_bend: float  # scoliosis: amplitude of the midline
    spine_contrast: float
    clavicle: float  # slope
    shoulder: float  # y of the shoulders
    breast: float  # attenuation of the breast shadows, 0 for none
    habitus: float  # soft tissue in front of and behind the lungs
    vessels: float  # density of vascular markings
    bubble: float  # size of the gastric air bubble
    zoom: float
    off_centre: tuple[float, float]
    exposure: float

    @property
    def tortuous_aorta(self) -> bool:
        return self.knob > 0.115

    @property
    def hyperinflated(self) -> bool:
        return self.dome[0] - self.apex > 1.3

    @property
    def scoliosis(self) -> bool:
        return abs(self.spine_bend) > 0.045


@dataclass(frozen=True)
class Acquisition:
    """How one study was taken."""

    view: str  # PA or AP
    tilt: float  # rotation in the plane of the film, radians
    turn: float  # rotation about the long axis: midline structures move sideways
    shift: tuple[float, float]
    zoom: float
    inspiration: float  # moves the domes, positive is down
    exposure: float
    contrast: float
    local: float  # strength of the detector's local contrast processing
    noise: float  # standard deviation in grey levels
    collimation: tuple[float, float, float, float]  # border outside the beam: left, top, right, bottom
    marker: tuple[float, float] | None  # where the lead letter lies

    @property
    def low_volumes(self) -> bool:
        return self.inspiration < -0.075


def generator(*key: int) -> np.random.Generator:
    """A generator that is a pure function of its key (non-negative integers)."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(key)))


@lru_cache(maxsize=256)
def patient_of(seed: int, index: int) -> tuple[int, int]:
    """Number of the patient of study ``index``, and how many studies of that patient came before it."""
    block, place = divmod(index, BLOCK_STUDIES)
    gaps = generator(seed, 1, block).permutation(BLOCK_STUDIES - 1)[: BLOCK_PATIENTS - 1] + 1
    starts = [0, *sorted(int(g) for g in gaps)]
    within = max(i for i, start in enumerate(starts) if start <= place)
    return block * BLOCK_PATIENTS + within, place - starts[within]


@lru_cache(maxsize=64)
def draw_anatomy(seed: int, patient: int) -> Anatomy:
    """The body of a patient."""
    rng = generator(seed, 2, patient)
    between = rng.uniform
    female = rng.random() < 0.5
    heavy = float(rng.beta(2, 3))
    wall = between(0.62, 0.8)
    apex = between(-0.86, -0.7)
    right_dome = between(0.3, 0.52)
    tortuous = rng.random() < 0.12
    bend = between(0.05, 0.08) * rng.choice([-1, 1]) if rng.random() < 0.05 else between(-0.022, 0.022)
    return Anatomy(
        number=patient,
        wall=wall,
        torso=wall + between(0.1, 0.2) + 0.25 * heavy,
        apex=apex,
        dome=(right_dome, right_dome + between(0.03, 0.1)),
        sulcus=between(0.16, 0.28),
        arch=between(0.75, 1.3),
        barrel=between(1.9, 3.0),
        heart=between(0.39, 0.48),
        enlarged_heart=between(0.58, 0.68),
        heart_tilt=between(0.62, 0.74),
        mediastinum=between(0.1, 0.15),
        knob=between(0.12, 0.16) if tortuous else between(0.05, 0.1),
        knob_y=between(-0.45, -0.34),
        ribs=between(0.115, 0.15),
        rib_fall=between(0.3, 0.52),
        rib_width=between(0.17, 0.23),
        rib_contrast=between(0.6, 1.2),
        spine_bend=float(bend),
        spine_contrast=between(0.6, 1.3),
        clavicle=between(0.12, 0.36),
        shoulder=between(-0.8, -0.62),
        breast=between(0.05, 0.16) if female else 0.0,
        habitus=heavy,
        vessels=between(0.75, 1.3),
        bubble=between(0.06, 0.14) if rng.random() < 0.5 else 0.0,
        zoom=min(between(0.7, 0.92) / wall, between(0.9, 0.97) / -apex),
        off_centre=(between(-0.05, 0.05), between(-0.05, 0.07)),
        exposure=between(-0.12, 0.1),
    )


@lru_cache(maxsize=64)
def draw_acquisition(seed: int, index: int) -> Acquisition:
    """How study ``index`` was taken."""
    rng = generator(seed, 3, index)
    between = rng.uniform
    portable = rng.random() < 0.4
    loose = 1.6 if portable else 1.0  # patients in bed lie askew
    borders = np.where(rng.random(4) < 0.2, between(0.008, 0.025, 4), 0.0).tolist()
    marker = (between(0.78, 0.9), between(-0.92, -0.72)) if rng.random() < 0.8 else None
    return Acquisition(
        view="AP" if portable else "PA",
        tilt=float(rng.normal(0, 0.018 * loose)),
        turn=float(rng.normal(0, 0.018 * loose)),
        shift=(float(rng.normal(0, 0.012 * loose)), float(rng.normal(0, 0.012 * loose))),
        zoom=between(0.98, 1.02),
        inspiration=between(-0.13, -0.08) if rng.random() < 0.12 * loose else between(-0.03, 0.03),
        exposure=float(rng.normal(0, 0.03 * loose)),
        contrast=between(0.78, 1.15) / (1.12 if portable else 1.0),
        local=between(0.1, 0.5),
        noise=between(2.0, 4.5) * (1.3 if portable else 1.0),
        collimation=(borders[0], borders[1], borders[2], borders[3]),
        marker=marker,
    )
