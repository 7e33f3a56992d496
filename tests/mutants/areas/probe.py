"""The linear probe, its logistic regression, and the area under the curve."""

from typing import Any

from mutant import mutants


def judged() -> Any:
    import torch

    from ecamp_fast.downstream.probe import Comparison, compare, patient_folds, probe, t_quantile

    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(120, 3, generator=generator)
    labels = hidden + torch.randn(120, 3, generator=generator) > 0.5
    features = torch.cat([hidden, torch.randn(120, 60, generator=generator)], 1)
    patients = [f"patient{i // 3}" for i in range(120)]
    found = compare(features, lambda seed: features[:, 3 + seed :], labels, patients, range(3))
    quantiles = [t_quantile(freedom) for freedom in (1, 5, 30, 40)]
    level = Comparison((0.8, 0.7, 0.9), (0.79, 0.72, 0.85)).better
    return (
        level,
        probe(features, labels, patients, 1),
        found.as_dict(),
        patient_folds(patients, 3, 2).tolist(),
        quantiles,
    )


def fitted() -> Any:
    import torch

    from ecamp_fast.downstream.logistic import fit

    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(80, 4, generator=generator) * torch.tensor([1.0, 5.0, 0.1, 0.0]) + 3
    labels = hidden[:, :2] + torch.randn(80, 2, generator=generator) > 3.4
    found = fit(hidden, labels, [0.3, 0.01])
    return found.logits(hidden).round(decimals=4).tolist()


def ranked() -> Any:
    import torch

    from ecamp_fast.scores import auroc, average_ranks, mean_auroc

    scores = torch.tensor([[1.0, 3.0, 0.0], [2.0, 3.0, 0.0], [2.0, 1.0, 1.0], [5.0, 0.0, 2.0]])
    positive = torch.tensor([[False, True, False], [True, False, False], [False, True, False], [True, False, False]])
    return average_ranks(scores).tolist(), auroc(scores, positive).tolist(), mean_auroc(scores, positive)


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
                "fit(features[~held], labels[~held], RIDGES).logits(features[held])",
                "fit(features, labels, RIDGES).logits(features[held])",
            ),
            "the inner folds know no patients": (
                "    fold = patient_folds(patients, FOLDS, seed)\n    score",
                "    fold = patient_folds([str(i) for i in range(len(patients))], FOLDS, seed)\n    score",
            ),
            "the ridge that serves worst is taken": ("score.argmax()", "score.argmin()"),
            "the first fold alone is tested": ("for part in range(folds):", "for part in range(1):"),
            "fitting and testing are the same": (
                "(fold != part).nonzero()[:, 0], (fold",
                "(fold == part).nonzero()[:, 0], (fold",
            ),
            "the interval knows no number of seeds": (" / math.sqrt(len(self.trained))", ""),
            "the interval is that of a normal distribution": ("t_quantile(len(self.trained) - 1)", "1.96"),
            "better by the mean alone": ("return self.interval[0] > 0", "return self.mean > 0"),
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
            "ties count as lost": ("(below + 1 + not_above).double() / 2", "(below + 1).double()"),
            "findings without both classes count one half": (".nanmean()", ".nan_to_num(0.5).mean()"),
            "the rank sum is not centred": ("count * (count + 1) / 2", "count * count / 2"),
            "negatives are all": ("negatives = len(positive) - count", "negatives = len(positive) - 0 * count"),
        },
    ),
]
