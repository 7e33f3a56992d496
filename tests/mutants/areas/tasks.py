"""The numbers of a task: trunk, labels, subsets, geometry, rates, updates, scores."""

from typing import Any

from mutant import mutants

TRUNK = "tests/downstream/test_trunk.py"
DATA = "tests/downstream/data/test_task_data.py"
LOOP = "tests/downstream/training/test_loop.py"
CLASSIFY = "tests/downstream/tasks/test_classify.py"


def tokens() -> Any:
    """Of our encoder and of a ResNet, before the norm and behind."""
    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.downstream.trunk import _ours
    from ecamp_fast.model.ecamp import Ecamp

    torch.manual_seed(3)
    sizes = ["model.vision={width: 16, depth: 2, heads: 2, patch: 8}", "image.high_size=64", "image.low_size=32"]
    model = Ecamp(load_recipe("official", [*sizes, "model.decoder={width: 8, depth: 1, heads: 2}"]), 30).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    trunk, images = _ours(model, None, 0.0), torch.arange(1024, dtype=torch.uint8).view(1, 1, 32, 32)
    trained = [name for name, one in trunk.named_parameters() if one.requires_grad]
    return [trunk(images).sum().item(), trunk.features(images, 2).tolist(), trunk.features(images).tolist(), trained]


def subsets() -> Any:
    """Which samples are taken."""
    import numpy as np

    from ecamp_fast.downstream.data.subsets import choose, first

    patients = [f"p{number // 3}" for number in range(300)]
    return [choose(patients, percent, 7).tolist() for percent in (1, 10, 11)] + [
        np.sort(first(patients, 20, 3)).tolist()
    ]


def views() -> Any:
    """Masks and boxes of a view."""
    import numpy as np

    from ecamp_fast.downstream.data.samples import TaskData, _Stored

    data = TaskData.__new__(TaskData)
    data.size, data._planes = 8, [1]
    planes = np.zeros((20, 30), np.uint8)
    planes[4:9, 6:20] = 2
    planes[0:3] |= 1
    stored = _Stored("k", b"", 20, 30, planes, [(6.0, 4.0, 14.0, 5.0, 1), (25.0, 15.0, 3.0, 2.0, 0)])
    found = []
    for flipped in (False, True):
        view = np.array([2, 3, 12, 16])
        boxes, kinds = data._boxes(stored, view, flipped)
        found.append((data._masks(stored, view, flipped).tolist(), boxes.tolist(), kinds.tolist()))
    return found


def fits() -> Any:
    """Weights after some steps, with an average and without; curves of a fit that was cut off."""
    import contextlib
    import tempfile
    from pathlib import Path

    import torch
    from torch import nn

    from ecamp_fast.downstream.training.loop import fit
    from ecamp_fast.downstream.training.schedule import factor
    from ecamp_fast.downstream.training.settings import Settings

    class Line:
        steps_per_epoch, metric = 3, "score"

        def __init__(self, stop: int = 60) -> None:
            torch.manual_seed(1)
            self.model = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.3))
            self.x, self.asked, self.stop = torch.randn(60, 4, 3), 0, stop

        def batches(self, start: int, stop: int) -> Any:
            yield from self.x[start : self.stop]
            raise KeyboardInterrupt

        def loss(self, batch: Any) -> Any:
            return ((self.model(batch)[:, 0] - batch.sum(1)) ** 2).mean()

        def validate(self) -> float:
            self.asked += 1
            return -abs(self.asked - 2.0)

    found: list[Any] = [[round(factor(Settings(steps=9, warmup=3), step), 6) for step in range(1, 10)]]
    for changes in ({"ema": 0.8}, {"optimizer": "adamw", "weight_decay": 0.3}, {"micro": 2}, {"patience": 1}):
        task = Line()
        settings = Settings(steps=12, batch=4, lr=0.05, warmup=2, precision="fp32", clip=0.3, **changes)
        with tempfile.TemporaryDirectory() as folder:
            done = fit(task, settings, Path(folder), {}, "")
        found.append([done.step, done.best, done.losses, [one.tolist() for one in task.model.parameters()]])
    settings = Settings(steps=12, batch=4, lr=0.05, warmup=2, precision="fp32", save_every=4)
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(KeyboardInterrupt):
            fit(Line(stop=8), settings, Path(folder), {}, "")
        done = fit(Line(), settings, Path(folder), {}, "")
    return [*found, done.curve, done.losses]


