"""The linear patch probe: does this patch hold the finding? Asked of each frozen token alone, which measures features.

A decoder can draw a mask from tokens that merely keep the pixels; a logistic regression on single tokens cannot. Where
in the image a patch lies says much as well, and is no merit of an encoder: from the features of each position their
mean over the training images is taken away.

Legend: n images, G cells a side, D numbers of a patch, R patches that are drawn, F findings.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, pixel_unshuffle

from ecamp_fast import scores
from ecamp_fast.downstream.data.labels import require_once
from ecamp_fast.downstream.data.samples import TaskBatch, TaskData
from ecamp_fast.downstream.probe import tuned
from ecamp_fast.downstream.result import TaskResult
from ecamp_fast.downstream.tasks.probing import DEFAULTS, ProbeAreas, ProbeOptions, untrained_source
from ecamp_fast.downstream.tasks.scoring import by_class, listed, mean_over_classes, overall
from ecamp_fast.downstream.tasks.splits import TaskPart, TaskSplits, split_task
from ecamp_fast.downstream.threads import one_thread, threads_for
from ecamp_fast.downstream.trunk import Trunk, open_trunk
from ecamp_fast.errors import DataError
from ecamp_fast.keyed_random import Stream, sample_keys, uniform
from ecamp_fast.shards.load.read import ShardSet

PLACE, OWN_PIXELS = "place", "pixels of the patch"  # what a token stands beside
HOLDS = 0.25  # share of a patch that a mask covers, from which on the patch holds the finding
PATCHES = 100_000  # of a split at most, drawn by a key
AT_ONCE = 64  # images through the trunk

Array = np.ndarray
Features = Callable[[Tensor], Tensor]  # (B, 1, S, S) uint8 to (B, G*G, D)


@dataclass(frozen=True)
class _Patches:
    """Patches of a split.

    features   (R, D) float32   positions  (R,) int64, 0 to G*G - 1
    holds      (R, F) bool      owners     (R,) int64, place of the image in the split's rows
    means      (G*G, D) float32, of the features at each position over all images
    """

    features: Tensor
    positions: Tensor
    holds: Tensor
    owners: Array
    means: Tensor


def probe_patches(
    encoder: str,
    shards: ShardSet,
    out: Path,
    options: ProbeOptions = DEFAULTS,
    *,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> TaskResult:
    """Fit "does this patch hold the finding" to training images, judge it on the test split: OUT/result.json.

    Beside it stand untrained weights, where the encoder is one of ours, and the patch's own pixels. ``extra["place"]``
    is what knowing the position alone scores, by the share of training patches there that hold the finding.

    options: ``names`` are masks, (): all of the set; ``pooling`` and ``uncertain`` mean nothing here
    Raises ConfigError where a mask is named twice, DataError where the set has none or no finding is there to be told.
    """
    setup = _Setup.of(encoder, shards, options, device)
    say(setup.splits.told())
    say(f"patches of {sum(map(len, setup.parts)):,} images, each once through the encoder; val is not used")
    train, test = setup.read(setup.trunk)
    own, others = setup.judge.rows("encoder", train, test), []
    if options.baselines:
        if base := untrained_source(encoder):
            untrained = setup.read(open_trunk(base, size=options.size, device=device))
            others.append(setup.judge.rows("untrained", *untrained))
        others.append(setup.judge.rows(OWN_PIXELS, *setup.read(setup.own_pixels)))
    result = _result(encoder, shards, options, setup, own.resampled)
    place = setup.judge.place(train, test)
    result.extra.update(
        baselines={one.name: mean_over_classes(one.resampled).as_dict() for one in others},
        differences={one.name: own.against(one) for one in others},
        place=mean_over_classes(place).as_dict(),
        patches={"train": len(train.owners), "test": len(test.owners)},
        held=dict(zip(setup.names, test.holds.sum(0).tolist(), strict=True)),
    )
    result.write(out)
    return result


def score_patches(
    row: str,
    encoder: str,
    shards: ShardSet,
    out: Path,
    options: ProbeOptions = DEFAULTS,
    *,
    device: torch.device | str = "cpu",
) -> TaskResult:
    """The same patches by their own pixels, or by their position alone: OUT/result.json.

    row: ``OWN_PIXELS`` or ``PLACE``   encoder: whose patches these are; it is asked nothing
    Raises as ``probe_patches``.
    """
    setup = _Setup.of(encoder, shards, options, device)
    train, test = setup.read(setup.own_pixels)
    areas = setup.judge.place(train, test) if row == PLACE else setup.judge.rows(row, train, test).resampled
    result = _result(encoder, shards, options, setup, areas)
    result.write(out)
    return result


@dataclass(frozen=True)
class _Setup:
    """What is asked of which patches."""

    names: tuple[str, ...]
    trunk: Trunk
    splits: TaskSplits
    judge: "_Judge"
    parts: tuple[TaskData, TaskData]
    seed: int

    @classmethod
    def of(cls, encoder: str, shards: ShardSet, options: ProbeOptions, device: torch.device | str) -> "_Setup":
        require_once(options.names, "a mask")
        names = options.names or shards.manifest.masks
        if not names:
            raise DataError(f"{shards.path} has no masks", "take a set that has some")
        trunk = open_trunk(encoder, size=options.size, device=device)
        splits = split_task(shards, options.subset, test_split=options.test_split, masked=True)
        train, test = (_data(shards, part, names, trunk.size, device) for part in (splits.train, splits.test))
        return cls(names, trunk, splits, _Judge(splits, options.subset.seed), (train, test), options.subset.seed)

    def read(self, features: Features) -> tuple[_Patches, _Patches]:
        """Of the training and of the test split.  Raises DataError where no finding is there to be told."""
        trunk = self.trunk
        with torch.inference_mode(), threads_for(trunk.width, self.parts[0].device):
            train, test = (_read(part, features, trunk.grid, self.seed) for part in self.parts)
        if not any(column.any() and not column.all() for column in train.holds.T):
            raise DataError("no training patch holds a finding", "use a larger fraction")
        return train, test

    def own_pixels(self, images: Tensor) -> Tensor:
        return pixels_of(images, self.trunk.grid)


def _result(encoder: str, shards: ShardSet, options: ProbeOptions, setup: _Setup, areas: Array) -> TaskResult:
    """areas: (1 + D, F)"""
    found, trunk = mean_over_classes(areas), setup.trunk
    return TaskResult(
        task="patches",
        metric="auroc",
        score=found.value,
        low=found.low,
        high=found.high,
        per_class=by_class(areas[0], setup.names),
        settings={"size": trunk.size, "grid": trunk.grid, "holds": HOLDS},
        data=shards.manifest.digest,
        encoder=encoder,
        fraction=setup.splits.percent,
        seed=options.subset.seed,
        samples=setup.splits.counts(),
        extra={"resampled": listed(overall(areas))},
    )


def pixels_of(images: Tensor, grid: int) -> Tensor:
    """The pixels of each patch, row by row.  images: (B, 1, S, S) uint8   returns (B, G*G, P*P), P = S / G rounded."""
    side = max(1, round(images.shape[-1] / grid))
    squares = images.float() / 255
    if images.shape[-1] != grid * side:
        squares = interpolate(squares, (grid * side, grid * side), mode="area")
    return pixel_unshuffle(squares, side).flatten(2).mT


def held_by(masks: Tensor, grid: int) -> Tensor:
    """masks: (B, F, S, S) in 0..1   returns (B, G*G, F) bool: a quarter of the patch is covered, or more."""
    return adaptive_avg_pool2d(masks, grid).flatten(2).mT >= HOLDS


def _data(shards: ShardSet, part: TaskPart, names: tuple[str, ...], size: int, device: torch.device | str) -> TaskData:
    return TaskData(shards, part.split, part.labels, part.rows, size=size, masks=names, device=device)


def _read(data: TaskData, features: Features, grid: int, seed: int) -> _Patches:
    """All patches of a split, or ``PATCHES`` of them: as many of each image, drawn by a key."""
    wanted = min(grid**2, max(1, PATCHES // len(data)))
    total = torch.zeros((), dtype=torch.float64)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for batch in data.ordered(AT_ONCE):
        tokens = features(batch.images).float().cpu()
        total = total + tokens.double().sum(0)
        parts += _drawn(batch, tokens, grid, seed, wanted)
    taken, positions, holds = (torch.cat(column) for column in zip(*parts, strict=True))
    owners = np.repeat(np.arange(len(data)), wanted)
    return _Patches(taken, positions, holds, owners, (total / len(data)).float())


def _drawn(
    batch: TaskBatch, tokens: Tensor, grid: int, seed: int, wanted: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Of each image features (wanted, D), positions (wanted,) and holds (wanted, F)."""
    assert batch.masks is not None
    holds = held_by(batch.masks, grid).cpu()
    keys = sample_keys(seed, 0, batch.samples.numpy())
    order = np.argsort(uniform(keys, Stream.PATCHES, grid**2), 1, kind="stable")[:, :wanted]
    for row, chosen in enumerate(torch.from_numpy(np.sort(order, 1))):
        yield tokens[row, chosen], chosen, holds[row, chosen]


