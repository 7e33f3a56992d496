"""Watches some steps of a run with torch's profiler, and writes what it saw into RUN/profile/.

Ranges are laid around the components for as long as somebody watches: a run without ``--profile`` pays nothing, and
losses and weights are the same to the bit with it. Rank 0 alone watches. What the disk refuses ends no run.
"""

import itertools
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from ecamp_fast import __version__
from ecamp_fast.batch import Batch
from ecamp_fast.config import Recipe
from ecamp_fast.errors import EcampError
from ecamp_fast.files import write_atomically
from ecamp_fast.model.components import in_range, scopes
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.flops import step_work
from ecamp_fast.printable import one_line
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.log import RunLog
from ecamp_fast.run.profiling.attribution import COMMUNICATION, DATA, OPTIMIZER, STEP, attribute
from ecamp_fast.run.profiling.ceiling import ceiling, counted_threads
from ecamp_fast.run.profiling.recorded import recorded, trace
from ecamp_fast.run.profiling.steps import ProfiledSteps, Span
from ecamp_fast.run.profiling.summary import Summary, summarise
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety.heartbeat import Heartbeat
from ecamp_fast.run.summary import device_name

FOLDER = "profile"
COLLECTIVES = (
    *("all_reduce", "reduce", "broadcast", "barrier", "all_gather", "reduce_scatter", "all_to_all_single"),
    *("all_gather_into_tensor", "reduce_scatter_tensor", "all_reduce_coalesced"),
)
SILENT = "99"  # else torch's profiler tells people that it starts, and that a CPU is no GPU
Micro = tuple[torch.Tensor, torch.Tensor | None]  # of a micro-batch: lengths and weights of texts
Pages = Callable[[Summary], Mapping[str, bytes]]  # a summary -> file name -> content


class Watched(Protocol):
    """What a trainer has that is watched."""

    engine: Any
    optimizer_step: Any
    recipe: Recipe
    context: DistContext
    run: RunDir
    heartbeat: Heartbeat
    step: int
    total: int


