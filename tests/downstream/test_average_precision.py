"""Average precision against pycocotools, against cases counted by hand, and its draws against copied images."""

import builtins
import contextlib
import io
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from ecamp_fast.downstream.tasks.average_precision import OVERLAPS, Boxes, average_precision
from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.scores import draw_patients

faster = pytest.mark.skipif(not find_spec("faster_coco_eval"), reason="faster-coco-eval is not installed")
NONE = Boxes(np.zeros((0, 4)), np.zeros(0, np.int64))
NOTHING = Boxes(NONE.boxes, NONE.labels, np.zeros(0))
SQUARE = [10.0, 10.0, 20.0, 20.0]


def truth_of(*boxes: list[float], labels: list[int] | None = None) -> Boxes:
    return Boxes(np.array(boxes), np.array(labels or [0] * len(boxes)))


def found_of(*boxes: list[float], scores: list[float], labels: list[int] | None = None) -> Boxes:
    return Boxes(np.array(boxes), np.array(labels or [0] * len(boxes)), np.array(scores))


def random_images(seed: int, images: int = 60, classes: int = 3) -> tuple[list[Boxes], list[Boxes]]:
    """Detections around the truth and beside it; images without boxes, without detections, and without either."""
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for image in range(images):
        corner = rng.uniform(0, 150, (rng.integers(0, 5) if image % 5 else 0, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(8, 70, corner.shape)], 1).astype(np.float32)
        labels = rng.integers(0, classes, len(boxes))
        truth.append(Boxes(boxes, labels))
        repeats = rng.integers(0, 3, len(boxes)) if image % 7 else np.zeros(len(boxes), np.int64)
        near = np.repeat(boxes, repeats, 0) + rng.normal(0, 4, (repeats.sum(), 4))
        astray = rng.uniform(0, 100, (rng.integers(0, 4) if image % 7 else 0, 2))
        near = np.concatenate([near, np.concatenate([astray, astray + 30], 1)]).astype(np.float32)
        kinds = np.concatenate([np.repeat(labels, repeats), rng.integers(0, classes, len(astray))])
        found.append(Boxes(near, kinds, rng.uniform(size=len(near)).round(2)))  # with ties
    return found, truth


def by_pycocotools(found: list[Boxes], truth: list[Boxes], classes: int) -> np.ndarray:
    """(C,) average precision; -1: no box of that class."""
    coco = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")

    def dataset(images: list[Boxes]) -> Any:
        annotations: list[dict[str, Any]] = []
        for number, image in enumerate(images, 1):
            for index, box in enumerate(image.boxes.astype(np.float64).tolist()):
                x, y, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
                one: dict[str, Any] = {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(image.labels[index]) + 1,
                }
                one |= {"bbox": [x, y, width, height], "area": width * height, "iscrowd": 0}
                annotations.append(one | ({} if image.scores is None else {"score": float(image.scores[index])}))
        dataset_of = coco.COCO()
        dataset_of.dataset = {
            "images": [{"id": number} for number in range(1, len(images) + 1)],
            "categories": [{"id": number} for number in range(1, classes + 1)],
            "annotations": annotations,
        }
        dataset_of.createIndex()
        return dataset_of

    with contextlib.redirect_stdout(io.StringIO()):
        run = evaluation.COCOeval(dataset(truth), dataset(found), "bbox")
        run.params.iouThrs = np.array(OVERLAPS)
        run.evaluate()
        run.accumulate()
    return run.eval["precision"][:, :, :, 0, -1].mean((0, 1))


@faster
@pytest.mark.parametrize("seed", range(4))
def test_it_is_that_of_pycocotools(seed: int) -> None:
    found, truth = random_images(seed)
    ours = average_precision(found, truth, 4)[0]  # of the fourth class there is no box
    theirs = by_pycocotools(found, truth, 4)
    assert 0.1 < np.nanmean(ours) < 0.9
    assert np.isnan(ours[3])
    assert theirs[3] == -1
    assert np.abs(ours[:3] - theirs[:3]).max() < 1e-6
    assert np.nanmean(ours) == pytest.approx(theirs[:3].mean(), abs=1e-6)


