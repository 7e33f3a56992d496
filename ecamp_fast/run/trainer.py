"""The training loop: from a recipe and a shard set to a finished run directory.

A step is a pure function of (recipe, shard set, weights, optimizer state, step number): order, crops, masks and dropout
are keyed, so a run that was killed and resumed goes through the same numbers as one that was not.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ecamp_fast import __version__
from ecamp_fast.batch import Batch
from ecamp_fast.config import AUTO, Recipe, dump_recipe, parse_recipe, parse_yaml
from ecamp_fast.errors import ConfigError, NumericsError
from ecamp_fast.files import write_atomically, write_json
from ecamp_fast.keyed_random import Stream, sample_keys
from ecamp_fast.model.attention import cases, describe_choice
from ecamp_fast.model.compile import recompute_blocks
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.ready import make_ready
from ecamp_fast.run import checkpoint, deepspeed_config
from ecamp_fast.run.auto_batch import Memory, choose_micro, earlier_micro, measure
from ecamp_fast.run.distributed import DistContext, agree
from ecamp_fast.run.engine import build_engine, set_learning_rate
from ecamp_fast.run.export import WEIGHTS, export_weights
from ecamp_fast.run.metrics import Clock, LossMeter, TensorBoardLog
from ecamp_fast.run.preemption import StopRequest
from ecamp_fast.run.progress import TrainProgress
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.schedule import learning_rate, total_steps
from ecamp_fast.run.update import Update, UpdateResult
from ecamp_fast.shards.load.loader import Loader, require_text
from ecamp_fast.shards.load.quarantine import Quarantine
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.weights.file import load_weights

SKIPPED_IN_A_ROW = 16  # optimizer steps with gradients that are not finite, before the run gives up


@dataclass(frozen=True)
class Job:
    """What to train on what, and where it goes."""

    recipe: Recipe
    data: Path | str  # a folder, or an address of an object store
    out: Path
    ds_config: Path | None = None
    resume: str = "auto"


class Trainer:
    """One run on one rank. ``train()`` goes to the end, or to the next step after a stop request."""

    def __init__(self, job: Job, context: DistContext) -> None:
        self.job, self.context = job, context
        self.recipe = job.recipe  # from _choose_micro on with a number for batch.micro
        self.run = RunDir(job.out, writes=context.is_main)
        if context.is_main:
            self.run.stop_file.unlink(missing_ok=True)  # what asks from here on is heard
            if job.resume == "never":
                self.run.set_aside()
        torch.distributed.barrier()
        loader = self.recipe.loader
        self.shards = ShardSet(job.data, spare=loader.quarantine, cache_gb=loader.cache_gb)
        require_text(self.shards, self.recipe, ("train", "val"))
        self._choose_micro()
        refuse_other_recipe(replace(job, recipe=self.recipe))
        self.ds_config = deepspeed_config.resolve(job.ds_config, self.recipe, context.world)
        self.accumulation = deepspeed_config.accumulation_steps(self.recipe, context.world)
        self.samples = self.shards.count("train")
        self.total = total_steps(self.recipe, self.samples)
        self.step = 0
        torch.manual_seed(self.recipe.seed)
        model = Ecamp(self.recipe, self.shards.manifest.vocab_size)
        if self.recipe.init_from:
            load_weights(model, Path(self.recipe.init_from))
        model = make_ready(model, self.recipe, context.device)
        self.engine = build_engine(model, self.recipe, self.ds_config)
        self.update = Update(self.engine, self.ds_config.get("gradient_clipping", 0.0))
        self.meter = LossMeter(context.device)
        self.clock = Clock()
        self._resume()
        self._record_run()
        self.tensorboard = TensorBoardLog(self.run.path / "tensorboard", context.is_main, self.step)

    def train(self) -> str:
        """Train to the end. Returns ``complete``, or ``stopped`` when asked to stop; run_state.json says the same."""
        started = self.step
        progress = TrainProgress(self.total, started, visible=self.context.is_main)
        progress.say(self._forecast())
        self._warn_of_losses(progress)
        progress.say("attention: " + ", ".join(f"{part} {choice}" for part, choice in self._attention().items()))
        try:
            if started < self.total and self.context.is_main:
                (self.run.path / WEIGHTS).unlink(missing_ok=True)  # of an earlier, shorter schedule
            with StopRequest(self.run.stop_file) as stop:
                status = self._steps(progress, stop)
                weights = self.run.path / WEIGHTS
                if status == "complete" and agree(self.context.is_main and not weights.exists(), self.context.device):
                    export_weights(self.engine, weights, writes=self.context.is_main)
                self.run.set_state(status=status, step=self.step)
                torch.distributed.barrier()  # the launcher ends all ranks once one has left with 75
        except BaseException as error:
            self.run.set_state(status="failed", step=self.step, fault=type(error).__name__)
            raise
        finally:
            progress.close()
        return status

    def _steps(self, progress: TrainProgress, stop: StopRequest) -> str:
        if self.step == 0:
            self._evaluate(progress)
        loader = self._loader("train")
        batches = loader.batches(self.step, self.total)
        self.clock = Clock()
        while self.step < self.total:
            result = self._step(batches, stop, loader.quarantine)
            stopping = result.stop
            saving = stopping or self.step == self.total or self.step % self.recipe.checkpoint.every_steps == 0
            if saving or self.step % self.recipe.log_every == 0:
                progress.update(self.step, self._log(result))
            paused = time.perf_counter()
            every = self.recipe.evaluation.every_steps
            if self.step == self.total or (every and self.step % every == 0):
                self._evaluate(progress)
            if saving:
                self._save()
            self.clock.pause(paused)
            if stopping and self.step < self.total:
                return "stopped"
        return "complete"

    def _step(self, batches: Iterator[Batch], stop: StopRequest, quarantine: Quarantine | None) -> UpdateResult:
        set_learning_rate(self.engine, learning_rate(self.recipe, self.step, self.samples))
        for micro in range(self.accumulation):
            if micro:
                self.engine.step()  # counts the micro-step before
            batch = next(batches)
            self._seed_dropout(micro)
            torch.compiler.cudagraph_mark_step_begin()  # for compile: reduce-overhead
            losses = self.engine(batch)
            self.engine.backward(losses.total)  # DeepSpeed divides by the accumulation
            self.meter.add(losses, batch)
        result = self.update.apply(stop.requested, quarantine.found if quarantine else (0, 0))
        if quarantine:
            quarantine.judge(result.damaged)
        self.step += 1
        self.clock.images += self.recipe.batch.total
        self._skips = 0 if result.applied else self._skips + 1
        if self._skips:
            self._skipped()
        return result

    _skips = 0

    def _skipped(self) -> None:
        """An update whose gradients were not finite was left out, on all ranks together."""
        self.run.event("skipped", step=self.step, in_a_row=self._skips)
        if self._skips >= SKIPPED_IN_A_ROW:
            raise NumericsError(
                f"gradients were not finite {self._skips} steps in a row, up to step {self.step}",
                "start a new --out with a lower optim.lr; its weights may start there: --set init_from=",
            )

    def _seed_dropout(self, micro: int) -> None:
        index = [self.step * self.accumulation + micro]
        key = sample_keys(self.recipe.seed, int(Stream.DROPOUT), sample_keys(self.context.rank, 0, index))
        torch.manual_seed(int(key[0]))

    def _log(self, result: UpdateResult) -> dict[str, Any]:
        means = self.meter.drain()
        record = {
            "step": self.step,
            "epoch": round(self.step * self.recipe.batch.total / self.samples, 6),
            "samples": self.step * self.recipe.batch.total,
            **means,
            "lr": learning_rate(self.recipe, self.step - 1, self.samples),
            "grad_norm": result.norm,
            "images_per_second": round(self.clock.lap(), 2),
            "time": round(time.time(), 3),
        }
        self.run.metric(record)
        self.tensorboard.add(record)
        return record

    @torch.no_grad()
    @torch.compiler.set_stance("force_eager")  # it comes too seldom to compile for, and its last batch is smaller
    def _evaluate(self, progress: TrainProgress) -> None:
        """Losses on the held-out split, every rank its share of the batches."""
        if not self.shards.count("val"):
            return
        loader, limit = self._loader("val"), self.recipe.evaluation.samples
        seen = loader.count if limit is None else min(limit, loader.count)
        meter = LossMeter(self.context.device)
        self.engine.eval()
        for batch in loader.evaluation(limit):
            meter.add(self.engine.module(batch), batch, weight=len(batch))
        self.engine.train()
        means = meter.drain()
        record = {"split": "val", "step": self.step, "samples": seen, **means, "time": round(time.time(), 3)}
        self.run.metric(record)
        self.tensorboard.add(record)
        progress.say(
            f"held out, step {self.step}: loss {means['loss']:.4f}"
            f" (mim {means['mim']:.4f}, sr {means['sr']:.4f}, mlm {means['mlm']:.4f}) on {seen} samples"
        )

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

    def _choose_micro(self) -> None:
        """Replace ``batch.micro: auto`` by a number: that of the run to go on with, or what the memory allows."""
        if self.recipe.batch.micro != AUTO:
            return
        micro = None if self.job.resume == "never" else earlier_micro(self.job.out)
        if micro is None:
            micro, memory = choose_micro(self.recipe, self.context, self._measure)
            self.run.event("micro", chosen=micro, **asdict(memory))
        elif self.recipe.batch.total % (micro * self.context.world):
            ranks = self.context.world
            found = f"{self.job.out} was started with a batch.micro of {micro}, which {ranks} ranks cannot share"
            raise ConfigError(found, "go on with the number of ranks it was started with, or choose another --out")
        self.recipe = self.recipe.with_micro(micro)

    def _measure(self) -> Memory:
        """On samples of this run, with a model that is dropped again."""
        context, recipe = self.context, self.recipe

        def batch(samples: int) -> Batch:
            loader = Loader(
                self.shards, "train", recipe.with_micro(samples), world=context.world, device=context.device
            )
            return next(loader.batches(0, 1))

        model = Ecamp(recipe, self.shards.manifest.vocab_size)
        if recipe.activations == "recompute":
            recompute_blocks(model)
        return measure(model, batch, recipe, context, deepspeed_config.zero_stage(self.job.ds_config))

    def _position(self) -> checkpoint.Position:
        data, aligned = self.shards.manifest.digest, deepspeed_config.aligned(self.ds_config)
        return checkpoint.Position(self.step, self.context.world, data, self.recipe.digest, aligned)

    def _save(self) -> None:
        began = time.perf_counter()
        path = checkpoint.save(self.engine, self.run.checkpoints, self._position(), self.recipe.checkpoint.keep)
        self.run.event("saved", step=self.step, checkpoint=path.name, seconds=round(time.perf_counter() - began, 3))
        self.run.set_state(step=self.step)

    def _resume(self) -> None:
        found: list[Any] = [None, None]
        if self.context.is_main:
            found = list(self._find())
        torch.distributed.broadcast_object_list(found)
        path, fault = found
        if fault is not None:
            raise fault
        if path is not None:
            self.step = checkpoint.restore(self.engine, path, self._position())
            self.run.event("resumed", step=self.step, checkpoint=path.name)

    def _find(self) -> tuple[Path | None, Exception | None]:
        def note(name: str, reason: str) -> None:
            self.run.event("rejected", checkpoint=name, reason=reason)

        try:
            return checkpoint.find(self.run.checkpoints, self.job.resume, note), None
        except Exception as error:
            return None, error

    def _record_run(self) -> None:
        if not self.context.is_main:
            return
        write_atomically(self.run.path / "recipe.yaml", dump_recipe(self.recipe).encode())
        write_json(self.run.path / "ds_config.json", self.ds_config)
        self.run.set_state(
            status="running",
            step=self.step,
            total_steps=self.total,
            ranks=self.context.world,
            device=_device_name(self.context.device),
            data=str(self.shards.path.resolve() if isinstance(self.shards.path, Path) else self.shards.path),
            manifest=self.shards.manifest.digest,
            tokenizer=self.shards.manifest.tokenizer_digest,
            attention=self._attention(),
            versions={"ecamp_fast": __version__, "torch": torch.__version__},
        )

    def _attention(self) -> dict[str, str]:
        """Part of the model -> the attention backend it uses."""
        found = cases(self.recipe, self.context.device.type == "cuda")
        return {part: describe_choice(case) for part, case in found.items()}

    def _warn_of_losses(self, progress: TrainProgress) -> None:
        """Shards that are missing or cut, where others may stand in for their samples."""
        if self.shards.faults:
            faults, lost = list(self.shards.faults), len(self.shards.lost)
            self.run.event("lost", faults=faults, samples=lost)
            progress.say(f"warning: {'; '.join(faults)}: other samples stand in for {lost}; `ecamp-fast shard repair`")

    def _forecast(self) -> str:
        batch, world = self.recipe.batch, self.context.world
        chosen = " chosen" if self.job.recipe.batch.micro == AUTO else ""
        parameters = sum(p.numel() for p in self.engine.module.parameters())
        stage = self.ds_config.get("zero_optimization", {}).get("stage", 0)
        return (
            f"{f'resuming at step {self.step}' if self.step else 'starting'}: recipe {self.recipe.name}, "
            f"{parameters / 1e6:.1f} M parameters, {self.samples} samples, {self.total} steps of {batch.total} "
            f"({batch.micro}{chosen} x {world} ranks x {self.accumulation} micro-steps), "
            f"{self.recipe.precision}, ZeRO-{stage}, {_device_name(self.context.device)}"
        )


def refuse_other_recipe(job: Job) -> None:
    """Raises ConfigError, naming the keys, where RUN was made with a recipe that trains something else."""
    file = job.out / "recipe.yaml"
    if job.resume == "never" or not file.exists():
        return
    before = parse_recipe(parse_yaml(file.read_text(encoding="utf-8"), str(file)), str(file)).identity()
    now = job.recipe.identity()
    differing = [f"{key} was {before[key]}, is {now[key]}" for key in now if now[key] != before.get(key)]
    if differing:
        raise ConfigError(f"{job.out} was started with another recipe: {'; '.join(differing)}", "choose another --out")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
