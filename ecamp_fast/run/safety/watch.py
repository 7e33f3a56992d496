"""Watches the numbers of a run: what ``numbers`` says of each step is written down, and done."""

import hashlib
import math
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch.distributed as dist

from ecamp_fast.config import Recipe
from ecamp_fast.errors import DataError, NumericsError
from ecamp_fast.run.checkpoint.engine_state import named_states
from ecamp_fast.run.checkpoint.find import committed
from ecamp_fast.run.rundir import RunDir, read_metrics, read_records
from ecamp_fast.run.safety.flight import read_flight
from ecamp_fast.run.safety.numbers import Numbers, rebuild
from ecamp_fast.shards.load.batching import MicroBatches
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.weights.finite import first_not_finite

TERMS = ("mim", "sr", "mlm")


class NumbersWatch:
    """Of one rank; every rank has one and calls it alike.

    goes_back  whether the run is to go back to a checkpoint from before the trouble, now: ``go_back``
    """

    def __init__(self, run: RunDir, recipe: Recipe, shards: ShardSet, engine: Any) -> None:
        self._run, self._recipe, self._shards, self._engine = run, recipe, shards, engine
        self._numbers, self.goes_back = Numbers(recipe.safety), False
        self._first: int | None = None  # steps done when the weights last proved healthy before any trouble
        self._samples: MicroBatches | None = None

    @property
    def healthy_until(self) -> int | None:
        """Steps done when the weights last proved healthy before the trouble that is on: the newest checkpoint at or
        before it must stay. None without trouble.
        """
        return self._numbers.healthy_until

    @property
    def troubles(self) -> set[int]:
        """Steps done before the first trouble of the run, and before the one that is on: of each, the newest checkpoint
        at or before it must stay.
        """
        return {step for step in (self._first, self._numbers.healthy_until) if step is not None}

    @property
    def left_out(self) -> tuple[int, ...]:
        """Steps whose updates are left out when they come again."""
        return self._numbers.left_out

    def resume(self, step: int, left_out: Collection[int] = ()) -> None:
        """Know what the run knew after ``step`` steps, from its files; rank 0 reads them.

        left_out: what the checkpoint knows of steps to be left out, which may be that of another run
        """
        found: list[Any] = [None]
        if dist.get_rank() == 0:
            found[0] = read_records(self._run.path / "events.jsonl"), list(past_steps(self._run.path))
        dist.broadcast_object_list(found)
        self._numbers, self.goes_back = rebuild(self._recipe.safety, step, *found[0]), False
        self._numbers.left_out = tuple(sorted({*self._numbers.left_out, *left_out}))
        healthy = (event.get("healthy_until") for event in found[0][0] if event.get("event") in ("skipped", "spike"))
        self._first = next((limit for limit in healthy if limit is not None), None)

    def limits(self, step: int) -> tuple[float, float]:
        """Of update ``step`` (from 1), for ``OptimizerStep.update``."""
        return self._numbers.limits(step)

    def judge(self, step: int, norm: float, losses: tuple[float, ...], applied: bool) -> None:
        """What step ``step`` (from 1) gave; arguments as of ``UpdateResult``.

        Raises NumericsError where the run must not go on.
        """
        verdict = self._numbers.judge(step, norm, losses[0], applied)
        if not verdict.event:
            return
        if self._first is None:
            self._first = self._numbers.healthy_until
        facts = dict(verdict.facts)
        ruined = ""
        if verdict.event == "skipped":
            facts["terms"] = _not_finite(losses)
            ruined = self._ruined()
        if verdict.event in ("skipped", "spike"):
            facts["samples"] = self._digest(step)
        self._run.event(verdict.event, step=step, **facts)
        fault = f"{ruined} is not finite after step {step}" if ruined else verdict.fault
        self.goes_back = verdict.goes_back or (bool(ruined) and self._recipe.safety.spikes == "roll_back")
        if fault and not self.goes_back:
            raise self._error(step, fault)

    def judge_end(self, step: int, loss: float) -> None:
        """Raises NumericsError where the held-out loss at the end of a run is not sound: no step follows to tell."""
        if fault := self._numbers.fault_of_end(loss):
            raise self._error(step, f"the held-out loss after step {step}, the last, is {fault}")

    def go_back(self, step: int, damage: Callable[[Path], str]) -> Path:
        """The checkpoint to go back to from ``step``; updates that may be to blame are left out when they come again.

        damage: why a folder is no complete checkpoint, an empty string where it is one
        Raises NumericsError where the run went back too often, or no checkpoint is left to go back to.
        """
        limit, found = self._numbers.healthy_until, list[Any]([None])
        assert limit is not None
        if fault := self._numbers.go_back(step):
            raise self._error(step, fault)
        if dist.get_rank() == 0:
            found[0] = next((path for path in before(self._run.checkpoints, limit) if not damage(path)), None)
        dist.broadcast_object_list(found)
        if not (path := found[0]):
            raise self._error(step, f"numbers went bad at step {step}, and no checkpoint from before is left")
        left_out = [number for number in self.left_out if limit < number <= step]
        self._run.event("rolled_back", step=step, checkpoint=path.name, left_out=left_out)
        return path

    def _error(self, step: int, fault: str) -> NumericsError:
        """Says where to go on from; run_state.json says it too."""
        limit = self._numbers.last_healthy
        self._run.set_state(healthy_until=limit, resume_before=limit)
        path = next(iter(before(self._run.checkpoints, limit)), None)
        again = f"go on from before it: --resume {path}" if path else "start a new --out"
        why = f"`ecamp-fast replay {self._run.path} {step}` says what went bad first"
        return NumericsError(fault, f"{again}, with a lower optim.lr or --set safety.spikes=roll_back; {why}")

    def _ruined(self) -> str:
        """The first state of the engine that is not finite, on whichever rank; an empty string where all are."""
        names: list[Any] = [""] * dist.get_world_size()
        dist.all_gather_object(names, first_not_finite(named_states(self._engine)))
        return next((name for name in names if name), "")

    def _digest(self, step: int) -> str:
        """Of epochs and samples of a step, in the order of the micro-batches of all ranks."""
        self._samples = self._samples or MicroBatches(self._shards, "train", self._recipe)
        return samples_digest(self._samples, step)


def _not_finite(losses: tuple[float, ...]) -> list[str]:
    """Which terms are not.  losses: total, mim, sr, mlm; what the total has beside them is ``losses.align``"""
    terms = [name for name, loss in zip(TERMS, losses[1:], strict=True) if not math.isfinite(loss)]
    return terms or ["align"] * (not math.isfinite(losses[0]))


def samples_digest(samples: MicroBatches, step: int) -> str:
    """Of the places that update ``step`` (from 1) reads: says whether two steps saw the same, and nothing of it."""
    digest = hashlib.sha256()
    for places in samples(step - 1):
        digest.update(places.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def past_steps(run: Path) -> Iterator[tuple[int, float, float]]:
    """(step, norm, loss) of the steps that the run has gone through, in order, by its flight recorder.

    Where that is missing or damaged, by metrics.jsonl: where ``log_every`` is not 1, means since the line before.
    """
    try:
        steps = read_flight(run).steps
    except DataError:
        for record in read_metrics(run):
            yield record["step"], record.get("grad_norm", math.nan), record["loss"]
    else:
        yield from zip(*(steps[name].tolist() for name in ("step", "norm", "loss")), strict=True)


def before(folder: Path, limit: int) -> list[Path]:
    """The checkpoints of at most ``limit`` steps, by their names, the newest first."""
    return [path for path in committed(folder) if int(path.name[5:]) <= limit]
