"""The training loop: from a job to a finished run directory. What one step does is in ``step``."""

import math
import time
from dataclasses import asdict

import torch

from ecamp_fast.config import dump_recipe
from ecamp_fast.errors import DataError, NumericsError
from ecamp_fast.files import write_atomically, write_json
from ecamp_fast.run import deepspeed_config
from ecamp_fast.run.checkpoint.verify import damage
from ecamp_fast.run.distributed import DistContext, agree, gather
from ecamp_fast.run.evaluate import evaluate
from ecamp_fast.run.export import WEIGHTS, export_weights
from ecamp_fast.run.log import RunLog
from ecamp_fast.run.metrics import SCALARS, Gauge
from ecamp_fast.run.profiling.watch import StepWatch
from ecamp_fast.run.rundir import RunDir, read_metrics
from ecamp_fast.run.safety.guard import Guard
from ecamp_fast.run.safety.heartbeat import Heartbeat
from ecamp_fast.run.safety.loader_fault import GuardedBatches, GuardedEvaluation, gather_fault
from ecamp_fast.run.safety.recorder import Recorder
from ecamp_fast.run.safety.watch import NumbersWatch
from ecamp_fast.run.saving import RunCheckpoints
from ecamp_fast.run.schedule import learning_rate, steps_of, total_steps
from ecamp_fast.run.setup import Job, build, judge_run, open_shards, settle_recipe
from ecamp_fast.run.step import OptimizerStep
from ecamp_fast.run.summary import opening_lines, run_facts
from ecamp_fast.run.tracking.follower import Follower
from ecamp_fast.run.update import UpdateResult, Votes
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.mix import weights_of
from ecamp_fast.shards.load.quarantine import Quarantine


