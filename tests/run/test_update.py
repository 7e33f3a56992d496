"""One optimizer step on one rank: what is applied, what is left out, what the host is told."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from ecamp_fast.batch import Batch
from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.config import Recipe
from ecamp_fast.run import update as update_module
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.update import Update, Votes, gradients

ENGINES = {
    "plain-fp32": (0, "fp32", {}),
    "plain-bf16": (0, "bf16", {}),
    "ZeRO-1-fp32": (1, "fp32", {}),
    "ZeRO-1-bf16": (1, "bf16", {}),
    "ZeRO-1-bf16-float32-sums": (1, "bf16", {"data_types": {"grad_accum_dtype": "fp32"}}),
    "ZeRO-2-fp32": (2, "fp32", {}),
    "ZeRO-2-bf16": (2, "bf16", {}),
    "ZeRO-2-bf16-float32-sums": (2, "bf16", {"data_types": {"grad_accum_dtype": "fp32"}}),
}
Make = Callable[..., Any]


@pytest.fixture
def batch(tiny: Callable[..., Recipe], context: DistContext) -> Batch:
    return synthetic_batch(tiny(), 100, [20, 30, 40, 64]).to(context.device)


def accumulate(engine: Any, batch: Batch, poisoned: bool = False) -> None:
    """Forward and backward of both micro-steps of an update, always with the same dropout."""
    torch.manual_seed(5)
    for micro in range(2):
        if micro:
            engine.step()
        loss = engine(batch).total
        engine.backward(loss * math.nan if poisoned and micro else loss)


def weights(engine: Any) -> list[torch.Tensor]:
    return [parameter.detach().float().clone() for parameter in engine.module.parameters()]


def same(ones: list[torch.Tensor], others: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))


@pytest.mark.parametrize("name", ENGINES)
def test_gradients_that_are_not_finite_leave_no_trace(make_engine: Make, batch: Batch, name: str) -> None:
    stage, precision, keys = ENGINES[name]
    engine, untouched = (make_engine(stage, precision, **keys) for _ in range(2))
    update, other = Update(engine, 0.0), Update(untouched, 0.0)
    first = weights(engine)
    for poisoned in (True, False, True, True, False):
        before = weights(engine)
        accumulate(engine, batch, poisoned)
        result = update.apply()
        assert result.applied is not poisoned and math.isinf(result.norm) is poisoned
        assert same(before, weights(engine)) is poisoned
    for _ in range(2):
        accumulate(untouched, batch)
        assert other.apply().applied
    assert same(weights(engine), weights(untouched))
    assert not same(weights(engine), first)


@pytest.mark.parametrize("stage", [0, 2])
@pytest.mark.fault("N2.skipped", "N1.term")
def test_beyond_a_limit_nothing_moves(make_engine: Make, batch: Batch, stage: int) -> None:
    """The update of a norm or a loss above its limit, and of a loss that is not finite, is masked on the device."""
    engine = make_engine(stage, "fp32")
    update = Update(engine, 0.0)
    accumulate(engine, batch)
    norm = update.apply().norm
    for loss, limits, moves in (
        (5.0, (math.inf, math.inf), True),
        (5.0, (100 * norm, 5.0), True),
        (5.0, (math.inf, 4.9), False),
        (5.0, (norm / 100, math.inf), False),
        (5.0, (-1.0, math.inf), False),
        (math.nan, (math.inf, math.inf), False),
    ):
        before = weights(engine)
        accumulate(engine, batch)
        result = update.apply(losses=torch.tensor([loss, 1.0, 2.0, 3.0], dtype=torch.float64), limits=limits)
        assert result.applied is moves and same(before, weights(engine)) is not moves, (loss, limits)
        assert math.isfinite(result.norm) and result.losses[1:] == (1.0, 2.0, 3.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_the_norm_is_that_of_all_gradients(make_engine: Make, batch: Batch, name: str) -> None:
    stage, precision, keys = ENGINES[name]
    engine = make_engine(stage, precision, **keys)
    accumulate(engine, batch)
    whole = torch.cat([part.detach().double().flatten() for part in gradients(engine)]).norm()
    assert Update(engine, 0.0).apply().norm == pytest.approx(float(whole), rel=1e-5)


def test_stages_agree_on_the_norm(make_engine: Make, batch: Batch) -> None:
    norms = []
    for stage in (0, 1, 2):
        engine = make_engine(stage, "fp32")
        accumulate(engine, batch)
        norms.append(Update(engine, 0.0).apply().norm)
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_clipping_shortens_the_gradient_but_not_the_norm_that_is_told(
    make_engine: Make, batch: Batch, name: str
) -> None:
    stage, precision, keys = ENGINES[name]
    engine = make_engine(stage, precision, gradient_clipping=0.01, **keys)
    seen = {}

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for parameter in (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None):
            seen[id(parameter)] = float(parameter.grad.double().square().sum())

    engine.basic_optimizer.register_step_pre_hook(look)
    accumulate(engine, batch)
    result = Update(engine, 0.01).apply()
    assert result.norm > 0.1
    assert math.sqrt(sum(seen.values())) == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("stage", [0, 2])
def test_the_norm_is_that_of_one_copy(
    make_engine: Make, batch: Batch, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    """On two ranks plain data parallelism holds every gradient twice; ZeRO holds each part once."""
    engine = make_engine(stage, "fp32")
    accumulate(engine, batch)
    alone = float(torch.cat([part.detach().double().flatten() for part in gradients(engine)]).norm())
    monkeypatch.setattr(update_module.dist, "get_world_size", lambda *_, **__: 2)
    monkeypatch.setattr(update_module.dist, "all_reduce", lambda vector: vector.mul_(2))  # the other rank says the same
    wanted = alone if stage == 0 else alone * math.sqrt(2)
    assert Update(engine, 0.0).apply().norm == pytest.approx(wanted, rel=1e-5)


def test_clipping_leaves_small_gradients_alone(make_engine: Make, batch: Batch) -> None:
    engine = make_engine(0, "fp32")
    accumulate(engine, batch)
    before, seen = [part.clone() for part in gradients(engine)], []
    engine.basic_optimizer.register_step_pre_hook(lambda *_: seen.extend(part.clone() for part in gradients(engine)))
    assert 0.1 < Update(engine, 1e6).apply().norm < 1e6
    assert all(torch.equal(*pair) for pair in zip(before, seen, strict=True))


def test_a_request_to_stop_is_passed_on(make_engine: Make, batch: Batch) -> None:
    engine = make_engine(2, "fp32")
    update = Update(engine, 0.0)
    for asked in (False, True, False):
        accumulate(engine, batch)
        votes = Votes(stop=asked, save=not asked, damaged=(3, 5))
        assert update.apply(votes).votes == votes


@pytest.mark.parametrize("stage", [0, 2])
def test_a_rank_without_data_leaves_the_update_out_everywhere(make_engine: Make, batch: Batch, stage: int) -> None:
    engine = make_engine(stage, "fp32")
    update, before = Update(engine, 1.0), weights(engine)
    for failed in (True, False):
        accumulate(engine, batch)
        result = update.apply(Votes(failed=failed))
        assert (result.votes.failed, result.applied) == (failed, not failed)
        assert same(before, weights(engine)) is failed


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_adamw_runs_fused(make_engine: Make, batch: Batch, name: str) -> None:
    """One kernel launch per group of parameters, on float32 masters."""
    from torch.utils._python_dispatch import TorchDispatchMode

    calls = []

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function._overloadpacket.__name__ == "_fused_adamw_":
                calls.append({tensor.dtype for tensor in args[0]})
            assert function._overloadpacket.__name__ not in ("addcdiv_", "_foreach_addcdiv_")
            return function(*args, **(kwargs or {}))

    stage, precision, keys = ENGINES[name]
    engine = make_engine(stage, precision, **keys)
    accumulate(engine, batch)
    with Seen():
        Update(engine, 0.0).apply()
    assert calls == [{torch.float32}] * 2  # with weight decay and without
