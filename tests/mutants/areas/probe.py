"""The linear probe, its logistic regression, and the area under the curve."""

from typing import Any

from mutant import mutants


def judged() -> Any:
    import torch

    from ecamp_fast.downstream.probe import patient_folds, probe
    from ecamp_fast.scores import draw_patients

    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(120, 3, generator=generator)
    labels = hidden + torch.randn(120, 3, generator=generator) > 0.5
    features = torch.cat([hidden, torch.randn(120, 60, generator=generator)], 1)
    patients = [f"patient{i // 3}" for i in range(120)]
    found = probe(features, labels, patients, 1)
    return found.auroc(draw_patients(patients, 5)).tolist(), patient_folds(patients, 3, 2).tolist()


def fitted() -> Any:
    import torch

    from ecamp_fast.downstream.logistic import fit

    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(80, 4, generator=generator) * torch.tensor([1.0, 5.0, 0.1, 0.0]) + 3
    labels = hidden[:, :2] + torch.randn(80, 2, generator=generator) > 3.4
    found = fit(hidden, labels, [0.3, 0.01])
    return found.logits(hidden).round(decimals=4).tolist()


def ranked() -> Any:
    import numpy as np

    from ecamp_fast.scores import Estimate, auroc, draw_patients, estimate, mean_auroc

    scores = np.array([[1.0, 3.0, 0.0], [2.0, 3.0, 0.0], [2.0, 1.0, 1.0], [5.0, 0.0, 2.0]])
    positive = np.array([[False, True, False], [True, False, False], [False, True, False], [True, False, False]])
    weights = draw_patients(["a", "b", "b", "c"], 6)
    return (
        auroc(scores, positive).tolist(),
        auroc(scores, positive, weights).tolist(),
        float(mean_auroc(scores, positive)),
        weights.tolist(),
        estimate(np.arange(100.0)),
        Estimate(1.0, 0.0, 2.0).positive,
        Estimate(1.0, 1e-7, 2.0).positive,
    )


MUTANTS = [
    *mutants(
        "ecamp_fast/downstream/probe.py",
        "tests/downstream/test_probe.py",
        judged,
        {
            "folds are dealt to samples": (
                "names = sorted(set(patients))",
                "patients = [str(i) for i in range(len(patients))]; names = sorted(set(patients))",
            ),
            "the ridge is chosen on what was fitted": (
                "found = fit(features[~held], labels[~held], RIDGES,",
                "found = fit(features, labels, RIDGES,",
            ),
            "the inner folds know no patients": (
                "fold = patient_folds(patients, FOLDS, seed + turn)",
                "fold = patient_folds([str(i) for i in range(len(patients))], FOLDS, seed + turn)",
            ),
            "folds of few samples are dealt once": ("range(math.ceil(REPEATED / len(features)))", "range(1)"),
            "the ridge that serves worst is taken": ("score.argmax()", "score.argmin()"),
            "the first fold alone is tested": ("for part in range(folds):", "for part in range(1):"),
            "fitting and testing are the same": (
                "(fold != part).nonzero()[:, 0], (fold",
                "(fold == part).nonzero()[:, 0], (fold",
            ),
            "folds are scored together": (
                "parts = [self.fold == part for part in range(int(self.fold.max()) + 1)]",
                "parts = [self.fold >= 0]",
            ),
            "all resamples are the sample": ("None if weights is None else weights[:, part]", "None"),
            "the order of patients is always the same": (
                "torch.Generator().manual_seed(seed)).tolist()",
                "torch.Generator().manual_seed(0)).tolist()",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/logistic.py",
        "tests/downstream/test_logistic.py",
        fitted,
        {
            "features keep their scale": ("inputs = (features - mean) / scale", "inputs = features - mean"),
            "the ridge holds down half": ("strength * lookahead_weights)", "0.5 * strength * lookahead_weights)"),
            "the intercept does not move": ("- 4 * error.sum(0)", "- 0 * error.sum(0)"),
            "it stops early": ("STEPS = 300", "STEPS = 3"),
        },
    ),
    *mutants(
        "ecamp_fast/scores.py",
        "tests/test_scores.py",
        ranked,
        {
            "ties count as lost": ("(below + lost / 2)", "below"),
            "findings without both classes count one half": (
                "row_means(auroc(scores, positive, weights))",
                "row_means(np.nan_to_num(auroc(scores, positive, weights), nan=0.5))",
            ),
            "positives alone count as often as they were drawn": (
                "counts * ~positive, starts",
                "~positive + 0 * counts, starts",
            ),
            "equal scores stand in the order of the samples": (
                "np.r_[True, scores[1:] != scores[:-1]]",
                "np.r_[True, scores[1:] == scores[1:]]",
            ),
            "samples are drawn, not patients": (
                "np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)",
                "None, np.arange(len(patients))",
            ),
            "the interval is of 90 %": ("[2.5, 97.5]", "[5, 95]"),
            "an interval that touches zero is above it": ("self.low > ROUNDING", "self.low >= 0"),
            "what is rounded is above zero": ("self.low > ROUNDING", "self.low > 0"),
        },
    ),
]
