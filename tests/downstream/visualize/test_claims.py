"""The pointing game and the peaks, where the truth is planted; and what must not pass."""

import numpy as np
import pytest

from ecamp_fast.downstream.visualize.boxes import at_least, boxes_in_view, findings_stated, places
from ecamp_fast.downstream.visualize.claims import CENTRE, CHANCE, PRIOR, RANDOM, Pair, compare_peaks, point
from ecamp_fast.scores import inside

GRID = 6


def planted(count: int, seed: int = 0) -> tuple[list[Pair], np.ndarray, list[str]]:
    """Boxes anywhere, one an image, and the place of each map that its centre lies in."""
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 0.7, (count, 2))
    sizes = generator.uniform(0.02, 0.3, (count, 2))
    boxes = np.concatenate([corners, corners + sizes], 1)
    pairs = [Pair(number, "mass", box[None]) for number, box in enumerate(boxes)]
    centre = ((boxes[:, :2] + boxes[:, 2:]) / 2 * GRID).astype(int)
    return pairs, centre[:, 1] * GRID + centre[:, 0], [f"p{number // 2}" for number in range(count)]


def test_a_map_that_peaks_at_the_finding_points_and_holds() -> None:
    pairs, truth, patients = planted(60)
    found = point(pairs, np.eye(GRID * GRID)[truth], patients)
    assert found.hit.value == 1.0 and found.holds and found.beyond_prior and found.pairs == 60
    assert set(found.opponents) == {CHANCE, CENTRE, PRIOR}


def test_the_map_of_another_image_or_noise_does_not() -> None:
    pairs, truth, patients = planted(60)
    assert not point(pairs, np.eye(GRID * GRID)[np.roll(truth, 10)], patients).holds
    noise = np.random.default_rng(1).random((60, GRID * GRID))
    found = point(pairs, noise, patients, [noise])
    assert not found.holds and found.above[RANDOM].value == 0 == found.above[RANDOM].high


def test_a_flat_map_is_the_blind_guess() -> None:
    pairs, _, patients = planted(40)
    found = point(pairs, np.ones((40, GRID * GRID)), patients)
    assert found.hit.value == pytest.approx(found.opponents[CHANCE].value)
    share = [inside(places(GRID), at_least(pair.boxes, 1 / GRID)).mean() for pair in pairs]
    assert found.opponents[CHANCE].value == pytest.approx(np.mean(share)) and min(share) >= 1 / GRID**2


def test_the_usual_place_is_that_of_other_patients_and_the_same_finding() -> None:
    upper, lower = np.array([[0.0, 0.0, 0.34, 0.34]]), np.array([[0.5, 0.5, 1.0, 1.0]])
    pairs = [Pair(0, "mass", upper), Pair(1, "mass", upper), Pair(2, "mass", lower), Pair(3, "edema", lower)]
    flat = np.ones((4, GRID * GRID))
    alone = point(pairs, flat, ["a", "b", "c", "d"])
    # a and b are told of each other's mass, and of c's, whose 9 places tie with their 4; c looks where it is not;
    # nobody else has edema: a blind guess of a quarter
    assert alone.opponents[PRIOR].value == pytest.approx((4 / 13 + 4 / 13 + 0 + 0.25) / 4)
    same = point(pairs, flat, ["a", "a", "c", "d"])  # a patient does not tell of themselves
    assert same.opponents[PRIOR].value == pytest.approx((0 + 0 + 0 + 0.25) / 4)


def test_maps_of_the_usual_place_are_not_better_than_it() -> None:
    generator = np.random.default_rng(2)
    corners = generator.choice([0.05, 0.1, 0.15], (50, 2))  # always about the same place, off the centre
    pairs = [Pair(number, "mass", np.r_[corner, corner + 0.3][None]) for number, corner in enumerate(corners)]
    maps = np.zeros((50, GRID * GRID))
    maps[:, GRID + 1] = 1.0
    found = point(pairs, maps, [f"p{number}" for number in range(50)])
    assert found.holds and not found.beyond_prior