@faster
def test_more_than_a_hundred_detections_do_not_count() -> None:
    many = found_of(*([[50.0, 50.0, 60.0, 60.0]] * 100), SQUARE, scores=[0.9] * 100 + [0.1])
    assert average_precision([many], [truth_of(SQUARE)], 1)[0, 0] == 0
    fewer = Boxes(many.boxes[1:], many.labels[1:], many.scores[1:] if many.scores is not None else None)
    assert average_precision([fewer], [truth_of(SQUARE)], 1)[0, 0] == pytest.approx(0.01)


@faster
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (found_of(SQUARE, scores=[0.3]), 1.0),
        (found_of([10.0, 10.0, 20.0, 15.6], scores=[0.3]), 0.5),  # overlap 0.56: 0.40 to 0.55, four of eight
        (found_of(SQUARE, [50.0, 50.0, 60.0, 60.0], scores=[0.3, 0.9]), 0.5),  # the surer one is wrong
        (found_of(SQUARE, SQUARE, scores=[0.9, 0.8]), 1.0),  # twice: the second comes after all is found
        (found_of(SQUARE, scores=[0.3], labels=[1]), 0.0),
        (NOTHING, 0.0),
    ],
)
def test_one_box(found: Boxes, expected: float) -> None:
    assert np.nanmean(average_precision([found], [truth_of(SQUARE)], 2)) == pytest.approx(expected)


@faster
def test_half_of_the_boxes_found_is_half_of_the_recalls() -> None:
    one = average_precision([found_of(SQUARE, scores=[1.0]), NOTHING], [truth_of(SQUARE)] * 2, 1)
    assert one[0, 0] == pytest.approx(51 / 101)  # recalls 0 to 0.50


@faster
def test_every_image_counts_unless_the_metric_is_mgcas() -> None:
    sure, less = found_of(SQUARE, scores=[0.9]), found_of(SQUARE, scores=[0.5])
    found, truth = [sure, less, NOTHING], [NONE, truth_of(SQUARE), truth_of(SQUARE)]
    assert average_precision(found, truth, 1)[0, 0] == pytest.approx(51 / 101 * 0.5)  # one astray, one missed
    assert average_precision(found, truth, 1, counted="mgca")[0, 0] == pytest.approx(1)


@faster
def test_without_any_box_there_is_no_score() -> None:
    nothing = average_precision([NOTHING, found_of(SQUARE, scores=[1.0])], [NONE, NONE], 2, weights=np.ones((3, 2)))
    assert nothing.shape == (4, 2)
    assert np.isnan(nothing).all()
    assert np.isnan(average_precision([NOTHING], [NONE], 2, weights=np.ones((3, 1)), counted="mgca")).all()


@faster
@pytest.mark.parametrize("counted", ["all", "mgca"])
def test_a_draw_is_the_score_of_so_many_copies(counted: Any) -> None:
    found, truth = random_images(11, images=20)
    weights = draw_patients([f"p{i // 2}" for i in range(20)], 4, seed=3)[1:]
    drawn = average_precision(found, truth, 3, weights=weights, counted=counted)
    for row, weight in enumerate(weights, 1):
        images = np.repeat(np.arange(20), weight.astype(int))
        alone = average_precision([found[i] for i in images], [truth[i] for i in images], 3, counted=counted)
        assert np.allclose(drawn[row], alone[0], atol=1e-12, equal_nan=True)
    assert np.array_equal(drawn[0], average_precision(found, truth, 3, counted=counted)[0])
    assert len(set(drawn.mean(1).round(6))) == 5


@faster
def test_boxes_are_measured_in_float64() -> None:
    """A box whose overlap is above 0.5 by less than float32 can tell."""
    narrow = Boxes(np.array([[0.0, 0.0, 10.0, 5.0 + 1e-8]]), np.array([0]), np.array([1.0]))
    assert average_precision([narrow], [truth_of([0.0, 0.0, 10.0, 10.0])], 1, overlaps=[0.5 + 5e-10])[0, 0] == 1


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="1 images with detections and 2"):
        average_precision([NOTHING], [NONE, NONE], 1)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("faster_coco_eval"):
            raise ImportError(name)
        return ordinary(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "faster_coco_eval", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(EnvironmentFault, match="faster-coco-eval") as raised:
        average_precision([NOTHING], [truth_of(SQUARE)], 1)
    assert "[detect]" in raised.value.hint