def scored() -> Any:
    """Areas and hits where some is unknown."""
    import numpy as np

    from ecamp_fast.downstream.tasks.scoring import accuracy, area_under_roc

    draw = np.random.default_rng(3)
    outputs = draw.normal(size=(60, 3))
    values = (draw.random((60, 3)) < 0.4).astype(np.float32)
    values[draw.random((60, 3)) < 0.3] = np.nan
    values[:, 2] = 0
    names, patients = list("abc"), [str(n // 2) for n in range(60)]
    one_hot = np.eye(3)[draw.integers(0, 3, 60)]
    return str([area_under_roc(outputs, values, names, patients, 40), accuracy(outputs, one_hot, names, patients, 40)])


def probed() -> Any:
    """Logits of a probe whose labels are partly unknown, and principal components."""
    import torch

    from ecamp_fast.downstream.logistic import fit
    from ecamp_fast.downstream.tasks.probing import _principal

    torch.manual_seed(2)
    features, values = torch.randn(80, 5), torch.rand(80, 2)
    known = torch.rand(80, 2) < 0.6
    found = fit(features, values > 0.5, [0.1, 0.01], known)
    pairs = [_principal(features[:many].double(), features[30:34].double(), 3) for many in (30, 4)]
    every = _principal(features[:4].double(), features[30:34].double(), 9)[0].shape
    return [found.logits(features[:3]).tolist(), every, [part.abs().tolist() for pair in pairs for part in pair]]


MUTANTS = [
    *mutants(
        "ecamp_fast/downstream/trunk.py",
        TRUNK,
        tokens,
        {
            "tokens of the trunk stand behind the final norm": (
                "norm=False, output_fmt=shape",
                "norm=True, output_fmt=shape",
            ),
            "the trunk's pixels are not divided by 255": (
                "(images.float() / 255 - self.mean)",
                "(images.float() - self.mean)",
            ),
            "features of the trunk are not normed": (
                "tokens = self._final_norm()(self(images))",
                "tokens = self(images)",
            ),
            "the final norm is trained": ("parameter.requires_grad_(False)", "parameter.requires_grad_(True)"),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/data/subsets.py",
        DATA,
        subsets,
        {
            "a subset lacks its last patient": ("(ranks <= np.searchsorted", "(ranks < np.searchsorted"),
            "the seed of a subset is not heard": ("keys = sample_keys(seed, 0,", "keys = sample_keys(0, 0,"),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/data/samples.py",
        DATA,
        views,
        {
            "masks are not mirrored": ("return out.flip(-1) if flipped else out", "return out"),
            "boxes are not mirrored": ("        if flipped:\n            both", "        if False:\n            both"),
            "boxes keep the corner of the image": ("- torch.tensor([left, top])) * scale", "- 0) * scale"),
            "the wrong plane of a mask": (">> np.asarray(plane, part.dtype)", ">> np.asarray(plane - 1, part.dtype)"),
            "boxes outside the view stay": ("found[kept, 4].long()", "found[:, 4].long()"),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/training/schedule.py",
        LOOP,
        fits,
        {
            "the rate is one step late": (
                "if step < settings.warmup:\n        return step /",
                "if step < settings.warmup:\n        return (step - 1) /",
            ),
            "the cosine ends after the last step": ("/ (settings.steps - settings.warmup)", "/ settings.steps"),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/training/loop.py",
        LOOP,
        fits,
        {
            "micro-batches are summed": (
                "self.task.loss(next(batches)) / settings.accumulation",
                "self.task.loss(next(batches))",
            ),
            "the gradient is not clipped": ("self.settings.clip or math.inf", "math.inf"),
            "the last weights are kept": ("    state.load_best(task.model)\n", ""),
            "patience is not counted": ("0 if is_best else progress.since_best + 1", "0"),
            "a resumed fit has no past": ("        if not saved:\n", "        if saved:\n"),
            "losses since the last validation are forgotten": (
                'torch.tensor(_number(saved["total"]))',
                "torch.zeros(())",
            ),
            "dropout follows no seed": ("settings.seed * 1_000_003 + step", "7"),
            "the average is never updated": ("            self.average.update(step)", "            pass"),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/training/optimizer.py",
        LOOP,
        fits,
        {
            "biases are decayed": ("parameter.ndim <= 1 or", "parameter.ndim <= 0 or"),
            "the average begins at its full decay": ("min(self._decay, step / (step + 9))", "self._decay"),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/tasks/scoring.py",
        CLASSIFY,
        scored,
        {
            "unknown labels count as absent": (
                "known = ~np.isnan(values[:, number])",
                "known = np.ones(len(values), bool)",
            ),
            "accuracy is of the unlikeliest class": ("outputs.argmax(1) == truth", "outputs.argmin(1) == truth"),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/logistic.py",
        CLASSIFY,
        probed,
        {
            "unknown labels are learned as absent": (
                "else known.double()",
                "else torch.ones_like(known, dtype=torch.float64)",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/tasks/probing.py",
        CLASSIFY,
        probed,
        {
            "rounding is a component": ("variance > TOO_FEW**2 * variance[-1]", "variance > -1"),
            "components of few images are as long as their spread": (" / variance[-count:].flip(0).sqrt()", ""),
            "components are of images with their mean": ("rows = (train - mean).double()", "rows = train.double()"),
        },
    ),
]