def test_the_centre_is_a_point() -> None:
    middle, corner = np.array([[0.4, 0.4, 0.6, 0.6]]), np.array([[0.0, 0.0, 0.3, 0.3]])
    pairs = [Pair(0, "m", middle), Pair(1, "m", corner), Pair(2, "m", corner)]
    assert point(pairs, np.ones((3, 36)), ["a", "b", "c"]).opponents[CENTRE].value == pytest.approx(1 / 3)


def test_a_small_box_can_be_hit() -> None:
    boxes = np.random.default_rng(0).uniform(0, 0.99, (500, 2))
    boxes = np.concatenate([boxes, boxes + 0.005], 1)
    assert not all(inside(places(GRID), box[None]).any() for box in boxes)
    assert all(inside(places(GRID), at_least(box[None], 1 / GRID)).any() for box in boxes)
    large = np.array([[0.1, 0.2, 0.7, 0.9]])
    assert np.allclose(at_least(large, 1 / GRID), large)


def test_boxes_follow_the_centred_square() -> None:
    about = {"height": 100, "width": 200, "boxes": [
        {"finding": "mass", "x": 100, "y": 0, "width": 50, "height": 50},
        {"finding": "mass", "x": 0, "y": 0, "width": 75, "height": 100},
        {"finding": "edema", "x": 0, "y": 10, "width": 50, "height": 10},
    ]}  # fmt: skip
    found = boxes_in_view(about)
    assert set(found) == {"mass"}  # the other lies beyond the view
    assert found["mass"].tolist() == [[0.5, 0.0, 1.0, 0.5], [0.0, 0.0, 0.25, 1.0]]
    assert boxes_in_view({"height": 10, "width": 10}) == {}


def test_who_is_healthy() -> None:
    assert findings_stated({"labels": {}}) == set() == findings_stated({"labels": {"edema": 0}})
    assert findings_stated({"labels": {"No Finding": 1}}) == set()
    assert findings_stated({"labels": {"edema": -1, "mass": 1}, "boxes": [{"finding": "x"}]}) == {"edema", "mass", "x"}


def peaks_of(shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    generator = np.random.default_rng(seed)
    ill = generator.random((200, 3)) < 0.3
    healthy = ~ill.any(1)
    ill[:, 2] = False  # nobody has the third
    return generator.normal(size=(200, 3)) + shift * ill, ill, healthy, [f"p{number}" for number in range(200)]


def test_peaks_that_are_higher_on_ill_images_hold_against_random_weights_that_are_not() -> None:
    peaks, ill, healthy, patients = peaks_of(1.5)
    noise = peaks_of(0.0, seed=5)[0]
    found = compare_peaks(peaks, [noise], ill, healthy, ["a", "b", "c"], patients)
    assert found.holds and set(found.by_finding) == {"a", "b"}
    pairs = [(peaks[ill[:, f], f][:, None] > peaks[healthy, f]).mean() for f in range(2)]
    assert found.auroc.value == pytest.approx(np.mean(pairs))
    assert found.above.value == pytest.approx(found.auroc.value - found.random.value)


def test_what_random_weights_do_as_well_holds_nothing() -> None:
    peaks, ill, healthy, patients = peaks_of(1.5)
    found = compare_peaks(peaks, [peaks], ill, healthy, ["a", "b", "c"], patients)
    assert found.auroc.low > 0.5 and not found.holds
    none = compare_peaks(peaks_of(0.0)[0], [peaks_of(0.0, 5)[0]], ill, healthy, ["a", "b", "c"], patients)
    assert not none.holds
    with pytest.raises(ValueError, match="no finding has both"):
        compare_peaks(peaks, [peaks], ill, healthy & False, ["a", "b", "c"], patients)
