"""What ZeRO-2 launches in a micro-step, counted in the DeepSpeed installed: `bench.roofline.zero` builds on it."""

import collections
import traceback
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.bench.roofline.zero import Weights, Zero, zero_launches
from ecamp_fast.bench.step import engines
from ecamp_fast.config import Recipe
from ecamp_fast.run.distributed import DistContext

LAUNCHING = {"copy_", "_to_copy", "add_", "div_", "cat", "allreduce_"}  # operators that start a kernel; views do not
REDUCING = {"reduce_independent_p_g_buckets_and_remove_grads", "reduce_ipg_grads"}  # within DeepSpeed
VOCABULARY = 60


class _Counter(TorchDispatchMode):
    """Operators that DeepSpeed's reduction of gradients calls, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._overloadpacket.__name__
        if name in LAUNCHING and REDUCING & {frame.name for frame in traceback.extract_stack()}:
            self.found[name] += 1
        return function(*args, **(kwargs or {}))


@pytest.fixture
def micro_batches(tiny: Callable[..., Recipe]) -> tuple[Recipe, Iterator[Any]]:
    recipe = tiny("precision=bf16", "batch.micro=2", "batch.total=6")
    return recipe, repeat(synthetic_batch(recipe, VOCABULARY, [5, 9]))


@pytest.mark.slow
def test_four_kernels_a_tensor_and_three_a_bucket(
    micro_batches: tuple[Recipe, Iterator[Any]], context: DistContext
) -> None:
    recipe, batches = micro_batches
    engine = engines.build("2", recipe, VOCABULARY, context)
    engine.step(batches)
    with _Counter() as counter:
        engine.step(batches)
    sizes = [weight.numel() for weight in engine.model.parameters()]
    hooks, before, launches = zero_launches(Weights(len(sizes), sum(sizes), {}), Zero(2, 1, engine.accumulation))
    assert hooks == len(sizes) and before == 0
    assert sum(counter.found.values()) == engine.accumulation * launches, counter.found
