"""Detection on a trunk: boxes by the paper's YOLOv3 head, or by FCOS, from patch tokens (SPEC 7.3).

Unlike the released code this tests on the test split, counts every image, and takes the loss in float32 (SPEC 2.4 rows
23 and 24). Nothing is augmented, as there.

Legend: B images, N tokens, D width, C classes, I images of a split.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ecamp_fast.downstream.data.labels import require_once
from ecamp_fast.downstream.data.samples import TaskData
from ecamp_fast.downstream.data.token_cache import BoxBatch, BoxImages, BoxSource, TokenCache
from ecamp_fast.downstream.heads.detections import Detections
from ecamp_fast.downstream.heads.fcos import FcosDetector
from ecamp_fast.downstream.heads.yolo import YoloDetector
from ecamp_fast.downstream.result import TaskResult, finished, identify
from ecamp_fast.downstream.tasks.average_precision import Boxes, average_precision, require_library
from ecamp_fast.downstream.tasks.scoring import by_class, listed, mean_over_classes, overall
from ecamp_fast.downstream.tasks.splits import Subset, TaskPart, TaskSplits, split_task
from ecamp_fast.downstream.threads import SMALL, threads_for
from ecamp_fast.downstream.training.loop import fit, precision
from ecamp_fast.downstream.training.settings import Settings
from ecamp_fast.downstream.trunk import Trunk, open_trunk
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.printable import items
from ecamp_fast.scores import draw_patients
from ecamp_fast.shards.load.read import ShardSet

DETECT = "detect"
RESAMPLES = 200  # of patients, for the interval
EVALUATED_AT_ONCE = 128
CACHE_GIB = 16.0  # tokens of a frozen trunk are kept up to this
Head = Literal["yolo", "fcos"]
Detector = YoloDetector | FcosDetector


@dataclass(frozen=True)
class HeadOptions:
    """Which detector.

    name       yolo, the paper's, or fcos
    channels   of yolo's middle scale, of fcos's pyramid; None: 1024; 256, or 64 on a small trunk
    reduction  of yolo's bottlenecks; None: 8, and 4 for the whole training split (SPEC 7.3)
    mgca       yolo with the released conventions (``heads.yolo``)
    """

    name: Head = "yolo"
    channels: int | None = None
    reduction: int | None = None
    mgca: bool = False


@dataclass(frozen=True)
class DetectOptions:
    """What is fitted to what.

    names  findings whose boxes are wanted; (): all that have boxes in the training split
    size   pixels per side; None: the trunk's own
    """

    subset: Subset = field(default_factory=Subset)
    names: tuple[str, ...] = ()
    head: HeadOptions = field(default_factory=HeadOptions)
    size: int | None = None
    test_split: str | None = None


DEFAULTS = DetectOptions()


class DetectionModel(nn.Module):
    """Trunk and detector."""

    def __init__(self, trunk: Trunk, detector: Detector) -> None:
        super().__init__()
        self.trunk, self.detector = trunk, detector

    def tokens(self, inputs: Tensor) -> Tensor:
        """inputs: (B, 1, S, S) uint8 images, or tokens that are there already   returns (B, N, D)."""
        found: Tensor = self.trunk(inputs) if inputs.dtype == torch.uint8 else inputs.float()
        return found

    def loss(self, batch: BoxBatch) -> Tensor:
        """returns () float32."""
        return self.detector.loss(self.tokens(batch.inputs), batch.boxes, batch.labels)

    def detect(self, inputs: Tensor) -> list[Detections]:
        """Boxes of each image; as ``tokens``."""
        return self.detector.detect(self.tokens(inputs))


def build_head(options: HeadOptions, trunk: Trunk, classes: int, whole: bool) -> Detector:
    """whole: it is fitted to the whole training split.  Raises ConfigError where the options do not fit each other."""
    sizes = (trunk.width, trunk.grid, trunk.size, classes)
    if options.name == "yolo":
        reduction = options.reduction or (4 if whole else 8)
        channels = options.channels or 1024
        if channels % (8 * reduction):
            raise ConfigError(f"{channels} channels", f"name a multiple of {8 * reduction}")
        return YoloDetector(*sizes, channels=channels, reduction=reduction, mgca=options.mgca)
    if options.reduction or options.mgca:
        raise ConfigError("--reduction and --mgca are of the head yolo", "leave them out, or pass --head yolo")
    channels = options.channels or (64 if trunk.width <= SMALL else 256)
    if channels % 32:
        raise ConfigError(f"{channels} channels", "name a multiple of 32")
    return FcosDetector(*sizes, channels=channels)


@dataclass(frozen=True)
class DetectionScores:
    """Average precision, 0 to 1.

    resampled  (1 + D, C): of all images, then of each draw of patients; NaN: no box of that class
    mgca   mean over classes by MGCA's count, which leaves out images without boxes or detections; None: no image left
    """

    names: list[str]
    resampled: np.ndarray
    mgca: float | None


class DetectTask:
    """``training.loop.FitTask`` of a detector."""

    metric = "mAP"

    def __init__(
        self, model: DetectionModel, shards: ShardSet, splits: TaskSplits, names: Sequence[str], settings: Settings
    ) -> None:
        self.model: nn.Module = model
        self._model, self._shards, self._splits = model, shards, splits
        self._settings, self._names = settings, list(names)
        train, val = self._data(splits.train), self._data(splits.val)
        self.steps_per_epoch = train.steps_per_epoch(settings.batch)
        dtype = torch.float32 if settings.precision == "fp32" else torch.bfloat16
        self.cached = settings.frozen and TokenCache.gib(model.trunk, len(train) + len(val), dtype) <= CACHE_GIB
        self._train, self._val = (self._source(data, dtype) for data in (train, val))

    def _data(self, part: TaskPart) -> TaskData:
        device = next(self._model.parameters()).device
        size, seed = self._model.trunk.size, self._settings.seed
        return TaskData(
            self._shards, part.split, part.labels, part.rows, size=size, boxes=self._names, device=device, seed=seed
        )

    def _source(self, data: TaskData, dtype: torch.dtype) -> BoxSource:
        return TokenCache(self._model.trunk, data, dtype) if self.cached else BoxImages(data)

    def batches(self, start: int, stop: int) -> Iterator[BoxBatch]:
        parts = self._settings.accumulation
        return self._train.training(self._settings.batch // parts, start * parts, stop * parts)

    def loss(self, batch: BoxBatch) -> Tensor:
        return self._model.loss(batch)

    def validate(self) -> float:
        """Mean average precision on the validation split."""
        found, truth = self._detections(self._val)
        return _mean(average_precision(found, truth, len(self._names))[0])

    def test(self, resamples: int = RESAMPLES) -> DetectionScores:
        """On the test split."""
        data = self._data(self._splits.test)
        found, truth = self._detections(BoxImages(data))
        weights = draw_patients(data.patients, resamples)[1:]
        resampled = average_precision(found, truth, len(self._names), weights=weights)
        mgca = _mean(average_precision(found, truth, len(self._names), counted="mgca")[0])
        return DetectionScores(self._names, resampled, None if np.isnan(mgca) else mgca)

    @torch.no_grad()
    def _detections(self, source: BoxSource) -> tuple[list[Boxes], list[Boxes]]:
        """Found and true boxes of every image."""
        found: list[Boxes] = []
        truth: list[Boxes] = []
        for batch in source.ordered(EVALUATED_AT_ONCE):
            found += [_found(one.cpu()) for one in self._model.detect(batch.inputs)]
            pairs = zip(batch.boxes, batch.labels, strict=True)
            truth += [Boxes(boxes.cpu().numpy(), labels.cpu().numpy()) for boxes, labels in pairs]
        return found, truth


def _mean(values: np.ndarray) -> float:
    """Over the classes that there are boxes of; NaN where there are none at all.  values: (C,)"""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _found(one: Detections) -> Boxes:
    return Boxes(one.boxes.numpy(), one.labels.numpy(), one.scores.numpy())


def detect(
    encoder: str,
    shards: ShardSet,
    settings: Settings,
    out: Path,
    options: DetectOptions = DEFAULTS,
    *,
    resume: str = "auto",
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> TaskResult:
    """Fit a detector on ``encoder`` and judge it on the test split; OUT/result.json and checkpoints.

    A finished one is read, not repeated. Raises what ``open_trunk``, ``split_task`` and ``fit`` raise; DataError where
    the training split has no boxes, EnvironmentFault where faster-coco-eval is missing.
    """
    identity = identify(DETECT, encoder, options, settings)
    if found := finished(out, resume, identity, shards.manifest.digest):
        return found
    require_library()
    trunk = open_trunk(encoder, size=options.size, drop_path=settings.drop_path, device=device)
    splits = split_task(shards, options.subset, test_split=options.test_split)
    names = box_names(shards, splits, options.names)
    require_boxes(shards, splits, names)
    say(splits.told())
    whole = options.subset.percent == 100 and not options.subset.count
    torch.manual_seed(settings.seed)
    head = build_head(options.head, trunk, len(names), whole).to(device)
    trunk.prepare(settings.frozen, settings.compile)
    model = DetectionModel(trunk, head)
    with threads_for(trunk.width, torch.device(device)):
        task = DetectTask(model, shards, splits, names, settings)
        kept = f"tokens of {len(splits.train)} and {len(splits.val)} images are kept"
        say(kept if task.cached else "trunk runs along")
        fitted = fit(task, settings, out, identity, shards.manifest.digest, resume=resume, say=say)
        with precision(model, settings):
            scores = task.test()
    extra = {
        "identity": identity,
        **fitted.as_facts(),
        "head": options.head.name,
        "weights": sum(one.numel() for one in head.parameters()),
    }
    result = _result(scores, splits, settings, options, encoder, shards.manifest.digest, extra)
    result.write(out)
    return result


def _result(
    scores: DetectionScores,
    splits: TaskSplits,
    settings: Settings,
    options: DetectOptions,
    encoder: str,
    data: str,
    extra: dict[str, Any],
) -> TaskResult:
    found = mean_over_classes(scores.resampled)
    return TaskResult(
        task=DETECT,
        metric="map",
        score=found.value,
        low=found.low,
        high=found.high,
        per_class=by_class(scores.resampled[0], scores.names),
        settings=settings.model_dump(mode="json"),
        data=data,
        encoder=encoder,
        fraction=splits.percent,
        seed=settings.seed,
        samples=splits.counts(),
        extra={**extra, "map_mgca": scores.mgca, "resampled": listed(overall(scores.resampled))},
    )


def box_names(shards: ShardSet, splits: TaskSplits, wanted: Sequence[str] = ()) -> list[str]:
    """The findings that have boxes in the training split, or those that are wanted.

    All of the split counts, so that every subset has the same classes. Raises DataError where there is none,
    ConfigError where one is named twice.
    """
    require_once(wanted, "a class")
    split = splits.train.split
    boxes = (shards.metadata(split, index).get("boxes", ()) for index in range(shards.count(split)))
    known = sorted({str(box["finding"]) for some in boxes for box in some if box.get("finding")})
    if not known:
        raise DataError(
            f"{shards.path}: no sample of the split {split} has boxes", "use a set that was built with boxes"
        )
    if absent := [name for name in wanted if name not in known]:
        raise DataError(f"{shards.path} has no boxes of {items(absent)}", f"it has {items(known)}")
    return list(wanted) or known


def require_boxes(shards: ShardSet, splits: TaskSplits, names: Sequence[str]) -> None:
    """Raises DataError where no image that is fitted to, or validated or judged on, has a box of these findings."""
    for use, part in (("fitted to", splits.train), ("validated on", splits.val), ("judged on", splits.test)):
        boxes = (box for row in part.rows for box in shards.metadata(part.split, int(row)).get("boxes", ()))
        if not any(box.get("finding") in names for box in boxes):
            raise DataError(f"none of the {len(part)} images that are {use} has a box", "use more images")
