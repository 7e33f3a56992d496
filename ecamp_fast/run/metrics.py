"""What a run tells of its losses: sums that stay on the device, the clock beside them, and TensorBoard."""

import math
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe
from ecamp_fast.objectives import mlm_divisor
from ecamp_fast.printable import one_line

NAMES = ("loss", "mim", "sr", "mlm")
# Of metrics.jsonl, for TensorBoard.
SCALARS = (
    *NAMES,
    "align",
    "local",
    "global",
    "mlm_per_token",
    "nats_per_token",
    "accuracy",
    "lr",
    "grad_norm",
    "images_per_second",
)


class LossMeter:
    """Sums of the losses, of words and of micro-steps; read only when a line of metrics is written."""

    def __init__(self, device: torch.device | str, recipe: Recipe) -> None:
        self._recipe = recipe
        losses = recipe.losses
        self._names = NAMES + ("align",) * losses.align + ("local", "global") * losses.gloria
        self._sums = torch.zeros(len(self._names) + 5, dtype=torch.float64, device=device)

    def add(self, losses: Any, batch: Batch, weight: float = 1.0) -> Tensor:
        """losses: ``objectives.Losses``   batch: whose they are   weight: of this micro-batch. Does not wait.

        returns (4,) float64: the losses, by ``NAMES``
        """
        others = {"align": losses.align, "local": losses.local, "global": losses.whole}
        zero = losses.total * 0
        found = [others[name] for name in self._names[len(NAMES) :]]
        terms = [losses.total, losses.mim, losses.sr, losses.mlm, *(zero if one is None else one for one in found)]
        means = torch.stack(terms).detach().double()
        self._sums[: len(self._names)] += means * weight
        means = means[: len(NAMES)]
        if batch.text is not None:
            weights = batch.text.weights
            self._sums[-5] += means[-1] * mlm_divisor(self._recipe, weights, len(batch))
            self._sums[-4] += weights.sum()
            self._sums[-3] += batch.text.overflow
        self._sums[-2] += batch.lengths.sum()
        self._sums[-1] += weight
        return means

    def drain(self) -> dict[str, float]:
        """Means over micro-steps and ranks since the last call; the only wait.

        ``mlm_per_token``, where words are predicted: mean nats of a predicted token, each counted by its weight; unlike
        ``mlm`` it does not depend on how many there are. Summed: ``tokens``, and ``overflows``: micro-batches with more
        text than their capacity.
        """
        if dist.is_initialized():
            dist.all_reduce(self._sums)
        *totals, nats, weights, overflows, tokens, count = self._sums.tolist()
        self._sums.zero_()
        means = {name: total / max(count, 1e-12) for name, total in zip(self._names, totals, strict=True)}
        words = {"mlm_per_token": nats / weights} if weights else {}
        return means | words | {"tokens": tokens, "overflows": overflows}


class Clock:
    """Images per second between two laps; what is no step (saving, evaluation, logs, going back) is left out."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Count from now on."""
        self.images, self._since = 0, time.perf_counter()

    def lap(self) -> float:
        """Images per second since the last lap; starts the next."""
        rate = self.images / max(time.perf_counter() - self._since, 1e-9)
        self.start()
        return rate

    def pause(self, began: float) -> None:
        """Do not count the time since ``began`` (``time.perf_counter()``), or since the last lap if that is later."""
        self._since += time.perf_counter() - max(began, self._since)


class TensorBoardLog:
    """The lines of metrics.jsonl for TensorBoard, in ``folder``; nothing where it is not installed or not ``writes``.

    Install it with ``pip install ecamp-fast[tensorboard]``. Where the disk refuses it is given up, and said once: what
    it shows is in metrics.jsonl.

    start: step the run goes on from; what an earlier leg wrote beyond it is hidden
    """

    def __init__(self, folder: Path, writes: bool, start: int) -> None:
        self._folder = folder
        self._writer: Any = None
        if writes and find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            with self._given_up_where_refused():
                self._writer = SummaryWriter(str(folder), purge_step=start + 1)

    def add(self, record: dict[str, Any]) -> None:
        """record: a line of metrics.jsonl; what is not finite leaves a gap."""
        if self._writer is None:
            return
        with self._given_up_where_refused():
            for name in SCALARS:
                if math.isfinite(record.get(name, math.nan)):
                    self._writer.add_scalar(f"{record.get('split', 'train')}/{name}", record[name], record["step"])
            self._writer.flush()

    @contextmanager
    def _given_up_where_refused(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            self._writer = None
            told = f"warning: {self._folder} cannot be written, training goes on without TensorBoard: {error}"
            print(one_line(told), file=sys.stderr)
