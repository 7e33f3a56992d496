"""Mean average precision of boxes, by faster-coco-eval itself, with an interval over patients.

Every image counts: one without boxes can only hold false positives, one without detections only what was missed. The
metric of MGCA, which ECAMP reports (SPEC 2.4 row 24), leaves both out and so comes out higher; it is there to compare.
Boxes go in as float64: in float32 the score differs in the fourth place.

Legend: I images, C classes, T overlaps, R recalls, D resamples, n boxes of an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.extras import install_hint

OVERLAPS = tuple(round(0.4 + 0.05 * step, 2) for step in range(8))  # intersection over union, 0.40 to 0.75 (SPEC 7.3)
RECALLS = 101
LIMIT = 100  # detections of an image and class that count
Counted = Literal["all", "mgca"]
Array = np.ndarray


@dataclass(frozen=True)
class Boxes:
    """Boxes of one image.

    boxes   (n, 4)   x1, y1, x2, y2
    labels  (n,)     class, 0 to C - 1
    scores  (n,)     of detections, in their order; None: they are the truth
    """

    boxes: Array
    labels: Array
    scores: Array | None = None


def average_precision(
    found: Sequence[Boxes],
    truth: Sequence[Boxes],
    classes: int,
    *,
    weights: Array | None = None,
    counted: Counted = "all",
    overlaps: Sequence[float] = OVERLAPS,
) -> Array:
    """Average precision over ``overlaps`` and 101 recalls, of at most 100 detections an image and class.

    found    I detections, with scores   truth: I, without
    weights  (D, I) integers >= 0, how often each image counts in a draw (``scores.draw_patients``, its first row of
             ones left out); images are matched once, and only counted anew for each draw
    counted  "mgca": images without boxes or without detections are left out

    returns (1 + D, C) float64, means over overlaps and recalls; row 0 is of all images; NaN: no box of that class
    Raises EnvironmentFault where faster-coco-eval is not installed.
    """
    if len(found) != len(truth):
        raise ValueError(f"{len(found)} images with detections and {len(truth)} with boxes do not match")
    images = list(range(len(truth)))
    if counted == "mgca":
        images = [i for i in images if len(found[i].boxes) and len(truth[i].boxes)]
    found, truth = [found[i] for i in images], [truth[i] for i in images]
    resampled = np.empty((0, len(images))) if weights is None else weights[:, images]
    if not images:
        return np.full((1 + len(resampled), classes), np.nan)
    matched = _Matched(found, truth, classes, overlaps)
    rows = [np.arange(len(images)), *(np.repeat(np.arange(len(images)), draw.astype(np.int64)) for draw in resampled)]
    return np.stack([matched.precision(row) for row in rows])


class _Matched:
    """Detections matched with boxes, image by image, by faster-coco-eval."""

    def __init__(self, found: Sequence[Boxes], truth: Sequence[Boxes], classes: int, overlaps: Sequence[float]) -> None:
        coco, evaluation, self._core = _library()
        self._images, self._classes = len(truth), classes
        run = evaluation(
            coco(_dataset(truth, classes)), coco(_dataset(found, classes)), iouType="bbox", separate_eval=True
        )
        run.params.iouThrs, run.params.maxDets = np.asarray(overlaps, dtype=np.float64), [LIMIT]
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.evaluate()
        # One object for each class and image, class by class. They are the library's own, and its accumulation takes
        # them in any number: so a draw costs no new matching.
        self._parts, self._params = run._evalImgs_cpp, run._paramsEval

    def precision(self, images: Array) -> Array:
        """(C,) float64 over ``images``, which may repeat."""
        if not len(images):
            return np.full(self._classes, np.nan)
        parts = [self._parts[kind * self._images + image] for kind in range(self._classes) for image in images.tolist()]
        self._params.imgIds = list(range(1, len(images) + 1))
        table = np.asarray(self._core.COCOevalAccumulate(self._params, parts)["precision"])
        values = table.reshape(len(self._params.iouThrs), RECALLS, self._classes)
        return np.where((values < 0).any((0, 1)), np.nan, values.mean((0, 1)))


def _dataset(images: Sequence[Boxes], classes: int) -> dict[str, Any]:
    """Boxes in COCO's words. Numbers begin at 1: COCO's matching takes 0 for none."""
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        corners = np.asarray(image.boxes, dtype=np.float64).reshape(-1, 4)
        sides = corners[:, 2:] - corners[:, :2]
        for index, (corner, side) in enumerate(zip(corners[:, :2].tolist(), sides.tolist(), strict=True)):
            annotation: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": int(image.labels[index]) + 1,
            }
            annotation |= {"bbox": corner + side, "area": side[0] * side[1], "iscrowd": 0}
            if image.scores is not None:
                annotation["score"] = float(image.scores[index])
            annotations.append(annotation)
    return {
        "images": [{"id": number} for number in range(1, len(images) + 1)],
        "categories": [{"id": number, "name": str(number)} for number in range(1, classes + 1)],
        "annotations": annotations,
    }


def require_library() -> None:
    """Raises EnvironmentFault where faster-coco-eval is not installed: better before a fit than after it."""
    _library()


def _library() -> tuple[Any, Any, Any]:
    """COCO, COCOeval_faster and the compiled core."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster, faster_eval_api_cpp
    except ImportError:
        raise EnvironmentFault(
            "mean average precision needs faster-coco-eval, which is not installed",
            install_hint("detect"),
        ) from None
    return COCO, COCOeval_faster, faster_eval_api_cpp
