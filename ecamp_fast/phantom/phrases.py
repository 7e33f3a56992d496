"""The stock of phrases: normal statements and negations, with how often each is used and what forbids it."""

from typing import NamedTuple

import numpy as np

OPENINGS = {
    "PA": (
        "PA view of the chest was obtained.",
        "A single PA radiograph of the chest was provided.",
        "Upright PA view of the chest.",
        "Frontal view of the chest demonstrates adequate technique.",
    ),
    "AP": (
        "Single AP portable view of the chest.",
        "A portable AP radiograph of the chest was obtained.",
        "Portable frontal chest radiograph.",
        "AP view of the chest was provided.",
    ),
}
CLEAR = (
    "The lungs are clear.",
    "Lungs are clear.",
    "The lungs are clear bilaterally.",
    "Both lungs are clear.",
    "The lungs appear clear.",
    "The lung fields are clear.",
)
HEART_NORMAL = (
    "The cardiomediastinal silhouette is normal.",
    "Cardiac and mediastinal contours are normal.",
    "Heart size is normal.",
    "The heart is normal in size.",
    "The heart size is within normal limits.",
    "The cardiac silhouette is normal in size.",
    "Heart size and mediastinal contours are within normal limits.",
    "The cardiac silhouette is unremarkable.",
)
MEDIASTINUM_NORMAL = (
    "The mediastinal contours are unremarkable.",
    "Mediastinal contours are normal.",
    "The mediastinal and hilar contours are normal.",
    "Hilar contours are unremarkable.",
)
STABLE = (
    "The cardiac silhouette is unchanged.",
    "Heart size is unchanged.",
    "The cardiomediastinal silhouette is stable.",
    "Cardiac and mediastinal contours are unchanged.",
)
# True wherever none of the findings named is present.
ASIDES: tuple[tuple[str, set[str]], ...] = (
    ("Pulmonary vasculature is normal.", {"edema"}),
    ("The pulmonary vasculature is unremarkable.", {"edema"}),
    ("The costophrenic angles are sharp.", {"effusion"}),
    ("The hemidiaphragms are well defined.", {"effusion", "atelectasis", "consolidation"}),
    ("Pleural surfaces are normal.", {"effusion", "pneumothorax"}),
    ("The trachea is midline.", set()),
    ("The hilar contours are normal.", {"edema", "mass"}),
    ("Perihilar regions are unremarkable.", {"edema", "mass", "consolidation"}),
)
BONES = (
    "Osseous structures are intact.",
    "The visualized osseous structures are unremarkable.",
    "No acute osseous abnormality.",
    "No displaced rib fracture.",
    "There is no acute fracture.",
    "Bony structures are intact.",
    "Imaged upper abdomen is unremarkable.",
)
CONCLUSIONS = (
    "No acute cardiopulmonary process.",
    "No acute cardiopulmonary abnormality.",
    "No acute intrathoracic process.",
    "No evidence of acute cardiopulmonary disease.",
    "No radiographic evidence of acute cardiopulmonary disease.",
    "There is no acute cardiopulmonary process.",
)


class Denial(NamedTuple):
    """Something a report may deny: how often, and which findings make the denial untrue."""

    term: str
    weight: float
    topic: str  # a report denies a topic once
    forbidden_by: set[str]


_DENSE = {"consolidation", "atelectasis", "nodule", "mass", "edema"}
NEGATIVES = (
    Denial("pleural effusion", 2.2, "effusion", {"effusion"}),
    Denial("pneumothorax", 2.4, "pneumothorax", {"pneumothorax"}),
    Denial("focal consolidation", 1.3, "consolidation", {"consolidation"}),
    Denial("consolidation", 0.5, "consolidation", {"consolidation"}),
    Denial("pulmonary edema", 0.7, "edema", {"edema"}),
    Denial("interstitial edema", 0.15, "edema", {"edema"}),
    Denial("vascular congestion", 0.35, "congestion", {"edema", "cardiomegaly"}),
    Denial("hilar congestion", 0.06, "congestion", {"edema", "cardiomegaly"}),
    Denial("pneumonia", 0.5, "pneumonia", {"consolidation", "atelectasis", "edema"}),
    Denial("infiltrate", 0.25, "pneumonia", {"consolidation", "edema", "atelectasis"}),
    Denial("focal opacity", 0.4, "opacity", _DENSE),
    Denial("focal airspace opacity", 0.3, "opacity", _DENSE),
    Denial("suspicious pulmonary nodule", 0.25, "nodule", {"nodule", "mass"}),
    Denial("suspicious nodule", 0.15, "nodule", {"nodule", "mass"}),
    Denial("pulmonary mass", 0.15, "mass", {"mass"}),
    Denial("atelectasis", 0.15, "atelectasis", {"atelectasis"}),
    Denial("cardiomegaly", 0.2, "cardiomegaly", {"cardiomegaly"}),
    Denial("pleural thickening", 0.1, "thickening", {"effusion"}),
    Denial("lobar collapse", 0.06, "collapse", {"atelectasis", "consolidation"}),
    Denial("hiatal hernia", 0.05, "hernia", set()),
)

# How many terms a form takes -> the forms and their shares. "There is no" leads, as in real reports.
NEGATIVE_FORMS: dict[int, tuple[tuple[str, ...], tuple[float, ...]]] = {
    1: (
        (
            "There is no {}.",
            "There is no evidence of {}.",
            "No {}.",
            "No {} is seen.",
            "No evidence of {}.",
            "No {} is identified.",
            "The study is negative for {}.",
            "The chest is without evidence of {}.",
            "No definite {}.",
        ),
        (0.34, 0.1, 0.25, 0.1, 0.07, 0.06, 0.03, 0.03, 0.02),
    ),
    2: (
        (
            "There is no {} or {}.",
            "No {} or {}.",
            "There is no evidence of {} or {}.",
            "No {} or {} is seen.",
            "There is no {} and no {}.",
            "The chest is without {} or {}.",
            "No evidence of {} or {}.",
            "The lungs are free of {} or {}.",
        ),
        (0.36, 0.28, 0.06, 0.1, 0.05, 0.05, 0.06, 0.04),
    ),
    3: (
        (
            "There is no {}, {}, or {}.",
            "No {}, {}, or {}.",
            "No {}, {} or {} is seen.",
            "No evidence of {}, {}, or {}.",
            "The chest is without evidence of {}, {}, or {}.",
        ),
        (0.34, 0.36, 0.14, 0.1, 0.06),
    ),
}


def pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    """One of the choices, each as likely."""
    return choices[int(rng.integers(len(choices)))]
