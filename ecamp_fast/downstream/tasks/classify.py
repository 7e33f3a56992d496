"""Classification on a trunk: the mean of patch tokens, a new norm, a linear layer (SPEC 7.1).

Legend: F classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ecamp_fast.downstream.data.samples import TaskBatch, TaskData, TrainView
from ecamp_fast.downstream.heads.classifier import Classifier
from ecamp_fast.downstream.result import TaskResult, finished, identify
from ecamp_fast.downstream.tasks.scoring import ClassScores, accuracy, area_under_roc, listed
from ecamp_fast.downstream.tasks.splits import Subset, TaskPart, TaskSplits, require_kinds, split_task
from ecamp_fast.downstream.tasks.timm_model import write_classifier
from ecamp_fast.downstream.threads import threads_for
from ecamp_fast.downstream.training.loop import fit, precision
from ecamp_fast.downstream.training.settings import Settings
from ecamp_fast.downstream.trunk import open_trunk
from ecamp_fast.errors import DataError
from ecamp_fast.shards.load.read import ShardSet

EVALUATED_AT_ONCE = 256
CLASSIFY = "classify"


@dataclass(frozen=True)
class ClassifyOptions:
    """What is fitted to what.

    names      classes; (): those of the set
    exclusive  one class a sample, by cross-entropy and accuracy; None: where every sample of the set has exactly one
    size       pixels per side; None: the trunk's own
    """

    subset: Subset = field(default_factory=Subset)
    names: tuple[str, ...] = ()
    exclusive: bool | None = None
    uncertain: tuple[tuple[str, int], ...] = ()
    size: int | None = None
    test_split: str | None = None


DEFAULTS = ClassifyOptions()


class ClassifyTask:
    """``training.loop.FitTask`` of a classifier."""

    def __init__(
        self, model: Classifier, shards: ShardSet, splits: TaskSplits, settings: Settings, exclusive: bool
    ) -> None:
        self.model, self._settings, self._exclusive, self._splits = model, settings, exclusive, splits
        device = next(model.parameters()).device

        def data(part: TaskPart) -> TaskData:
            return TaskData(
                shards, part.split, part.labels, part.rows, size=model.trunk.size, device=device, seed=settings.seed
            )

        self._train, self._val, self._test = data(splits.train), data(splits.val), data(splits.test)
        self.metric = "accuracy" if exclusive else "AUROC"
        self.steps_per_epoch = self._train.steps_per_epoch(settings.batch)

    def batches(self, start: int, stop: int) -> Iterator[TaskBatch]:
        parts = self._settings.accumulation
        view = TrainView(self._settings.crop_area, self._settings.flip)
        return self._train.training(self._settings.batch // parts, start * parts, stop * parts, view)

    def loss(self, batch: TaskBatch) -> Tensor:
        logits = self.model(batch.images).float()
        if self._exclusive:
            return cross_entropy(logits, batch.labels.argmax(1))
        known = ~batch.labels.isnan()
        losses = binary_cross_entropy_with_logits(logits, batch.labels.nan_to_num(), reduction="none")
        return (losses * known).sum() / known.sum().clamp(min=1)

    def validate(self) -> float:
        return self.scores(self._splits.val, self._val, resamples=1).overall.value

    def test(self) -> ClassScores:
        """On the test split, with intervals."""
        return self.scores(self._splits.test, self._test)

    def scores(self, part: TaskPart, data: TaskData, resamples: int = 1000) -> ClassScores:
        judge = accuracy if self._exclusive else area_under_roc
        return judge(self.outputs(data), part.values, part.labels.names, part.patients, resamples)

    @torch.no_grad()
    def outputs(self, data: TaskData) -> np.ndarray:
        """Logits (N, F) float32 of every sample."""
        return torch.cat([self.model(batch.images).float().cpu() for batch in data.ordered(EVALUATED_AT_ONCE)]).numpy()


def classify(
    encoder: str,
    shards: ShardSet,
    settings: Settings,
    out: Path,
    options: ClassifyOptions = DEFAULTS,
    *,
    resume: str = "auto",
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda line: None,
) -> TaskResult:
    """Fit a classifier on ``encoder`` and judge it on the test split; OUT/result.json, OUT/timm and checkpoints.

    A finished one is read, not repeated. Raises what ``open_trunk``, ``split_task`` and ``fit`` raise.
    """
    identity = identify(CLASSIFY, encoder, options, settings)
    if found := finished(out, resume, identity, shards.manifest.digest):
        return found
    trunk = open_trunk(encoder, size=options.size, drop_path=settings.drop_path, device=device)
    splits = split_task(shards, options.subset, options.names, dict(options.uncertain), options.test_split)
    exclusive = _agreed(splits, options.exclusive)
    say(splits.told())
    torch.manual_seed(settings.seed)
    model = Classifier(trunk, len(splits.train.labels.names)).to(device)
    if settings.frozen:
        model.freeze_trunk()
    trunk.prepare(settings.frozen, settings.compile)
    task = ClassifyTask(model, shards, splits, settings, exclusive)
    with threads_for(trunk.width, torch.device(device)):
        fitted = fit(task, settings, out, identity, shards.manifest.digest, resume=resume, say=say)
        with precision(model, settings):
            scored = task.test()
    write_classifier(model, splits.train.labels.names, exclusive, out / "timm")
    result = TaskResult(
        task="probe-sgd" if settings.frozen else CLASSIFY,
        metric="accuracy" if exclusive else "auroc",
        score=scored.overall.value,
        low=scored.overall.low,
        high=scored.overall.high,
        per_class=scored.per_class,
        settings=settings.model_dump(mode="json"),
        data=shards.manifest.digest,
        encoder=encoder,
        fraction=splits.percent,
        seed=settings.seed,
        samples=splits.counts(),
        extra={
            "identity": identity,
            **fitted.as_facts(),
            "resampled": listed(scored.resampled),
        },
    )
    result.write(out)
    return result


def is_exclusive(values: np.ndarray) -> bool:
    """Whether every sample is known to be of exactly one of three or more classes.  values: (N, F)"""
    return values.shape[1] > 2 and _one_each(values)


def _one_each(values: np.ndarray) -> bool:
    return not np.isnan(values).any() and bool((values.sum(1) == 1).all())


def _agreed(splits: TaskSplits, wanted: bool | None) -> bool:
    """Whether classes exclude each other, by all labels of the splits: a small subset may look as if they did.

    Raises DataError where that is wanted and not so, or where the labels leave nothing to fit or to judge.
    """
    parts = {"fitted to": splits.train, "validated on": splits.val, "judged on": splits.test}
    exclusive = all(is_exclusive(part.labels.values) for part in parts.values()) if wanted is None else wanted
    if wanted and not all(_one_each(part.labels.values) for part in parts.values()):
        raise DataError("not every image is of exactly one class", "leave --exclusive off, or name other classes")
    for use, part in parts.items():
        if not exclusive or part is splits.train:
            require_kinds(part, use)
    return exclusive