class _Judge:
    """Fits and scores features on one division of a set, always on the same resampled patients."""

    def __init__(self, splits: TaskSplits, seed: int) -> None:
        self._seed, self._patients = seed, splits.train.patients
        self._weights = scores.draw_patients(splits.test.patients)

    def rows(self, name: str, train: _Patches, test: _Patches) -> ProbeAreas:
        """Both without the training images' mean at their position."""
        own, others = (part.features - train.means[part.positions] for part in (train, test))
        patients = [self._patients[owner] for owner in train.owners]
        with one_thread():
            logits = tuned(own, train.holds, patients, self._seed, others)
        return ProbeAreas(name, self._areas(logits.numpy(), test))

    def place(self, train: _Patches, test: _Patches) -> Array:
        """(1 + D, F): the score of each position is the share of training patches there that hold the finding."""
        cells = len(train.means)
        count = torch.bincount(train.positions, minlength=cells).clamp(min=1)
        share = torch.zeros(cells, train.holds.shape[1]).index_add_(0, train.positions, train.holds.float())
        return self._areas((share / count[:, None])[test.positions].numpy(), test)

    def _areas(self, outputs: Array, test: _Patches) -> Array:
        """(1 + D, F).  outputs: (R, F)"""
        return scores.auroc_of_parts(outputs, test.holds.numpy(), test.owners, self._weights)