class StepWatch:
    """Profiles the steps that ``steps`` means; without, it lets every step pass.

    pages: makes the files that are written beside the trace
    """

    def __init__(self, steps: ProfiledSteps | None = None, pages: Pages | None = None) -> None:
        self._steps, self._pages = steps, pages
        self._span: Span | None = None
        self._profiler: profile | None = None
        self._hooks = ExitStack()
        self._seen: dict[int, list[Micro]] = {}  # steps that were watched; of one that was done again, the last time
        self._micro: list[Micro] | None = None  # of the step that is being watched
        self._before: float | None = None  # milliseconds of the last step that nobody watched

    def begin(self, trainer: Watched) -> None:
        """Once a leg knows where it begins, on every rank.  Raises ConfigError where the run has no such steps."""
        if self._steps:
            span = self._steps.settle(trainer.step, trainer.total)
            self._span = span if trainer.context.is_main else None
            if span is None and trainer.context.is_main:
                print(one_line(self._steps.lacks(trainer.step, trainer.total)), file=sys.stderr)

    @contextmanager
    def watch(self, trainer: Watched, batches: Any, log: RunLog) -> Generator[None]:
        """Around one optimizer step.  batches: where it takes them from   log: leaves out what watching takes"""
        number, span = trainer.step + 1, self._span
        if span is None:
            yield
            return
        if number not in span:
            began = time.perf_counter()
            yield
            if not self._profiler:  # else the run went back to it
                self._before = (time.perf_counter() - began) * 1e3
            return
        began = time.perf_counter()
        self._start(trainer)
        log.leave_out(began)
        self._micro = []
        with ExitStack() as undo:
            undo.callback(setattr, self, "_micro", None)
            _lay(undo, batches, "_fetch", DATA)
            undo.enter_context(record_function(f"{STEP}{number}"))
            yield
            micro = self._micro
        self._seen = {step: seen for step, seen in self._seen.items() if step < number} | {number: micro}
        if number == span.last:
            began = time.perf_counter()
            self.finish(trainer)
            log.leave_out(began)

    def finish(self, trainer: Watched) -> None:
        """Write what was seen, if anything was; then nothing is watched any more."""
        self._span = None
        if not self._profiler:
            return
        trainer.heartbeat.mark("save", trainer.step)  # which takes seconds, as the disk does
        profiler = self._profiler
        self.close()
        if not self._seen:
            return
        try:
            self._write(trainer, profiler)
        except (EcampError, OSError, RuntimeError, ValueError) as error:
            told = f"warning: no profile, training goes on: {error}"
            print(one_line(told), file=sys.stderr)

    def close(self) -> None:
        """Take the hooks away and forget what was not written."""
        self._hooks.close()
        if self._profiler:
            self._profiler.stop()
            self._profiler = None

    def _start(self, trainer: Watched) -> None:
        if self._profiler:
            return
        cuda = trainer.context.device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
        model = trainer.engine.module
        self._hooks.enter_context(scopes(model))
        self._hooks.callback(model.register_forward_pre_hook(self._note).remove)
        _lay(self._hooks, trainer.optimizer_step, "update", OPTIMIZER)
        for name in COLLECTIVES:
            if hasattr(torch.distributed, name):
                _lay(self._hooks, torch.distributed, name, COMMUNICATION)
        os.environ.setdefault("KINETO_LOG_LEVEL", SILENT)
        self._profiler = profile(activities=activities)
        self._profiler.start()

    def _note(self, _module: Any, arguments: tuple[Any, ...]) -> None:
        """How much work a micro-batch is; read when the steps are over. One of an evaluation is none of a step."""
        batch = arguments[0]
        if self._micro is not None and isinstance(batch, Batch):
            self._micro.append((batch.lengths.clone(), batch.text.weights.clone() if batch.text else None))

    def _write(self, trainer: Watched, profiler: profile) -> None:
        events = recorded(profiler)
        summary = summarise(
            attribute(events),
            self._work(trainer.engine.module),
            _updated_weights(trainer),
            ceiling(trainer.context.device, trainer.recipe.precision),
            precision=trainer.recipe.precision,
            before=self._before,
            facts=_facts(trainer),
            trace=f"trace-{Span(min(self._seen), max(self._seen))}.json.gz",
        )
        folder = trainer.run.path / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        write_atomically(folder / summary.trace, trace(events))
        for name, content in (self._pages(summary) if self._pages else {}).items():
            write_atomically(folder / name, content)
        print(one_line(f"profile of {summary.told}: {folder}"), file=sys.stderr)

    def _work(self, model: Any) -> dict[str, float]:
        """Counted operations of a step by component; empty of a model that is not ``Ecamp``."""
        sums: dict[str, float] = {}
        if isinstance(model, Ecamp):
            for lengths, weights in itertools.chain(*self._seen.values()):
                predicted = 0 if weights is None else int(weights.count_nonzero())
                for name, work in step_work(model.recipe, model.vocab_size, lengths.tolist(), predicted).items():
                    sums[name] = sums.get(name, 0.0) + work.total / len(self._seen)
        return sums


def _lay(undo: ExitStack, owner: Any, name: str, component: str) -> None:
    """A range of the component around ``owner.name`` until ``undo`` is closed."""
    own, function = name in vars(owner), getattr(owner, name)
    setattr(owner, name, in_range(function, component))
    undo.callback(setattr, owner, name, function) if own else undo.callback(delattr, owner, name)


def _updated_weights(trainer: Watched) -> int:
    """Numbers that AdamW of this rank updates: all, or its part in ZeRO."""
    count = sum(weight.numel() for weight in trainer.engine.module.parameters() if weight.requires_grad)
    return count // trainer.context.world if trainer.engine.zero_optimization() else count


def _facts(trainer: Watched) -> dict[str, str]:
    recipe, context = trainer.recipe, trainer.context
    accumulation = recipe.accumulation(context.world)
    threads = "" if context.device.type == "cuda" else f", {counted_threads()}"
    return {
        "recipe": recipe.name,
        "images a step": str(recipe.batch.total),
        "micro-batch": f"{recipe.batch.micro} x {context.world} ranks x {accumulation} micro-steps",
        "precision": recipe.precision,
        "ZeRO stage": str(trainer.engine.zero_optimization_stage()),
        "device": device_name(context.device) + threads,
        "compile": recipe.compile,
        "versions": f"ecamp-fast {__version__}, torch {torch.__version__}",
    }
