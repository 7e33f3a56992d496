"""The training loop: from a job to a finished run directory. What one step does is in ``step``."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict

import torch

from ecamp_fast.batch import Batch
from ecamp_fast.config import dump_recipe
from ecamp_fast.errors import NumericsError
from ecamp_fast.files import write_atomically, write_json
from ecamp_fast.run import checkpoint, deepspeed_config
from ecamp_fast.run.distributed import DistContext, agree, gather
from ecamp_fast.run.evaluate import evaluate
from ecamp_fast.run.export import WEIGHTS, export_weights
from ecamp_fast.run.log import RunLog
from ecamp_fast.run.rundir import RunDir, read_metrics
from ecamp_fast.run.safety.guard import Guard
from ecamp_fast.run.schedule import learning_rate, steps_of, total_steps
from ecamp_fast.run.setup import Job, build, open_shards, settle_recipe
from ecamp_fast.run.step import OptimizerStep
from ecamp_fast.run.summary import opening_lines, run_facts
from ecamp_fast.run.update import UpdateResult
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.quarantine import Quarantine

SKIPPED_IN_A_ROW = 16  # optimizer steps with gradients that are not finite, before the run gives up


class Trainer:
    """One run on one rank. ``train()`` goes to the end, or to the next step after a stop request.

    The constructor reads and builds, and leaves the disk as it is; ``start`` takes the run directory over.
    guard: of the process, where it belongs to the run alone
    """

    def __init__(self, job: Job, context: DistContext, guard: Guard | None = None) -> None:
        self.job, self.context = job, context
        self.run = RunDir(job.out, writes=context.is_main)
        self.guard = guard or Guard()
        self._former_request = self.run.stop_asked()
        self.shards = open_shards(job)
        self.recipe, self._memory = settle_recipe(job, self.shards, context)
        self.ds_config = deepspeed_config.resolve(job.ds_config, self.recipe, context.world)
        self.samples = self.shards.count("train")
        self.step, self.total = 0, total_steps(self.recipe, self.samples)
        self.trained = 0  # steps of this leg
        self.engine = build(self.recipe, self.shards.manifest.vocab_size, context, self.ds_config)
        clipping = self.ds_config.get("gradient_clipping", 0.0)
        self.optimizer_step = OptimizerStep(self.engine, self.recipe, context, clipping)
        self._milestones = {steps_of(epochs, self.recipe, self.samples) for epochs in self.recipe.checkpoint.milestones}
        self._started, self._skips, self._best = False, 0, math.inf

    def train(self) -> str:
        """Train to the end. Returns ``complete``, or ``stopped`` when asked to stop; run_state.json says the same."""
        with self.guard:
            self.start()
            log = RunLog(self.run, self.recipe, self.samples, self.total, self.step)
            self._open(log)
            try:
                if self.step < self.total and self.context.is_main:
                    (self.run.path / WEIGHTS).unlink(missing_ok=True)  # of an earlier, shorter schedule
                status = self._steps(log)
                weights = self.run.path / WEIGHTS
                if status == "complete" and agree(self.context.is_main and not weights.exists(), self.context.device):
                    export_weights(self.engine, weights, writes=self.context.is_main)
                self.run.set_state(status=status, step=self.step)
                torch.distributed.barrier()  # the launcher ends all ranks once one has left with 75
            except BaseException as error:
                self.guard.note_failure(error)
                raise
            finally:
                log.close()
            return status

    def start(self) -> None:
        """Take the run directory over and go to where the run stands; once, and every rank calls it."""
        if self._started:
            return
        self._started = True
        device = self.context.device
        everyone = (lambda flag: agree(flag, device)), (lambda numbers: gather(numbers, device))
        self.guard.take(self.run, *everyone, self._former_request)  # what asked since the constructor began is heard
        if self.context.is_main and self.job.resume == "never":
            self.run.set_aside()
        torch.distributed.barrier()
        if self._memory:
            self.run.event("micro", chosen=self.recipe.micro, **asdict(self._memory))
        self._resume()
        self.guard.begin(self.step)
        self._best = checkpoint.best_of(self.run.checkpoints)[1]
        if self.context.is_main:
            write_atomically(self.run.path / "recipe.yaml", dump_recipe(self.recipe).encode())
            write_json(self.run.path / "ds_config.json", self.ds_config)
            facts = run_facts(self.recipe, self.shards, self.context)
            self.run.set_state(status="running", step=self.step, total_steps=self.total, **facts, **self.guard.leg)

    def _steps(self, log: RunLog) -> str:
        if self.step == 0 or self._lacks_evaluation():
            self._evaluate(log)
        loader = self._loader("train")
        batches = self.guard.waiting(loader.batches(self.step, self.total))
        log.clock.start()
        while self.step < self.total:
            result = self._step(batches, loader.quarantine)
            log.clock.images += self.recipe.batch.total
            saving = result.stop or self.step in self._milestones or self._is_due(self.recipe.checkpoint.every_steps)
            if saving or self.step % self.recipe.log_every == 0:
                log.trained(self.step, self.optimizer_step.meter.drain(), result.norm)
            paused = time.perf_counter()
            due = self._is_due(self.recipe.evaluation.every_steps)
            loss = self._evaluate(log) if due and not result.stop else math.inf
            stopping = result.stop or loss is None
            best = loss is not None and self.recipe.checkpoint.keep_best and loss < self._best
            if saving or best or stopping:
                self._save(loss if best else None)
                self.guard.note_saved()
                asked = agree(self.guard.requested, self.context.device)  # meanwhile: another step would be saved again
                stopping = stopping or (asked and self.step < self.total)
            log.clock.pause(paused)
            if stopping:
                return "stopped"
        return "complete"

    def _lacks_evaluation(self) -> bool:
        """Whether this step was to be evaluated, and a request to stop came before."""
        if not (self._is_due(self.recipe.evaluation.every_steps) and self.shards.count("val")):
            return False
        told = read_metrics(self.run.path, "val") if self.context.is_main else []
        return agree(self.context.is_main and all(line["step"] != self.step for line in told), self.context.device)

    def _is_due(self, every: int | None) -> bool:
        return self.step == self.total or bool(every and self.step % every == 0)

    def _step(self, batches: Iterator[Batch], quarantine: Quarantine | None) -> UpdateResult:
        rate = learning_rate(self.recipe, self.step, self.samples)
        self.optimizer_step.backward(self.step, rate, batches)
        result = self.optimizer_step.update(self.guard.requested, quarantine.found if quarantine else (0, 0))
        if quarantine:
            quarantine.judge(result.damaged)
        self.step, self.trained = self.step + 1, self.trained + 1
        self.guard.done(self.step)
        self._skips = 0 if result.applied else self._skips + 1
        if self._skips:
            self._skipped()
        return result

    def _skipped(self) -> None:
        """An update whose gradients were not finite was left out, on all ranks together."""
        self.run.event("skipped", step=self.step, in_a_row=self._skips)
        if self._skips >= SKIPPED_IN_A_ROW:
            raise NumericsError(
                f"gradients were not finite {self._skips} steps in a row, up to step {self.step}",
                "start a new --out with a lower optim.lr; its weights may start there: --set init_from=",
            )

    def _evaluate(self, log: RunLog) -> float | None:
        """The held-out loss; infinite where nothing is held out, None where a request to stop cut it short."""
        if not self.shards.count("val"):
            return math.inf
        limit = self.recipe.evaluation.samples
        means = evaluate(self.engine, self._loader("val"), limit, lambda: self.guard.requested)
        if not means:
            return None
        log.held_out(self.step, means)
        return means["loss"]

    def _loader(self, split: str) -> Loader:
        context = self.context
        return Loader(
            self.shards,
            split,
            self.recipe,
            rank=context.rank,
            world=context.world,
            device=context.device,
            train=split == "train",
            note=self.run.quarantined,
        )

    def _position(self) -> checkpoint.Position:
        data, aligned = self.shards.manifest.digest, deepspeed_config.aligned(self.ds_config)
        return checkpoint.Position(self.step, self.context.world, data, self.recipe.digest, aligned)

    def _save(self, best: float | None) -> None:
        """best: the held-out loss, where none before was lower"""
        began, folder, keep = time.perf_counter(), self.run.checkpoints, self.recipe.checkpoint.keep
        path = checkpoint.save(self.engine, folder, self._position(), keep, self._milestones)
        if best is not None:
            self._best = best
            if self.context.is_main:
                checkpoint.note_best(path, best)
        self.run.event("saved", step=self.step, checkpoint=path.name, seconds=round(time.perf_counter() - began, 3))
        self.run.set_state(step=self.step)

    def _resume(self) -> None:
        def note(name: str, reason: str) -> None:
            self.run.event("rejected", checkpoint=name, reason=reason)

        path = checkpoint.find_together(self.run.checkpoints, self.job.resume, note)
        if path is not None:
            self.step = checkpoint.restore(self.engine, path, self._position(), self.recipe.former_digest)
            self.run.event("resumed", step=self.step, checkpoint=path.name)

    def _open(self, log: RunLog) -> None:
        if self.shards.faults:  # missing or cut, where others may stand in for their samples
            self.run.event("lost", faults=list(self.shards.faults), samples=len(self.shards.lost))
        chosen = self.job.recipe.batch.micro == "auto"
        for line in opening_lines(self.engine, self.recipe, self.shards, self.context, self.total, self.step, chosen):
            log.say(line)
