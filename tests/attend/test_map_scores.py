"""Maps are planted: what finds, what only knows where findings usually are, what knows nothing, what is mirrored."""

import numpy as np
import pytest

from ecamp_fast.attend.map_scores import METRICS, OPPONENTS, MapPair, judge_findings, score, score_maps
from ecamp_fast.scores import draw_patients

GRID = 8
QUARTER = np.array([[0.0, 0.0, 0.5, 0.5]])


def cells(boxes: np.ndarray) -> np.ndarray:
    """(G, G) 1 in the boxes, whose corners are those of cells."""
    found = np.zeros((GRID, GRID))
    for x1, y1, x2, y2 in (boxes * GRID).round().astype(int):
        found[y1:y2, x1:x2] = 1
    return found


def planted(count: int = 60, seed: int = 0) -> list[MapPair]:
    """Masses of 2 x 3 cells anywhere in one half, a heart in the middle; two images a patient; perfect maps."""
    generator = np.random.default_rng(seed)
    pairs = []
    for number in range(count):
        x, y = generator.integers(0, 3) + 4 * generator.integers(2), generator.integers(0, 6)
        mass = np.array([[x, y, x + 2, y + 3]]) / GRID
        heart = np.array([[2, 3, 6, 6 + number % 2]]) / GRID
        for name, boxes in (("mass", mass), ("cardiomegaly", heart)):
            pairs.append(MapPair(f"i{number}", name, f"p{number // 2}", cells(boxes), boxes))
    return pairs


def with_maps(pairs: list[MapPair], maps: list[np.ndarray]) -> list[MapPair]:
    return [pair._replace(map=one) for pair, one in zip(pairs, maps, strict=True)]


def test_the_boxes_themselves_are_perfect() -> None:
    found = score_maps(planted())
    mass = found.findings["mass"]
    assert mass.one_sided and (mass.pairs, mass.patients) == (60, 30)
    assert not found.findings["cardiomegaly"].one_sided
    assert found.findings["cardiomegaly"].scores["side"].own is None
    for metric in ("pointing", "iou", "share", "side"):
        one = mass.scores[metric]
        assert one.own and (one.own.value, one.own.low, one.own.high) == (1.0, 1.0, 1.0)
        assert all(above and above.positive for above in one.above.values())
    assert mass.scores["lift"].own and mass.scores["lift"].own.value == pytest.approx(64 / 6)
    assert found.one_sided == mass.scores
    # a heart of which everybody has the same is found by the usual place as well
    heart = found.findings["cardiomegaly"].scores["pointing"]
    assert heart.above["usual"] and heart.above["usual"].value == 0 and not heart.above["usual"].positive


def test_a_flat_map_scores_chance_and_is_above_nothing() -> None:
    pairs = planted()
    found = score_maps(with_maps(pairs, [np.full((GRID, GRID), 7)] * len(pairs)))
    mass = found.findings["mass"].scores
    chance = {"pointing": 6 / 64, "iou": (36 / 64) / (12 - 36 / 64), "share": 6 / 64, "lift": 1.0, "side": 0.5}
    for metric, wanted in chance.items():
        one = mass[metric]
        assert one.own and one.own.value == pytest.approx(wanted)
        for name in ("uniform", "other"):
            above = one.above[name]
            assert above and above.value == pytest.approx(0) and not above.positive
    nothing = score_maps(with_maps(pairs, [np.zeros((GRID, GRID))] * len(pairs)))
    assert nothing.findings["mass"].scores == mass