class Trainer:
    """One run on one rank. ``train()`` goes to the end, or to the next step after a stop request.

    The constructor reads and builds, and leaves the disk as it is; ``start`` takes the run directory over.

    guard      of the process, where it belongs to the run alone
    heartbeat  that a watchdog reads
    profiler   of some steps
    """

    def __init__(
        self,
        job: Job,
        context: DistContext,
        guard: Guard | None = None,
        heartbeat: Heartbeat | None = None,
        profiler: StepWatch | None = None,
    ) -> None:
        self.job, self.context = job, context
        self.guard, self.heartbeat = guard or Guard(), heartbeat or Heartbeat()
        self._profiler = profiler or StepWatch()
        self.run = RunDir(job.out, writes=context.is_main)
        self._former_request = self.run.stop_asked()
        self.shards = open_shards(job)
        self.recipe, self._memory = settle_recipe(job, self.shards, context)
        self.ds_config = deepspeed_config.resolve(job.ds_config, self.recipe, context.world)
        if job.resume != "never":
            judge_run(job.out, self.recipe, self.ds_config, job.allow)
        self.samples = self.shards.epoch("train")
        self.step, self.total = 0, total_steps(self.recipe, self.samples)
        self.trained = 0  # steps of this leg
        self.engine = build(self.recipe, self.shards.manifest.vocab_size, context, self.ds_config, job.model)
        clipping = self.ds_config.get("gradient_clipping", 0.0)
        self.optimizer_step = OptimizerStep(self.engine, self.recipe, context, clipping)
        self.heartbeat.parts = self.optimizer_step.accumulation
        self.recorder = Recorder(self.run, context.world)
        self._milestones = {steps_of(epochs, self.recipe, self.samples) for epochs in self.recipe.checkpoint.milestones}
        self._checkpoints = self._make_checkpoints()
        self.numbers = NumbersWatch(self.run, self.recipe, self.shards, self.engine)
        self._started = False
        self._feed: GuardedBatches | None = None  # of training
        self.follower: Follower | None = None  # of metrics.jsonl, from ``train`` on

    def train(self) -> str:
        """Train to the end. Returns ``complete``, or ``stopped`` when asked to stop; run_state.json says the same."""
        with self.guard:
            self.start()
            gauge = Gauge(self.recipe, self.shards.manifest.vocab_size, self.context)
            self.follower = Follower(self.run, self.job.track, SCALARS)
            log = RunLog(self.run, self.recipe, self.samples, self.total, self.step, gauge, self.follower)
            self._open(log)
            try:
                return self._run(log)
            except BaseException as error:
                self.heartbeat.ask()
                if isinstance(error, NumericsError):  # on all ranks alike; what is on its way is from before
                    self.heartbeat.mark("save", self.step)
                    self.guard.note_saved(self._checkpoints.wait())
                self.guard.note_failure(error)
                raise
            finally:
                if self._feed:
                    self._feed.close()  # whoever catches the error keeps this frame, and its threads with it
                self._profiler.close()
                log.close()
                self.recorder.close()

    def _run(self, log: RunLog) -> str:
        """From the first step of this leg to the last word about it."""
        weights = self.run.path / WEIGHTS
        if self.step < self.total and self.context.is_main:
            weights.unlink(missing_ok=True)  # of an earlier, shorter schedule
        status = self._steps(log)
        self.heartbeat.mark("save", self.step)
        self._profiler.finish(self)
        self._checkpoints.finish()
        self.guard.note_saved(self.step)
        self.heartbeat.mark("end", self.step)
        if status == "complete" and agree(self.context.is_main and not weights.exists(), self.context.device):
            export_weights(self.engine, weights, writes=self.context.is_main)
        self.run.set_state(status=status, step=self.step)
        torch.distributed.barrier()  # the launcher ends all ranks once one has left with 75
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
        self.step = self._checkpoints.resume()
        self._profiler.begin(self)
        self._checkpoints.require_room()
        self.guard.begin(self.step)
        self.numbers.resume(self.step, self._checkpoints.left_out)
        if self.context.is_main:
            write_atomically(self.run.path / "recipe.yaml", dump_recipe(self.recipe).encode())
            write_json(self.run.path / "ds_config.json", self.ds_config)
            facts = run_facts(self.recipe, self.shards, self.context)
            facts |= {"healthy_until": self.numbers.healthy_until}
            facts |= {"step": self.step, "total_steps": self.total}
            facts |= {"ended": None, "resume_before": None}  # of an earlier leg
            self.run.set_state(status="running", **facts, **self.guard.leg)
        self.heartbeat.owns_run = True

    def _steps(self, log: RunLog) -> str:
        if self.step == 0 or self._lacks_evaluation():
            self._evaluate(log)
        loader = self._loader("train")
        batches = self._batches(loader)
        self.heartbeat.keys |= dict.fromkeys(("data", "step"), loader.training_keys)
        log.clock.start()
        while self.step < self.total:
            with self._profiler.watch(self, batches, log):
                result = self._step(batches, loader.quarantine)
            if result.votes.failed:
                self._end_together(batches.fault)
            if self.numbers.goes_back:
                batches.close()
                self._roll_back()
                batches = self._batches(loader)
                log.went_back(self.step)
                continue
            log.clock.images += self.recipe.batch.total
            if self.trained == 1:
                log.warmed_up(self.step)
            paused = time.perf_counter()
            saving = result.votes.stop or result.votes.save or self.step in self._milestones
            saving = saving or self._is_due(self.recipe.checkpoint.every_steps)
            if saving or self.step % self.recipe.log_every == 0:
                waited, batches.waited = batches.waited, 0.0
                log.trained(self.step, self.optimizer_step.meter.drain(waited), result.norm)
                self.heartbeat.told = True
            if loader.quarantine:
                self._judge(loader.quarantine, result)
            due = self._is_due(self.recipe.evaluation.every_steps) and not result.votes.stop
            loss = self._evaluate(log) if due else math.inf
            stopping = result.votes.stop or loss is None
            if saving or stopping or (loss is not None and self._checkpoints.is_best(loss)):
                self._save(math.inf if loss is None else loss)
            self.guard.note_saved(self._checkpoints.look())
            log.clock.pause(paused)
            if stopping and (self.step < self.total or self._lacks_evaluation()):
                return "stopped"
        return "complete"

    def _lacks_evaluation(self) -> bool:
        """Whether this step was to be evaluated, and a request to stop came before."""
        if not (self._is_due(self.recipe.evaluation.every_steps) and self.shards.manifest.count("val")):
            return False
        told = read_metrics(self.run.path, "val") if self.context.is_main else []
        return agree(self.context.is_main and all(line["step"] != self.step for line in told), self.context.device)

    def _is_due(self, every: int | None) -> bool:
        return self.step == self.total or bool(every and self.step % every == 0)

    def _save(self, loss: float = math.inf) -> None:
        """Begin a checkpoint.  loss: held out, of these weights"""
        self.heartbeat.mark("save", self.step)
        self.recorder.sync(self.step)
        self._checkpoints.save(self.step, loss, self.numbers.troubles, self.numbers.left_out)

    def _end_together(self, fault: Exception | None) -> None:
        """The data of some rank failed, and all have met: save what was trained, and leave with its fault.

        fault: of this rank, if it was this one
        """
        error = gather_fault(fault)
        if self.trained:
            self._save()
            self.guard.note_saved(self._checkpoints.wait())
        raise error

    def _judge(self, quarantine: Quarantine, result: UpdateResult) -> None:
        """Where all ranks together have met too many damaged samples: save, and leave."""
        try:
            quarantine.judge(result.votes.damaged)
        except DataError as error:
            self._end_together(error)

    def _batches(self, loader: Loader) -> GuardedBatches:
        """Of the steps still to be done."""
        every = self.guard.waiting(loader.batches(self.step, self.total))
        self._feed = GuardedBatches(every, self.heartbeat, self.step, self.optimizer_step.accumulation)
        return self._feed

    def _step(self, batches: GuardedBatches, quarantine: Quarantine | None) -> UpdateResult:
        rate = learning_rate(self.recipe, self.step, self.samples)
        self.optimizer_step.backward(self.step, rate, batches)
        damaged = quarantine.found if quarantine else (0, 0)
        failed = batches.fault is not None
        votes = Votes(self.guard.requested, self._checkpoints.is_due, failed, damaged)
        result = self.optimizer_step.update(votes, self.numbers.limits(self.step + 1))
        if result.votes.failed:
            return result
        self.heartbeat.warm = True
        self.step, self.trained = self.step + 1, self.trained + 1
        self.guard.done(self.step)
        assert result.measured is not None
        self.recorder.write(self.step, result.measured, result.losses, result.norm, result.applied)
        self.numbers.judge(self.step, result.norm, result.losses, result.applied)
        return result

    def _roll_back(self) -> None:
        """Go back to the newest checkpoint whose weights proved healthy; every rank calls it.

        Raises NumericsError where none is left.
        """
        self.heartbeat.mark("save", self.step)  # which is as slow as the disk
        self._checkpoints.wait()
        self.step = self._checkpoints.go_back(self.numbers.go_back(self.step, damage))
        self.optimizer_step.meter.drain()
        self.numbers.resume(self.step, self.numbers.left_out)  # the disk may have refused the line that says so

    def _evaluate(self, log: RunLog) -> float | None:
        """The held-out loss; infinite where nothing is held out, None where a request to stop cut it short."""
        if not self.shards.manifest.count("val"):
            return math.inf
        loader, watched = self._loader("val"), GuardedEvaluation(self.heartbeat, self.step)
        self.heartbeat.keys["evaluation"] = loader.evaluation_keys
        limit = self.recipe.evaluation.samples
        means = evaluate(self.engine, loader, limit, watched, lambda: self.guard.requested)
        if agree(watched.fault is not None, self.context.device):
            self._end_together(watched.fault)
        if not means:
            return None
        log.held_out(self.step, means)
        if self.step == self.total:
            self.numbers.judge_end(self.step, means["loss"])
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

    def _make_checkpoints(self) -> RunCheckpoints:
        data, sets = self.shards.manifest.digest, weights_of(self.shards)
        return RunCheckpoints(
            self.job, self.run, self.engine, self.recipe, self.ds_config, data, self._milestones, sets
        )

    def _open(self, log: RunLog) -> None:
        if self.shards.faults:  # missing or cut, where others may stand in for their samples
            self.run.event("lost", faults=list(self.shards.faults), samples=len(self.shards.lost))
        chosen = self.job.recipe.batch.micro == "auto"
        for line in opening_lines(self.engine, self.recipe, self.shards, self.context, self.total, self.step, chosen):
            log.say(line)
        for line in self._checkpoints.opening:
            log.say(line)
