"""One optimizer step: dropout follows from seed, rank and step alone, in a run and in what times it."""

import sys
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import pytest
import torch

from ecamp_fast.batch import Batch
from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.bench.step import engines
from ecamp_fast.config import Recipe
from ecamp_fast.keyed_random import Stream, sample_keys
from ecamp_fast.run import step as step_module
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.step import OptimizerStep, start_micro_step

VOCABULARY = 100


@pytest.fixture
def batches(tiny: Callable[..., Recipe], context: DistContext) -> Iterator[Batch]:
    return repeat(synthetic_batch(tiny(), VOCABULARY, [20, 30, 40, 64]).to(context.device))


def losses(engine: Any, recipe: Recipe, context: DistContext, step: int, batches: Iterator[Batch]) -> list[float]:
    """Of the last micro-batch of step ``step``, taken from wherever the generator stands."""
    torch.manual_seed(torch.seed())
    optimizer_step = OptimizerStep(engine, recipe, context, clipping=0.0)
    found = optimizer_step.backward(step, 0.0, batches)
    optimizer_step.update()
    return [float(term.detach()) for term in (found.total, found.mim, found.sr, found.mlm)]


def test_dropout_is_a_function_of_the_step(
    make_engine: Callable[..., Any], tiny: Callable[..., Recipe], context: DistContext, batches: Iterator[Batch]
) -> None:
    recipe = tiny("precision=fp32")
    engine = make_engine(2, "fp32")
    fifth = losses(engine, recipe, context, 5, batches)
    assert losses(engine, recipe, context, 5, batches) == fifth  # a rate of 0: the weights stay
    assert losses(engine, recipe, context, 6, batches)[3] != fifth[3]


def test_no_two_micro_steps_of_any_rank_share_a_key() -> None:
    seeds = set()
    for rank, number in ((0, 0), (0, 1), (1, 0), (1, 1)):
        start_micro_step(42, rank, number)
        seeds.add(torch.initial_seed())
    assert len(seeds) == 4


@pytest.mark.parametrize("stage", ["0", "2", "ddp"])
def test_the_bench_seeds_dropout_and_marks_steps_as_a_run_does(
    tiny: Callable[..., Recipe],
    context: DistContext,
    batches: Iterator[Batch],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    recipe = tiny("precision=fp32")
    engine = engines.build(stage, recipe, VOCABULARY, context)
    marks: list[int] = []
    monkeypatch.setitem(sys.modules, step_module._GRAPHS, step_module)  # as where blocks are compiled
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(torch.initial_seed()))
    for _ in range(2):
        engine.step(batches)
    keys = sample_keys(recipe.seed, int(Stream.DROPOUT), sample_keys(context.rank, 0, [0, 1, 2, 3]))
    assert engine.accumulation == 2 and marks == [int(key) % 2**64 for key in keys]
