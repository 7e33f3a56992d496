"""The two claims of the paper's figure as numbers: maps point at findings, and they are sharper where there is one.

Legend: N images, P places of a map, E pairs of an image and a finding that it has boxes of, D draws of patients.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ecamp_fast.downstream.visualize.boxes import at_least, places
from ecamp_fast.scores import Array, Estimate, auroc, draw_patients, estimate, inside, pointing_game, weighted_mean

CHANCE, CENTRE, PRIOR = "blind guess", "centre of the image", "where the finding usually is"
RANDOM = "random weights"


@dataclass(frozen=True)
class Pair:
    """An image, and a finding that it has boxes of.

    image    number of the image
    finding  its name
    boxes    (n, 4) as of ``boxes_in_view``
    """

    image: int
    finding: str
    boxes: Array


@dataclass(frozen=True)
class Pointing:
    """How often the peak of a map lies in a box of the finding, as estimates over patients.

    hit         share of pairs of image and finding
    opponents   by name, of what learned nothing: the share of the image that the boxes cover, its centre, where the
                finding is most often in the images of other patients, and maps of models with random weights
    above       by name: hit - opponent, pair by pair
    by_finding  hit and pairs of each finding
    pairs       how many there are
    """

    hit: Estimate
    opponents: dict[str, Estimate]
    above: dict[str, Estimate]
    by_finding: dict[str, dict[str, float]]
    pairs: int

    @property
    def holds(self) -> bool:
        """Whether maps surely point better than each opponent but the usual place."""
        return all(one.positive for name, one in self.above.items() if name != PRIOR)

    @property
    def beyond_prior(self) -> bool:
        """Whether they surely point better than the usual place: otherwise they need not know this image."""
        return self.above[PRIOR].positive

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"holds": self.holds, "beyond_prior": self.beyond_prior}


@dataclass(frozen=True)
class Peaks:
    """Whether the peak of a finding's map is higher in images that have it than in healthy ones.

    auroc       the chance of it, mean over findings; 0.5: peaks say nothing
    random      the same of models with random weights: what is odd about an image sharpens their maps too
    above       auroc - random, image by image
    ill         mean peak in images with the finding, as a multiple of a flat map
    healthy     the same in healthy images
    by_finding  AUROC of each finding
    """

    auroc: Estimate
    random: Estimate
    above: Estimate
    ill: float
    healthy: float
    by_finding: dict[str, float]

    @property
    def holds(self) -> bool:
        """Whether they are surely higher, and surely more so than without any training."""
        return self.auroc.low > 0.5 and self.above.positive

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"holds": self.holds}


def point(pairs: Sequence[Pair], maps: Array, patients: Sequence[str], random: Sequence[Array] = ()) -> Pointing:
    """Play the pointing game.

    pairs     E of them
    maps      (E, P) floating, P a square: of each pair
    patients  N names, of the images
    random    maps likewise, of models with random weights, whose mean counts
    Boxes that are smaller than a place of the map count as large as one.
    Raises ValueError without pairs.
    """
    if not pairs:
        raise ValueError("no image has a box")
    points = places(grid := int(maps.shape[1] ** 0.5))
    boxes = [at_least(pair.boxes, 1 / grid) for pair in pairs]
    covered = np.array([inside(points, mine) for mine in boxes])
    middle = np.array([inside(np.array([[0.5, 0.5]]), mine)[0] for mine in boxes], np.float64)
    usual = pointing_game(_usual(pairs, covered, patients), points, boxes)
    hit = pointing_game(maps, points, boxes)
    opponents = {CHANCE: covered.mean(1), CENTRE: middle, PRIOR: usual}
    if random:
        opponents[RANDOM] = np.mean([pointing_game(one, points, boxes) for one in random], axis=0)
    weights = draw_patients(patients)[:, [pair.image for pair in pairs]]
    names = np.array([pair.finding for pair in pairs])
    return Pointing(
        hit=estimate(weighted_mean(hit, weights)),
        opponents={name: estimate(weighted_mean(values, weights)) for name, values in opponents.items()},
        above={name: estimate(weighted_mean(hit - values, weights)) for name, values in opponents.items()},
        by_finding={
            str(name): {"hit": float(hit[names == name].mean()), "pairs": int((names == name).sum())}
            for name in np.unique(names)
        },
        pairs=len(pairs),
    )


def compare_peaks(
    peaks: Array, random: Sequence[Array], ill: Array, healthy: Array, findings: Sequence[str], patients: Sequence[str]
) -> Peaks:
    """Compare the peaks of images with a finding and of healthy ones, finding by finding.

    peaks     (N, F) floating   highest value of the map of each finding, times the places of the map
    random    the same of models with random weights, at least one, whose mean AUROC counts
    ill       (N, F) bool
    healthy   (N,) bool
    findings  F names
    patients  N names
    Raises ValueError where no finding has images of both kinds.
    """
    weights = draw_patients(patients)
    own = _told_apart(peaks, ill, healthy, weights)
    known = ~np.isnan(own[0])
    if not known.any():
        raise ValueError("no finding has both ill and healthy images")
    mean = _mean(own[:, known])
    others = [_mean(_told_apart(one, ill, healthy, weights)[:, known]) for one in random]
    other = np.mean(others, axis=0)
    return Peaks(
        auroc=estimate(mean),
        random=estimate(other),
        above=estimate(mean - other),
        ill=float(peaks[ill].mean()),
        healthy=float(peaks[healthy].mean()),
        by_finding={name: float(own[0, n]) for n, name in enumerate(findings) if known[n]},
    )


def _mean(values: Array) -> Array:
    """``np.nanmean`` of each row, without its warning where a draw of patients leaves a row without any number."""
    counts = (~np.isnan(values)).sum(1)
    return np.where(counts, np.nansum(values, 1) / np.maximum(counts, 1), np.nan)


def _told_apart(peaks: Array, ill: Array, healthy: Array, weights: Array) -> Array:
    """AUROC of peaks, ill against healthy.  weights: (D, N)   returns (D, F), NaN where a kind is missing"""
    columns = []
    for column in range(peaks.shape[1]):
        seen = ill[:, column] | healthy
        if not seen.any():
            columns.append(np.full(len(weights), np.nan))
            continue
        columns.append(auroc(peaks[seen, column : column + 1], ill[seen, column : column + 1], weights[:, seen])[:, 0])
    return np.stack(columns, 1)


def _usual(pairs: Sequence[Pair], covered: Array, patients: Sequence[str]) -> Array:
    """Mean mask of each pair's finding in the images of all other patients; flat where nobody else has it. (E, P)"""
    owners = np.array([patients[pair.image] for pair in pairs])
    names = np.array([pair.finding for pair in pairs])
    maps = np.zeros(covered.shape)
    for number in range(len(pairs)):
        others = (names == names[number]) & (owners != owners[number])
        maps[number] = covered[others].sum(0)
    return maps
