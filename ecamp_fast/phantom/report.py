"""Reports in radiologists' phrasing that are true of the picture: what is there, on which side, and what is not."""

import numpy as np

from ecamp_fast.phantom.anatomy import Acquisition, Anatomy, draw_acquisition, draw_anatomy, generator, patient_of
from ecamp_fast.phantom.course import Lesion
from ecamp_fast.phantom.phrases import (
    ASIDES,
    BONES,
    CLEAR,
    CONCLUSIONS,
    HEART_NORMAL,
    MEDIASTINUM_NORMAL,
    NEGATIVE_FORMS,
    NEGATIVES,
    OPENINGS,
    STABLE,
    pick,
)
from ecamp_fast.phantom.positive import in_short, say_finding


def write_report(seed: int, index: int, lesions: tuple[Lesion, ...]) -> str:
    """The report of study ``index``: findings, then now and then an impression."""
    rng = generator(seed, 8, index)
    patient, earlier = patient_of(seed, index)
    anatomy, film = draw_anatomy(seed, patient), draw_acquisition(seed, index)
    groups: dict[str, list[Lesion]] = {}
    for lesion in lesions:
        groups.setdefault(lesion.finding, []).append(lesion)
    positive = [say_finding(rng, group) for group in groups.values()]
    negative = _negatives(rng, set(groups))
    chest = _lungs(rng, anatomy, film, lesions)
    centre = _heart(rng, anatomy, set(groups), followed=earlier > 0)
    parts = [positive + chest, negative, centre]
    if rng.random() < 0.35:
        parts = [parts[2], parts[0], parts[1]]
    elif rng.random() < 0.3:
        parts = [parts[0], parts[2], parts[1]]
    sentences = [sentence for part in parts for sentence in part]
    if rng.random() < 0.3:
        sentences.insert(0, pick(rng, OPENINGS[film.view]))
    asides = tuple(sentence for sentence, forbidden_by in ASIDES if not forbidden_by & set(groups))
    if rng.random() < 0.3:
        sentences.append(pick(rng, asides))
    if rng.random() < 0.35:
        sentences += _skeleton(rng, anatomy)
    if rng.random() < 0.5:
        remarkable = anatomy.tortuous_aorta or anatomy.scoliosis or anatomy.hyperinflated or film.low_volumes
        sentences += _impression(rng, groups, remarkable)
    return " ".join(sentences)


def _negatives(rng: np.random.Generator, present: set[str]) -> list[str]:
    """Two to four sentences that deny what the picture does not show."""
    allowed = [denial for denial in NEGATIVES if not present & denial.forbidden_by]
    weights = np.array([denial.weight for denial in allowed])
    count = int(rng.choice([3, 4, 5, 6, 7], p=[0.15, 0.3, 0.3, 0.15, 0.1]))
    order = rng.choice(len(allowed), len(allowed), replace=False, p=weights / weights.sum())
    topics: dict[str, str] = {}
    for i in order.tolist():
        topics.setdefault(allowed[i].topic, allowed[i].term)
    names = list(topics.values())[:count]
    sentences = []
    while names:
        width = min(len(names), int(rng.choice([1, 2, 3], p=[0.45, 0.37, 0.18])))
        forms, shares = NEGATIVE_FORMS[width]
        form = forms[int(rng.choice(len(forms), p=np.array(shares) / sum(shares)))]
        sentences.append(form.format(*names[:width]))
        names = names[width:]
    return sentences


def _lungs(rng: np.random.Generator, anatomy: Anatomy, film: Acquisition, lesions: tuple[Lesion, ...]) -> list[str]:
    """Volumes, and which lungs are clear."""
    sentences = []
    if film.low_volumes and rng.random() < 0.8:
        sentences.append(pick(rng, ("Lung volumes are low.", "There are low lung volumes.", "Low lung volumes.")))
    elif anatomy.hyperinflated and not film.low_volumes and rng.random() < 0.8:
        sentences.append(pick(rng, ("The lungs are hyperinflated.", "Lungs are mildly hyperinflated.")))
    sides = {lesion.side for lesion in lesions if lesion.finding != "cardiomegaly"}
    if not sides and rng.random() < 0.75:
        sentences.append(pick(rng, CLEAR))
    elif len(sides) == 1 and 0 not in sides and rng.random() < 0.35:
        other = "left" if -1 in sides else "right"
        sentences.append(pick(rng, (f"The {other} lung is clear.", f"The {other} lung remains clear.")))
    return sentences


def _heart(rng: np.random.Generator, anatomy: Anatomy, present: set[str], followed: bool) -> list[str]:
    sentences = []
    centre = tuple(s for s in MEDIASTINUM_NORMAL if not (present & {"edema", "mass"} and "hilar" in s.lower()))
    if anatomy.tortuous_aorta:
        sentences.append(pick(rng, ("The aorta is tortuous.", "The thoracic aorta is tortuous.", "Tortuous aorta.")))
    if "cardiomegaly" in present:
        if rng.random() < 0.4 and not anatomy.tortuous_aorta:
            sentences.append(pick(rng, centre))
    elif rng.random() < 0.85:
        normal = HEART_NORMAL + centre
        if anatomy.tortuous_aorta:
            normal = tuple(s for s in HEART_NORMAL if "mediast" not in s.lower())
        sentences.append(pick(rng, STABLE if followed and rng.random() < 0.4 else normal))
    return sentences


def _skeleton(rng: np.random.Generator, anatomy: Anatomy) -> list[str]:
    if anatomy.scoliosis:
        return [pick(rng, ("Mild scoliosis of the thoracic spine.", "There is scoliosis of the thoracic spine."))]
    return [pick(rng, BONES)]


def _impression(rng: np.random.Generator, groups: dict[str, list[Lesion]], remarkable: bool) -> list[str]:
    if not groups:
        return [pick(rng, CONCLUSIONS if remarkable else (*CONCLUSIONS, "Normal chest radiograph."))]
    return [in_short(rng, group) for group in groups.values()]