def test_a_location_prior_beats_chance_and_not_another_patients_map() -> None:
    """Masses that are mostly at one place: who always looks there points well, and knows nothing of an image."""
    generator = np.random.default_rng(1)
    usual, rare = np.array([[1, 4, 3, 7]]) / GRID, np.array([[5, 4, 7, 7]]) / GRID
    drawn = [usual if generator.random() < 0.7 else rare for _ in range(80)]
    mean = np.sum([cells(boxes) for boxes in drawn], 0)
    prior = score_maps([MapPair(f"i{n}", "mass", f"p{n}", mean, boxes) for n, boxes in enumerate(drawn)]).findings[
        "mass"
    ]
    seeing = score_maps([MapPair(f"i{n}", "mass", f"p{n}", cells(boxes), boxes) for n, boxes in enumerate(drawn)])
    for metric in ("pointing", "iou", "share", "lift", "side"):
        above = prior.scores[metric].above
        assert above["uniform"] and above["uniform"].positive, metric
        assert above["other"] and abs(above["other"].value) < 1e-12 and not above["other"].positive, metric
        own = seeing.findings["mass"].scores[metric].above["other"]
        assert own and own.positive and own.value > 0.3, metric
    # by hand: k of 80 are at the usual place; another's perfect map lies in the box where both are of one kind
    k = sum(boxes is usual for boxes in drawn)
    both = (k * (k - 1) + (80 - k) * (79 - k)) / (80 * 79)
    share = seeing.findings["mass"].scores["share"].opponents["other"]
    assert share and share.value == pytest.approx(both) and share.low < both < share.high


def test_mirrored_maps_are_on_the_wrong_side() -> None:
    pairs = planted()
    found = score_maps(with_maps(pairs, [pair.map[:, ::-1] for pair in pairs])).findings["mass"].scores
    assert found["side"].own and found["side"].own.high == 0
    assert found["side"].opponents["uniform"] and found["side"].opponents["uniform"].value == 0.5
    assert found["pointing"].own and found["pointing"].own.value == 0


def test_noise_is_above_nothing() -> None:
    pairs, generator = planted(), np.random.default_rng(3)
    found = score_maps(with_maps(pairs, [generator.random((GRID, GRID)) for _ in pairs])).mean
    for metric in METRICS:
        above = found[metric].above["other"]
        assert above and above.low < 0 < above.high, metric


def test_a_patient_is_no_other_and_tells_nothing_of_themselves() -> None:
    """Two images of one patient with one mass, and two patients with theirs elsewhere."""
    here, there = QUARTER, QUARTER + 0.5
    alike = [MapPair("i", "mass", "a", cells(here), here)] * 2 + [
        MapPair("i", "mass", n, cells(there), there) for n in "bc"
    ]
    share = score_maps(alike).findings["mass"].scores["share"]
    assert share.opponents["other"] and share.opponents["other"].value == pytest.approx((0 + 0 + 1 / 3 + 1 / 3) / 4)
    # a's usual place is where b and c have it; of b's, two images of a count against one of c
    assert share.opponents["usual"] and share.opponents["usual"].value == pytest.approx((0 + 0 + 1 / 3 + 1 / 3) / 4)
    alone = score_maps(alike[:2]).findings["mass"].scores["share"]
    assert alone.opponents["other"] is None and alone.above["other"] is None
    assert alone.opponents["usual"] and alone.opponents["usual"].value == 0.25  # nobody else: flat
    assert alone.own and alone.own.value == 1


def test_both_patients_are_drawn() -> None:
    """Counted draw by draw: every pair as often as its patient, with every other patient's map as often as theirs."""
    generator = np.random.default_rng(4)
    pairs = [
        MapPair(f"i{n}", "mass", f"p{n // 2}", generator.random((GRID, GRID)), QUARTER + 0.5 * (n % 2))
        for n in range(8)
    ]
    numbers = judge_findings(pairs)["mass"].numbers["share"]
    share = [[(cells(box) * map / map.sum()).sum() for *_, map, _ in pairs] for *_, box in pairs]
    for draw, weights in enumerate(draw_patients([pair.patient for pair in pairs])[:40]):
        own, other, held = 0.0, 0.0, 0.0
        for i, weight in enumerate(weights):
            rest = [(weights[j], share[i][j]) for j in range(8) if pairs[j].patient != pairs[i].patient]
            if sum(times for times, _ in rest) > 0:
                own += weight * share[i][i]
                other += weight * sum(times * one for times, one in rest) / sum(times for times, _ in rest)
                held += weight
        if held:
            assert numbers["other"][draw] == pytest.approx(other / held), draw
            assert numbers["above", "other"][draw] == pytest.approx((own - other) / held)
        else:
            assert np.isnan(numbers["other"][draw])


