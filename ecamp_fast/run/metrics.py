"""What a run tells of itself: sums of losses on the device, the clock, the machine's use, and TensorBoard."""

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
from ecamp_fast.chips import find_chip
from ecamp_fast.config import Recipe
from ecamp_fast.machine import resident_bytes
from ecamp_fast.model.flops import step_work, summed
from ecamp_fast.objectives import mlm_divisor
from ecamp_fast.printable import one_line
from ecamp_fast.run.distributed import DistContext

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
    "tokens_per_second",
    "data_wait",
    "memory_bytes",
    "mfu",
)


class LossMeter:
    """Sums of the losses, of words and of micro-steps; read only when a line of metrics is written."""

    def __init__(self, device: torch.device | str, recipe: Recipe) -> None:
        self._recipe = recipe
        losses = recipe.losses
        self._names = NAMES + ("align",) * losses.align + ("local", "global") * losses.gloria
        self._sums = torch.zeros(len(self._names) + 7, dtype=torch.float64, device=device)

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
            self._sums[-6] += weights.count_nonzero()
            self._sums[-5] += means[-1] * mlm_divisor(self._recipe, weights, len(batch))
            self._sums[-4] += weights.sum()
            self._sums[-3] += batch.text.overflow
        self._sums[-2] += batch.lengths.sum()
        self._sums[-1] += weight
        return means

    def drain(self, waited: float | None = None) -> dict[str, float]:
        """Means over micro-steps and ranks since the last call; the only wait.

        waited: seconds that this rank waited for data since then; the mean over ranks is ``data_seconds``

        ``mlm_per_token``, where words are predicted: mean nats of a predicted token, each counted by its weight; unlike
        ``mlm`` it does not depend on how many there are. Summed: ``tokens``, ``predicted`` ones of them, and
        ``overflows``: micro-batches with more text than their capacity.
        """
        self._sums[-7].fill_(waited or 0.0)
        if dist.is_initialized():
            dist.all_reduce(self._sums)
        *totals, seconds, predicted, nats, weights, overflows, tokens, count = self._sums.tolist()
        self._sums.zero_()
        means = {name: total / max(count, 1e-12) for name, total in zip(self._names, totals, strict=True)}
        words = {"mlm_per_token": nats / weights, "predicted": predicted} if weights else {}
        summed = {"tokens": tokens, "overflows": overflows}
        if waited is not None:
            summed["data_seconds"] = seconds / (dist.get_world_size() if dist.is_initialized() else 1)
        return means | words | summed


class Clock:
    """Images per second between two laps; what is no step (saving, evaluation, logs, going back) is left out."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Count from now on."""
        self.images, self._since = 0, time.perf_counter()
        self.seconds = 0.0

    def lap(self) -> float:
        """Images per second since the last lap; starts the next. ``seconds``: what that lap took."""
        seconds = max(time.perf_counter() - self._since, 1e-9)
        rate = self.images / seconds
        self.start()
        self.seconds = seconds
        return rate

    def pause(self, began: float) -> None:
        """Do not count the time since ``began`` (``time.perf_counter()``), or since the last lap if that is later."""
        self._since += time.perf_counter() - max(began, self._since)


class Gauge:
    """What a lap made of the machine, read without waiting for the device.

    recipe, vocab_size  of the model, which is counted where it is ECAMP
    context             this rank, whose memory is told
    """

    def __init__(self, recipe: Recipe, vocab_size: int, context: DistContext) -> None:
        self._recipe, self._vocab_size, self._context = recipe, vocab_size, context
        gpu = context.device.type == "cuda"
        self._chip = find_chip(torch.cuda.get_device_name(context.device)) if gpu and not recipe.losses.gloria else None

    def read(self, means: dict[str, float], rate: float, seconds: float) -> dict[str, float]:
        """For a line of metrics.jsonl: ``tokens_per_second``, ``data_wait``, ``memory_bytes``, ``mfu``.

        means    of ``LossMeter.drain``   rate: images per second over a lap of so many ``seconds``

        tokens_per_second  of texts, over all ranks
        data_wait          share of the lap in which the main thread of a rank waited for its next batch, mean of them
        memory_bytes       the most that tensors took on the GPU since the line before; on a CPU: resident now
        mfu                counted operations over what the chips do in bfloat16; absent where the chip is not known.
                           Texts count at their mean length, ``losses.align`` does not
        """
        found = {"tokens_per_second": round(means["tokens"] / seconds, 2)}
        if "data_seconds" in means:
            found["data_wait"] = round(min(means["data_seconds"] / seconds, 1.0), 4)
        found["memory_bytes"] = _memory(self._context.device)
        if self._chip and rate > 0:
            images, micro = rate * seconds, self._recipe.micro
            lengths = [max(1, round(means["tokens"] / images))] * micro
            predicted = round(means.get("predicted", 0.0) / images * micro)
            work = summed(step_work(self._recipe, self._vocab_size, lengths, predicted)).total / micro
            found["mfu"] = float(f"{work * rate / (self._chip.bf16 * self._context.world):.4g}")
        return found


def _memory(device: torch.device) -> int:
    """Bytes; on a GPU the peak begins anew."""
    if device.type != "cuda":
        return resident_bytes()
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak


class TensorBoardLog:
    """The lines of metrics.jsonl for TensorBoard, in ``folder``; nothing where it is not installed or not ``writes``.

    The extra ``tensorboard`` installs it. Where the disk refuses it is given up, and said once: what
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
