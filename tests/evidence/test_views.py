"""Views of a study against those of others: by hand, planted, and without meaning."""

import numpy as np
import pytest

from ecamp_fast.evidence.views import agreement


def study(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, list[str], list[str], list[str]]:
    """A frontal and a lateral view of each study; what they share, noise, and what all lateral views share."""
    generator = np.random.default_rng(seed)
    shared = np.repeat(generator.normal(size=(count, 16)), 2, 0)
    lateral = np.tile([0.0, 5.0], count)[:, None]
    names = [f"s{number // 2}" for number in range(2 * count)]
    features = shared + noise * generator.normal(size=shared.shape) + lateral
    return features, names, [f"p{name}" for name in names], ["PA", "LATERAL"] * count


def test_equals_the_pairs_by_hand() -> None:
    features, studies, patients, views = study(5, 1.5)
    studies[2:4], patients[2:4] = ["s0", "s0"], ["ps0", "ps0"]  # a study of four views
    patients[4:6] = ["ps0", "ps0"]  # and another study of its patient
    found = agreement(features, studies, patients, views)
    centred = features - features.mean(0)
    for number in range(10):
        chances = []
        for own in range(10):
            if own != number and studies[own] == studies[number]:
                a, b = centred[number], centred[own]
                mine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                wins = [
                    mine > a @ centred[o] / np.linalg.norm(a) / np.linalg.norm(centred[o])
                    for o in range(10)
                    if patients[o] != patients[number] and views[o] == views[own]
                ]
                chances.append(np.mean(wins))
        assert found[number] == pytest.approx(np.mean(chances))


def test_views_that_share_their_study_agree_and_noise_does_not() -> None:
    assert agreement(*study(40, 0.3)).mean() > 0.95
    noise = [agreement(*study(40, 1000.0, seed)).mean() for seed in range(30)]
    assert np.mean(noise) == pytest.approx(0.5, abs=0.03)


def test_what_all_lateral_views_share_is_no_agreement() -> None:
    features, *names = study(60, 0.0)
    lateral = np.tile([0.0, 1.0], 60)[:, None] + 1e-3 * np.random.default_rng(0).normal(size=features.shape)
    assert agreement(lateral, *names).mean() == pytest.approx(0.5, abs=0.06)


def test_without_a_second_view_there_is_nothing_to_say() -> None:
    features = np.random.default_rng(0).normal(size=(4, 3))
    assert np.isnan(agreement(features, list("abcd"), list("abcd"), ["PA"] * 4)).all()
    two = agreement(features, list("aabc"), list("aabc"), ["PA", "AP", "PA", "LL"])
    assert np.isnan(two[2:]).all() and np.isnan(two[0]) and two[1] in (0.0, 1.0)  # nobody else has an AP view