def test_the_hill_of_the_centre_is_in_the_middle() -> None:
    middle = np.array([[0.25, 0.25, 0.75, 0.75]])
    for boxes, wanted in ((middle, 1), (QUARTER, 0.25)):
        found = (
            score_maps([MapPair(f"i{n}", "heart", f"p{n}", cells(boxes), boxes) for n in range(3)])
            .findings["heart"]
            .scores
        )
        assert found["pointing"].opponents["centre"] and found["pointing"].opponents["centre"].value == wanted
        assert (found["share"].opponents["centre"].value > 0.25) == (wanted == 1)
    side = found["side"].opponents["centre"]
    assert side and side.value == 0.5


def test_scores_by_hand() -> None:
    maps = np.array([[4, 3, 3, 0], [1, 1, 0, 8]], np.float64)
    boxes = np.array([[True, False, True, False], [True, False, True, False]])  # the left half of 2 x 2
    found = score(maps, boxes)
    assert found["pointing"].tolist() == [1, 0]
    # two places: the 4, and half of each 3; shared 1 + 1 / 2, together 2 + 2 - 1.5. The 8, and half of each 1
    assert found["iou"] == pytest.approx([1.5 / 2.5, 0.5 / 3.5])
    assert found["share"] == pytest.approx([0.7, 0.1]) and found["lift"] == pytest.approx([1.4, 0.2])
    assert found["side"].tolist() == [1, 0]
    wide = np.array([[True, True, True, False]])
    assert np.isnan(score(maps[:1], wide)["side"]).all()  # two of three places are no side


def test_a_box_below_the_size_of_a_place_counts_as_one_wherever_it_lies() -> None:
    """Also where its middle is on the border of two places."""
    for middle in (0.125, 0.5, 1 / 3, 0.001, 0.9999):
        boxes = np.array([[middle - 0.0005, 0.4, middle + 0.0005, 0.401]]).clip(0, 1)
        found = score_maps([MapPair("i", "nodule", "a", np.ones((GRID, GRID)), boxes)]).findings["nodule"].scores
        assert found["share"].own and found["share"].own.value in (1 / 64, 2 / 64)


def test_findings_count_alike_in_the_mean() -> None:
    pairs = planted()
    found = score_maps([pair for n, pair in enumerate(pairs) if pair.finding == "mass" or n < 8])
    each = [one.scores["iou"].opponents["uniform"] for one in found.findings.values()]
    mean = found.mean["iou"].opponents["uniform"]
    assert mean and all(each) and mean.value == pytest.approx(np.mean([one.value for one in each if one]))
    assert set(found.mean) == set(METRICS) and set(found.mean["iou"].above) == set(OPPONENTS)
    assert found.mean["side"].own == found.findings["mass"].scores["side"].own  # the heart has none


def test_order_does_not_matter_and_nothing_is_refused() -> None:
    pairs = planted(20)
    there, back = score_maps(pairs), score_maps(pairs[::-1])
    for name, one in there.findings.items():
        assert one.scores["lift"].own == back.findings[name].scores["lift"].own
    with pytest.raises(ValueError, match="no map"):
        score_maps([])


def test_the_order_of_pairs_changes_nothing_however_many_there_are() -> None:
    """Of more than 200 maps of a finding some stand for all."""
    pairs = planted(260)
    noise = np.random.default_rng(2).random((len(pairs), GRID, GRID))
    pairs = with_maps(pairs, list(noise))
    shuffled = [pairs[number] for number in np.random.default_rng(3).permutation(len(pairs))]
    assert score_maps(pairs).as_dict() == score_maps(shuffled).as_dict()
