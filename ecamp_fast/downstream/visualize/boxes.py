"""Boxes of findings as the model's view has them: the centred square of the image, its sides from 0 to 1."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ecamp_fast.shards.format.labels import PRESENT, UNCERTAIN
from ecamp_fast.shards.load.crop import whole_boxes


def boxes_in_view(about: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The boxes of a sample by finding, cut at the edges of the view; one that lies beyond them is left out.

    about: its metadata   returns (n, 4) float64 each: x1, y1, x2, y2
    """
    (view,) = whole_boxes(np.array([about["height"]]), np.array([about["width"]]))
    top, left, side, _ = view.tolist()
    found: dict[str, list[list[float]]] = {}
    for box in about.get("boxes", ()):
        x, y = (box["x"] - left) / side, (box["y"] - top) / side
        corners = np.clip([x, y, x + box["width"] / side, y + box["height"] / side], 0, 1)
        if corners[2] > corners[0] and corners[3] > corners[1]:
            found.setdefault(str(box["finding"]), []).append(corners.tolist())
    return {finding: np.array(rows) for finding, rows in found.items()}


def places(grid: int) -> np.ndarray:
    """The centres of the places of a map, row by row.  returns (grid * grid, 2) float64: x, y, 0 to 1"""
    centres = (np.arange(grid) + 0.5) / grid
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], 1)


def at_least(boxes: np.ndarray, side: float) -> np.ndarray:
    """Boxes grown about their centres to ``side``, where they are smaller: so that each holds the centre of a place.

    Otherwise no map of places that are ``side`` wide could ever point at a small one.
    boxes: (n, 4)   returns (n, 4)
    """
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    half = np.maximum(half, side / 2)
    return np.concatenate([centre - half, centre + half], 1)


def findings_stated(about: Mapping[str, Any]) -> set[str]:
    """What a sample has, or may have, by its labels and its boxes; empty: healthy, as far as the set knows."""
    known = {name for name, value in about["labels"].items() if value in (PRESENT, UNCERTAIN)}
    return {name for name in known if name.casefold() != "no finding"} | {
        str(box["finding"]) for box in about.get("boxes", ())
    }
