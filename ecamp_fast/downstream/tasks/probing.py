"""Linear probes of frozen features beside what they must beat: the same encoder untrained, and plain pixels."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ecamp_fast import scores
from ecamp_fast.downstream.data.samples import TaskData
from ecamp_fast.downstream.probe import tuned
from ecamp_fast.downstream.result import TaskResult
from ecamp_fast.downstream.tasks.scoring import by_class, class_areas, listed, mean_over_classes, overall
from ecamp_fast.downstream.tasks.splits import Subset, TaskPart, TaskSplits, require_kinds, split_task
from ecamp_fast.downstream.threads import one_thread, threads_for
from ecamp_fast.downstream.trunk import UNTRAINED, Trunk, open_trunk
from ecamp_fast.shards.load.read import ShardSet

AT_ONCE = 256  # images through the trunk
PIXELS = 16  # a side, of plain pixels
PCA_SIDE = 64  # pixels a side that principal components are taken of
TOO_FEW = 1e-5  # share of the largest deviation below which a component is rounding

Array = np.ndarray


@dataclass(frozen=True)
class ProbeOptions:
    """What is probed on what.

    names      classes; (): those of the set
    pooling    a mean for each of pooling x pooling parts of the image, so that place is kept; 1: one mean
    uncertain  class -> what an uncertain label counts as
    size       pixels per side; None: the trunk's own
    baselines  whether raw pixels stand beside it, and untrained weights where the encoder is one of ours
    """

    subset: Subset = field(default_factory=Subset)
    names: tuple[str, ...] = ()
    pooling: int = 1
    uncertain: tuple[tuple[str, int], ...] = ()
    size: int | None = None
    test_split: str | None = None
    baselines: bool = True


DEFAULTS = ProbeOptions()


@dataclass(frozen=True)
class ProbeAreas:
    """AUROC of one set of features.  resampled: (1 + D, F), of all test samples, then of each draw"""

    name: str
    resampled: Array

    def against(self, other: "ProbeAreas") -> dict[str, float]:
        """By how much this is better than another, paired over resampled patients."""
        known = ~np.isnan(self.resampled[0])
        gap = scores.row_means(self.resampled[:, known]) - scores.row_means(other.resampled[:, known])
        return scores.estimate(gap).as_dict()


def probe_encoder(
    encoder: str,
    shards: ShardSet,
    out: Path,
    options: ProbeOptions = DEFAULTS,
    *,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> TaskResult:
    """Fit a logistic regression to the features of the training samples, judge it on the test split: OUT/result.json.

    The trunk is in evaluation mode and sees every image once; the ridge strength is chosen among training patients.
    """
    trunk = open_trunk(encoder, size=options.size, device=device)
    splits = split_task(shards, options.subset, options.names, dict(options.uncertain), options.test_split)
    require_kinds(splits.train, "fitted to")
    require_kinds(splits.test, "judged on")
    judge = _Judge(splits, options.subset.seed)
    say(splits.told())
    say(f"features of {len(splits.train) + len(splits.test):,} images, each once through the encoder; val is not used")
    parts = [_images(shards, part, trunk, device) for part in (splits.train, splits.test)]
    own = judge.rows("encoder", *(_features(trunk, part, options.pooling) for part in parts))
    others = []
    if options.baselines:
        if base := untrained_source(encoder):
            plain = open_trunk(base, size=options.size, device=device)
            others.append(judge.rows("untrained", *(_features(plain, part, options.pooling) for part in parts)))
        others += pixel_rows(judge, shards, splits, trunk, options.pooling, device)
    found = mean_over_classes(own.resampled)
    result = TaskResult(
        task="probe",
        metric="auroc",
        score=found.value,
        low=found.low,
        high=found.high,
        per_class=by_class(own.resampled[0], splits.train.labels.names),
        settings={"pooling": options.pooling, "size": trunk.size},
        data=shards.manifest.digest,
        encoder=encoder,
        fraction=splits.percent,
        seed=options.subset.seed,
        samples=splits.counts(),
        extra={
            "resampled": listed(overall(own.resampled)),
            "baselines": {one.name: mean_over_classes(one.resampled).as_dict() for one in others},
            "differences": {one.name: own.against(one) for one in others},
        },
    )
    result.write(out)
    return result


def probe_pixels(
    components: int,
    shards: ShardSet,
    out: Path,
    options: ProbeOptions = DEFAULTS,
    *,
    device: torch.device | str = "cpu",
) -> TaskResult:
    """The same of plain pixels, which need no encoder: 16 x 16 of them, or principal components of the image.

    components: how many; 0: the pixels themselves   options: pooling, size and baselines mean nothing here
    """
    splits = split_task(shards, options.subset, options.names, dict(options.uncertain), options.test_split)
    require_kinds(splits.train, "fitted to")
    require_kinds(splits.test, "judged on")
    train, test = (_small(shards, part, PCA_SIDE, device) for part in (splits.train, splits.test))
    parts = _principal(train.flatten(1), test.flatten(1), components) if components else _shrunk(train, test)
    own = _Judge(splits, options.subset.seed).rows("pixels", *parts)
    found = mean_over_classes(own.resampled)
    result = TaskResult(
        task="pixels",
        metric="auroc",
        score=found.value,
        low=found.low,
        high=found.high,
        per_class=by_class(own.resampled[0], splits.train.labels.names),
        settings={"components": components},
        data=shards.manifest.digest,
        encoder="pixels",
        fraction=splits.percent,
        seed=options.subset.seed,
        samples=splits.counts(),
        extra={"resampled": listed(overall(own.resampled))},
    )
    result.write(out)
    return result


class _Judge:
    """Fits and scores features on one division of a set, always on the same resampled patients."""

    def __init__(self, splits: TaskSplits, seed: int) -> None:
        self._splits, self._seed = splits, seed
        self._weights = scores.draw_patients(splits.test.patients)

    def rows(self, name: str, train: Tensor, test: Tensor) -> ProbeAreas:
        """train: (N, D)   test: (M, D)"""
        values = torch.from_numpy(self._splits.train.values)
        known = ~values.isnan()
        with one_thread():
            logits = tuned(
                train, values > 0.5, self._splits.train.patients, self._seed, test, None if known.all() else known
            )
        return ProbeAreas(name, class_areas(logits.numpy(), self._splits.test.values, self._weights))


def pixel_rows(
    judge: _Judge, shards: ShardSet, splits: TaskSplits, trunk: Trunk, pooling: int, device: torch.device | str
) -> list[ProbeAreas]:
    """16 x 16 pixels, and as many principal components of the image as the encoder has numbers."""
    train, test = (_small(shards, part, PCA_SIDE, device) for part in (splits.train, splits.test))
    components = _principal(train.flatten(1), test.flatten(1), trunk.width * pooling**2)
    return [judge.rows(f"pixels {PIXELS}x{PIXELS}", *_shrunk(train, test)), judge.rows("pixels PCA", *components)]


def _shrunk(*parts: Tensor) -> list[Tensor]:
    """(N, 256) of each (N, side, side)."""
    return [interpolate(part[:, None], (PIXELS, PIXELS), mode="area").flatten(1) for part in parts]


def _principal(train: Tensor, test: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first ``count`` principal components of the training rows, or as many as there are; of both."""
    mean = train.mean(0)
    rows = (train - mean).double()
    is_wide = rows.shape[1] > len(rows)
    # ascending; the smaller of both matrices: a set of 78,000 images would take minutes otherwise
    variance, directions = torch.linalg.eigh(rows @ rows.T if is_wide else rows.T @ rows)
    count = min(count, int((variance > TOO_FEW**2 * variance[-1]).sum()))
    basis = directions[:, -count:].flip(1)
    if is_wide:
        basis = rows.T @ basis / variance[-count:].flip(0).sqrt()
    return (rows @ basis).float(), ((test - mean).double() @ basis).float()


def _images(shards: ShardSet, part: TaskPart, trunk: Trunk, device: torch.device | str) -> TaskData:
    return TaskData(shards, part.split, part.labels, part.rows, size=trunk.size, device=device)


def _small(shards: ShardSet, part: TaskPart, side: int, device: torch.device | str) -> Tensor:
    """(N, side, side) float32 in 0..1."""
    data = TaskData(shards, part.split, part.labels, part.rows, size=side, device=device)
    return torch.cat([batch.images[:, 0].cpu() for batch in data.ordered(AT_ONCE)]).float() / 255


@torch.inference_mode()
def _features(trunk: Trunk, data: TaskData, pooling: int) -> Tensor:
    """(N, pooling * pooling * D) float32, on the host."""
    with threads_for(trunk.width, data.device):
        return torch.cat([trunk.features(batch.images, pooling).float().cpu() for batch in data.ordered(AT_ONCE)])


def untrained_source(encoder: str) -> str | None:
    """Its opponent: our encoder's own recipe with first weights."""
    is_ours = not encoder.startswith(UNTRAINED) and (Path(encoder) / "recipe.yaml").exists()
    return f"{UNTRAINED}{encoder}" if is_ours else None
