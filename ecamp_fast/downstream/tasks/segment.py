"""Segmentation: a decoder on the patch tokens of a trunk, which stays frozen unless the settings free it (SPEC 7.2).

Legend: B images, S pixels a side, M masks, G cells a side, D width of the trunk, L blocks whose tokens are read.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecamp_fast import scores
from ecamp_fast.downstream.data.augment import draw_turns, turn_images, turn_masks
from ecamp_fast.downstream.data.box_masks import box_masks
from ecamp_fast.downstream.data.labels import require_once
from ecamp_fast.downstream.data.samples import TaskBatch, TaskData
from ecamp_fast.downstream.heads import dpt
from ecamp_fast.downstream.heads.dense import HeadName, Heads
from ecamp_fast.downstream.heads.mask_loss import mask_loss
from ecamp_fast.downstream.result import TaskResult, finished, identify
from ecamp_fast.downstream.tasks.scoring import by_class, listed, mean_over_classes, overall
from ecamp_fast.downstream.tasks.splits import Subset, TaskPart, TaskSplits, split_task
from ecamp_fast.downstream.threads import threads_for
from ecamp_fast.downstream.training.loop import fit, precision
from ecamp_fast.downstream.training.settings import Settings
from ecamp_fast.downstream.trunk import Trunk, open_trunk
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.keyed_random import Stream, sample_keys, uniform
from ecamp_fast.shards.load.order import global_samples
from ecamp_fast.shards.load.read import ShardSet

SEGMENT = "segment"
AT_ONCE = 64  # images through trunk and heads where nothing is trained
THRESHOLD = 0.5  # of a pixel's share, or probability, above which it is marked
GIB = 1 << 30

Array = np.ndarray


@dataclass(frozen=True)
class SegmentOptions:
    """What is fitted to what.

    masks     names; (): all of the set
    boxes     the masks are the unions of the boxes of ``masks``, which must be named
    head      setr (the paper's), linear, convolutional, dpt
    augment   training images are turned and scaled, with their masks; without it a frozen trunk's tokens are kept
    balance   all training images of a mask's label, and as many of the others, as the paper has it for SIIM
    size      pixels per side; None: the trunk's own
    cache_gb  GiB of memory for tokens that are kept; where a split needs more, they are computed each time
    """

    subset: Subset = field(default_factory=Subset)
    masks: tuple[str, ...] = ()
    boxes: bool = False
    head: HeadName = "setr"
    augment: bool = True
    balance: bool = False
    size: int | None = None
    test_split: str | None = None
    cache_gb: float = 16.0


DEFAULTS = SegmentOptions()


class Segmenter(nn.Module):
    """A trunk with a head for each mask."""

    def __init__(self, trunk: Trunk, head: HeadName, masks: int) -> None:
        super().__init__()
        self.trunk = trunk
        depth = len(trunk.net.blocks) if trunk.is_vit else 0  # type: ignore[arg-type]
        self._blocks = dpt.blocks_of(depth) if head == "dpt" and depth else [-1]
        self.heads = Heads(head, masks, trunk.width, trunk.grid, trunk.size, len(self._blocks))

    def tokens(self, images: Tensor) -> Tensor:
        """images: (B, 1, S, S) uint8   returns (B, G*G, L*D)"""
        return torch.cat(self.trunk.levels(images, self._blocks), -1)

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, 1, S, S) uint8   returns logits (B, M, S, S) float32"""
        logits: Tensor = self.heads(self.tokens(images))
        return logits

    def bytes_of_tokens(self) -> int:
        """Of one image, in float32."""
        return 4 * self.trunk.grid**2 * self.trunk.width * len(self._blocks)


@dataclass(frozen=True)
class MaskBatch:
    """What a segmenter is given.

    inputs      (B, 1, S, S) uint8 images, or (B, G*G, L*D) tokens
    masks       (B, M, S, S) floating, 0 to 1
    is_encoded  whether ``inputs`` are tokens
    """

    inputs: Tensor
    masks: Tensor
    is_encoded: bool = True


@dataclass(frozen=True)
class Overlap:
    """Of the images of a split.  dice: (N, M) float64   positive: (N, M) bool, whether there is something to find"""

    dice: Array
    positive: Array


class SegmentTask:
    """``training.loop.FitTask`` of a segmenter.  say: gets lines: what there is to fit to, where tokens are kept"""

    metric = "Dice"

    def __init__(
        self,
        model: Segmenter,
        shards: ShardSet,
        splits: TaskSplits,
        settings: Settings,
        options: SegmentOptions,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.model, self._settings, self._options, self._say = model, settings, options, say
        say(splits.told())
        self._device = next(model.parameters()).device
        self._room = int(options.cache_gb * GIB) if settings.frozen else 0

        def data(part: TaskPart) -> TaskData:
            chosen = {"boxes": options.masks} if options.boxes else {"masks": options.masks}
            size, device, seed = model.trunk.size, self._device, settings.seed
            return TaskData(shards, part.split, part.labels, part.rows, size=size, device=device, seed=seed, **chosen)

        self._train, self._val, self._test = data(splits.train), data(splits.val), data(splits.test)
        self.steps_per_epoch = self._train.steps_per_epoch(settings.batch)
        self._kept: dict[str, MaskBatch | None] = {}

    def require_masks(self) -> None:
        """Raises DataError where there is nothing to learn: no training image has anything marked."""
        if not any(self._masks(batch).any() for batch in self._train.ordered(AT_ONCE)):
            what = f"none of the {len(self._train)} images that are fitted to has {', '.join(self._options.masks)}"
            raise DataError(what, "use more images, or --balance")

    def batches(self, start: int, stop: int) -> Iterator[MaskBatch]:
        """Tokens where they are kept, else images, turned with their masks where that is wanted."""
        parts = self._settings.accumulation
        batch, start, stop = self._settings.batch // parts, start * parts, stop * parts
        kept = None if self._options.augment else self._keep("train", self._train)
        if kept:
            for step in range(start, stop):
                rows = torch.from_numpy(self._order(step, batch)[1])
                yield self._to_device(MaskBatch(kept.inputs[rows], kept.masks[rows]))
            return
        for step, found in zip(range(start, stop), self._train.training(batch, start, stop, None), strict=True):
            images, masks = found.images, self._masks(found)
            if self._options.augment:
                turns = draw_turns(self._settings.seed, self._order(step, batch)[0], found.samples.numpy())
                images, masks = turn_images(images, turns), turn_masks(masks, turns)
            yield MaskBatch(images, masks, is_encoded=False)

    def loss(self, batch: MaskBatch) -> Tensor:
        """Over the masks of a micro-batch, whose images share one soft Dice."""
        model = self.model.heads if batch.is_encoded else self.model
        return mask_loss(model(batch.inputs), batch.masks)

    def validate(self) -> float:
        """The paper's Dice: of each image, 1 where nothing is marked and nothing there."""
        return float(self.overlap("val", self._val).dice.mean())

    def test(self) -> Overlap:
        with torch.no_grad():
            return self.overlap("test", self._test)

    def overlap(self, name: str, data: TaskData) -> Overlap:
        """Dice of every image of a split."""
        dice, positive = [], []
        kept = self._keep(name, data) if name == "val" else None  # the test split is read once
        for batch in self._in_order(kept) if kept else self._encoded(data):
            predicted = (self.model.heads(batch.inputs).sigmoid() > THRESHOLD).cpu().numpy()
            truth = (batch.masks > THRESHOLD).cpu().numpy()
            dice.append(scores.dice(predicted, truth))
            positive.append(truth.any((-2, -1)))
        return Overlap(np.concatenate(dice), np.concatenate(positive))

    def _keep(self, name: str, data: TaskData) -> MaskBatch | None:
        """All tokens and masks of a split on the host, masks in float16; None where there is no room left."""
        if name not in self._kept:
            size = self.model.trunk.size
            needed = len(data) * (self.model.bytes_of_tokens() + 2 * len(self._options.masks) * size**2)
            self._kept[name] = None
            if needed <= self._room:
                self._room -= needed
                parts = list(self._encoded(data))
                with torch.autocast("cpu", enabled=False):  # which joins no float16
                    tokens = torch.cat([part.inputs.float().cpu() for part in parts])
                    masks = torch.cat([part.masks.half().cpu() for part in parts])
                self._kept[name] = MaskBatch(tokens, masks)
                self._say(f"{name}: tokens of {len(data)} images kept, {needed / GIB:.2f} GiB")
            elif self._settings.frozen:
                self._say(f"{name}: tokens of {len(data)} images would take {needed / GIB:.2f} GiB: computed each time")
        return self._kept[name]

    @torch.no_grad()
    def _encoded(self, data: TaskData) -> Iterator[MaskBatch]:
        """Of every image in order; the trunk is in evaluation mode, for good where it is frozen."""
        for batch in data.ordered(AT_ONCE):
            with precision(self.model, self._settings):
                tokens = self.model.tokens(batch.images)
            yield MaskBatch(tokens, self._masks(batch))

    def _in_order(self, kept: MaskBatch) -> Iterator[MaskBatch]:
        for tokens, masks in zip(kept.inputs.split(AT_ONCE), kept.masks.split(AT_ONCE), strict=True):
            yield self._to_device(MaskBatch(tokens, masks))

    def _to_device(self, batch: MaskBatch) -> MaskBatch:
        return MaskBatch(batch.inputs.to(self._device), batch.masks.to(self._device).float())

    def _order(self, step: int, batch: int) -> tuple[Array, Array]:
        """Epochs and places in ``rows`` of a step's samples, each (B,)."""
        return global_samples(len(self._train), self._settings.seed, np.arange(step * batch, (step + 1) * batch))

    def _masks(self, batch: TaskBatch) -> Tensor:
        """(B, M, S, S) on the device: the stored ones, or the unions of boxes."""
        if batch.masks is not None:
            return batch.masks
        assert batch.boxes is not None and batch.box_labels is not None
        return box_masks(batch.boxes, batch.box_labels, len(self._options.masks), self.model.trunk.size)


def segment(
    encoder: str,
    shards: ShardSet,
    settings: Settings,
    out: Path,
    options: SegmentOptions = DEFAULTS,
    *,
    resume: str = "auto",
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> TaskResult:
    """Fit a decoder on ``encoder`` and judge it on the test split; OUT/result.json and checkpoints.

    ``score`` is the paper's Dice, in which images with an empty mask count; ``extra`` has it over the others. Samples
    that have no masks at all are left out. A finished one is read, not repeated. Raises what ``open_trunk``,
    ``split_task``, ``fit`` and ``Heads`` raise; DataError where no training image has one of the masks.
    """
    options = replace(options, masks=_names(shards, options))
    identity = identify(SEGMENT, encoder, options, settings)
    if found := finished(out, resume, identity, shards.manifest.digest):
        return found
    trunk = open_trunk(encoder, size=options.size, drop_path=settings.drop_path, device=device)
    splits = split_task(shards, options.subset, test_split=options.test_split, masked=not options.boxes)
    if options.balance:
        splits = replace(splits, train=balanced(splits.train, options.masks, settings.seed))
    torch.manual_seed(settings.seed)
    model = Segmenter(trunk, options.head, len(options.masks)).to(device)
    trunk.prepare(settings.frozen, settings.compile)
    task = SegmentTask(model, shards, splits, settings, options, say)
    task.require_masks()
    with threads_for(trunk.width, torch.device(device)):
        fitted = fit(task, settings, out, identity, shards.manifest.digest, resume=resume, say=say)
        with precision(model, settings):
            overlap = task.test()
    weights = scores.draw_patients(splits.test.patients)
    resampled = scores.weighted_mean(overlap.dice.mean(1), weights)
    score = scores.estimate(resampled)
    result = TaskResult(
        task=SEGMENT,
        metric="dice",
        score=score.value,
        low=score.low,
        high=score.high,
        per_class=by_class(overlap.dice.mean(0), options.masks),
        settings=settings.model_dump(mode="json"),
        data=shards.manifest.digest,
        encoder=encoder,
        fraction=splits.percent,
        seed=settings.seed,
        samples=splits.counts(),
        extra={
            "identity": identity,
            "resampled": listed(resampled),
            "positive": over_positives(overlap, options.masks, weights),
            **fitted.as_facts(),
            **_facts(options),
        },
    )
    result.write(out)
    return result


def _facts(options: SegmentOptions) -> dict[str, Any]:
    """What a fit depends on beside its settings."""
    return {
        "masks": list(options.masks),
        "from_boxes": options.boxes,
        "head": options.head,
        "augment": options.augment,
        "balance": options.balance,
    }


def over_positives(overlap: Overlap, masks: tuple[str, ...], weights: Array) -> dict[str, Any]:
    """Dice over the images that have a mask, with its interval; by mask, with how many images that are.

    weights: (1 + D, N), draws of patients
    """
    columns = zip(overlap.dice.T, overlap.positive.T, strict=True)
    means = np.stack([scores.mean_over(dice, positive, weights) for dice, positive in columns], 1)
    counts = dict(zip(masks, overlap.positive.sum(0).tolist(), strict=True))
    known = overlap.positive.any()
    interval = asdict(mean_over_classes(means)) if known else None
    resampled = listed(overall(means)) if known else []
    return {"dice": interval, "resampled": resampled, "per_class": by_class(means[0], masks), "images": counts}


def balanced(train: TaskPart, masks: tuple[str, ...], seed: int) -> TaskPart:
    """All samples whose label says that one of ``masks`` is there, and as many of the others, by a keyed order.

    Raises DataError where a mask has no label of its name, or no sample has one of them.
    """
    names = train.labels.names
    if absent := [name for name in masks if name not in names]:
        raise DataError(f"--balance goes by labels, and {', '.join(absent)} has none", "leave --balance off")
    positive = (train.values[:, [names.index(name) for name in masks]] == 1).any(1)
    if not positive.any():
        raise DataError(f"none of the {len(train)} images that are fitted to has {', '.join(masks)}", "use more images")
    keys = sample_keys(seed, 0, train.rows)
    order = np.argsort(np.where(positive, 2.0, uniform(keys, Stream.SPLIT, 1)[:, 0]), kind="stable")
    others = order[: min(int(positive.sum()), int((~positive).sum()))]
    return replace(train, rows=np.sort(np.concatenate([train.rows[positive], train.rows[others]])))


def _names(shards: ShardSet, options: SegmentOptions) -> tuple[str, ...]:
    """Raises DataError where the set has none, ConfigError where one is named twice, or of boxes none."""
    require_once(options.masks, "a mask")
    if options.masks or not options.boxes:
        names = options.masks or shards.manifest.masks
        if not names:
            raise DataError(f"{shards.path} has no masks", "take another set, or --boxes with --mask FINDING")
        return names
    raise ConfigError("boxes of which findings?", "name them with --mask")
