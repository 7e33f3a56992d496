"""The training loop: from a job to a finished run directory. What one step does is in ``step``."""

import math
import time
from dataclasses import asdict

import torch

from ecamp_fast.config import dump_recipe
from ecamp_fast.errors import DataError, NumericsError
from ecamp_fast.files import write_atomically, write_json
from ecamp_fast.run import checkpoint, deepspeed_config
from ecamp_fast.run.distributed import DistContext, agree
from ecamp_fast.run.evaluate import evaluate
from ecamp_fast.run.export import WEIGHTS, export_weights
from ecamp_fast.run.log import RunLog
from ecamp_fast.run.preemption import StopRequest
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety.heartbeat import Heartbeat
from ecamp_fast.run.safety.loader_fault import GuardedBatches, GuardedEvaluation, gather_fault
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
    """

    def __init__(self, job: Job, context: DistContext, heartbeat: Heartbeat | None = None) -> None:
        self.job, self.context = job, context
        self.heartbeat = heartbeat or Heartbeat()  # which nobody reads
        self.run = RunDir(job.out, writes=context.is_main)
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
        self.start()
        log = RunLog(self.run, self.recipe, self.samples, self.total, self.step)
        self._open(log)
        try:
            if self.step < self.total and self.context.is_main:
                (self.run.path / WEIGHTS).unlink(missing_ok=True)  # of an earlier, shorter schedule
            with StopRequest(self.run.stop_file) as stop:
                status = self._steps(log, stop)
                self.heartbeat.mark("end", self.step)
                weights = self.run.path / WEIGHTS
                if status == "complete" and agree(self.context.is_main and not weights.exists(), self.context.device):
                    export_weights(self.engine, weights, writes=self.context.is_main)
                self.run.set_state(status=status, step=self.step)
                torch.distributed.barrier()  # the launcher ends all ranks once one has left with 75
        except BaseException as error:
            self.heartbeat.ask()
            self.run.set_state(status="failed", step=self.step, fault=type(error).__name__)
            raise
        finally:
            log.close()
        return status

    def start(self) -> None:
        """Take the run directory over and go to where the run stands; once, and every rank calls it."""
        if self._started:
            return
        self._started = True
        if self.context.is_main:
            self.run.create()
            self.run.forget_stop(self._former_request)  # what asked since the constructor began is heard
            if self.job.resume == "never":
                self.run.set_aside()
        torch.distributed.barrier()
        if self._memory:
            self.run.event("micro", chosen=self.recipe.micro, **asdict(self._memory))
        self._resume()
        self._best = checkpoint.best_of(self.run.checkpoints)[1]
        if self.context.is_main:
            write_atomically(self.run.path / "recipe.yaml", dump_recipe(self.recipe).encode())
            write_json(self.run.path / "ds_config.json", self.ds_config)
            facts = run_facts(self.recipe, self.shards, self.context)
            state = {"status": "running", "step": self.step, "total_steps": self.total}
            self.run.set_state(**state, **facts, fault=None, ended=None)  # of an earlier leg
        self.heartbeat.owns_run = True

    def _steps(self, log: RunLog, stop: StopRequest) -> str:
        if self.step == 0:
            self._evaluate(log)
        loader = self._loader("train")
        every = loader.batches(self.step, self.total)
        batches = GuardedBatches(every, self.heartbeat, self.step, self.optimizer_step.accumulation)
        self.heartbeat.keys |= dict.fromkeys(("data", "step"), loader.training_keys)
        log.clock.start()
        while self.step < self.total:
            result = self._step(batches, stop, loader.quarantine)
            if result.failed:
                self._end_together(batches.fault)
            log.clock.images += self.recipe.batch.total
            saving = result.stop or self.step in self._milestones or self._is_due(self.recipe.checkpoint.every_steps)
            if saving or self.step % self.recipe.log_every == 0:
                log.trained(self.step, self.optimizer_step.meter.drain(), result.norm)
            if loader.quarantine:
                self._judge(loader.quarantine, result)
            paused = time.perf_counter()
            loss = self._evaluate(log) if self._is_due(self.recipe.evaluation.every_steps) else math.inf
            best = self.recipe.checkpoint.keep_best and loss < self._best
            if saving or best:
                self.heartbeat.mark("save", self.step)
                self._save(loss if best else None)
            log.clock.pause(paused)
            if result.stop and self.step < self.total:
                return "stopped"
        return "complete"

    def _is_due(self, every: int | None) -> bool:
        return self.step == self.total or bool(every and self.step % every == 0)

    def _end_together(self, fault: Exception | None) -> None:
        """The data of some rank failed, and all have met: save what was trained, and leave with its fault.

        fault: of this rank, if it was this one
        """
        error = gather_fault(fault)
        if self.trained:
            self.heartbeat.mark("save", self.step)
            self._save(None)
        raise error

    def _judge(self, quarantine: Quarantine, result: UpdateResult) -> None:
        """Where all ranks together have met too many damaged samples: save, and leave."""
        try:
            quarantine.judge(result.damaged)
        except DataError as error:
            self._end_together(error)

    def _step(self, batches: GuardedBatches, stop: StopRequest, quarantine: Quarantine | None) -> UpdateResult:
        rate = learning_rate(self.recipe, self.step, self.samples)
        self.optimizer_step.backward(self.step, rate, batches)
        damaged = quarantine.found if quarantine else (0, 0)
        result = self.optimizer_step.update(stop.requested, damaged, failed=batches.fault is not None)
        if result.failed:
            return result
        self.heartbeat.warm = True
        self.step, self.trained = self.step + 1, self.trained + 1
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

    def _evaluate(self, log: RunLog) -> float:
        """The held-out loss; infinite where nothing is held out."""
        if not self.shards.count("val"):
            return math.inf
        loader, watched = self._loader("val"), GuardedEvaluation(self.heartbeat, self.step)
        self.heartbeat.keys["evaluation"] = loader.evaluation_keys
        means = evaluate(self.engine, loader, self.recipe.evaluation.samples, watched)
        if agree(watched.fault is not None, self.context.device):
            self._end_together(watched.fault)
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
            patience=self.recipe.safety.watchdog.data,
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
