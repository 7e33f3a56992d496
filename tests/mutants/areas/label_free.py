"""The report card: ranks that flatter, views that agree by their projection, differences with the wrong sign."""

from typing import Any

from mutant import mutants

OWN = "tests/evidence/test_retrieval.py::test_"
RETRIEVAL = f"{OWN}ranks_by_hand {OWN}noise_is_at_chance {OWN}the_first_of_each_patient"
RETRIEVAL += f" {OWN}a_report_that_is_easy_to_guess_is_not_everybodys"
VIEWS = "tests/evidence/test_views.py"
CARD = "tests/evidence/test_label_free.py::test_better_is_signed_and_paired"
ENTITIES = "tests/evidence/test_label_free.py::test_entities_by_hand"


def ranks() -> Any:
    import numpy as np

    from ecamp_fast.evidence.retrieval import first_of_patients, own_ranks

    nats = np.random.default_rng(0).integers(0, 5, (7, 7)) + 4.0 * np.arange(7)
    return [rank.tolist() for rank in own_ranks(nats)], first_of_patients(list("abacb"))


def views() -> Any:
    import numpy as np

    from ecamp_fast.evidence.views import agreement

    features = np.random.default_rng(0).integers(0, 3, (12, 3)).astype(float)
    names = [f"s{number // 2}" for number in range(12)]
    patients = [f"p{number // 4}" for number in range(12)]
    return [str(one) for one in agreement(features, names, patients, ["PA", "LL", "PA"] * 4)]


def signs() -> Any:
    import numpy as np

    from ecamp_fast.evidence.label_free import Measure

    generator = np.random.default_rng(0)
    one, two = generator.random(99), generator.random(99)
    return [Measure("a", one, lower=lower).better(two).as_dict() for lower in (True, False)]


def labels() -> Any:
    from types import SimpleNamespace

    import numpy as np

    from ecamp_fast.evidence.entities import stated
    from ecamp_fast.text.reading.entities import DEFAULT

    texts = [
        "No edema. Small effusion.",
        "Edema.",
        "Effusion, edema. The aorta is tortuous.",
        "",
        "Effusion.",
        "No effusion.",
    ]
    manifest = SimpleNamespace(entities=DEFAULT)
    shards = SimpleNamespace(
        read=lambda split, number, _: {"txt": texts[number].encode()},
        first=lambda split, count: np.arange(count),
        manifest=manifest,
    )
    found = stated(shards, "val", list("aabbcc"), 1)  # type: ignore[arg-type]
    return found.entities, found.labels.tolist(), found.rows.tolist(), found.patients


MUTANTS = [
    *mutants(
        "ecamp_fast/evidence/retrieval.py",
        RETRIEVAL,
        ranks,
        {
            "easy reports are everybody's": ("extra = nats - nats.mean(0)", "extra = nats"),
            "ties count for the own one": ("+ (cost == own).sum(1) / 2", "+ 0.5"),
            "a report is sought among reports": ("_rank(nats.T)", "_rank(nats)"),
            "the last sample of each patient": (
                "in reversed(list(enumerate(patients)))",
                "in list(enumerate(patients))",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/evidence/views.py",
        VIEWS,
        views,
        {
            "projections are mixed": (" & (view == view[own])", ""),
            "other studies of the patient are others": ("(patient != patient[number]) &", "(study != study[number]) &"),
            "features keep their mean": (
                "features.astype(np.float64) - features.mean(0)",
                "features.astype(np.float64)",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/evidence/label_free.py",
        CARD,
        signs,
        {"less is better is forgotten": (" if self.lower else (self.resampled - opponent)", "")},
    ),
    *mutants(
        "ecamp_fast/evidence/entities.py",
        ENTITIES,
        labels,
        {
            "what is denied is stated": (" if not one.denied}", "}"),
            "organs are findings": ("{*entities.names} - entities.organs", "{*entities.names}"),
            "what hardly anybody lacks is kept": ("<= len(set(owners)) - least", "<= len(set(owners))"),
        },
    ),
]
