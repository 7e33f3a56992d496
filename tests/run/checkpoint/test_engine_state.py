"""What engines keep, by parameter: any stage and precision reads what any other wrote, and goes on from it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.run.checkpoint.commit import save
from ecamp_fast.run.checkpoint.engine_state import engine_state, load_engine_state, model_state
from ecamp_fast.run.checkpoint.read import Checkpoint, load
from ecamp_fast.run.checkpoint.tensor_file import pieces_of
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.update import Update, Votes

SUMS_IN_FLOAT32 = {"data_types": {"grad_accum_dtype": "fp32"}}
LAYOUTS: dict[str, tuple[int, str, dict[str, Any]]] = {
    "plain fp32": (0, "fp32", {}),
    "plain bf16": (0, "bf16", {}),
    "ZeRO-1 fp32": (1, "fp32", {}),
    "ZeRO-1 bf16": (1, "bf16", {}),
    "ZeRO-1 bf16, sums in float32": (1, "bf16", SUMS_IN_FLOAT32),
    "ZeRO-2 fp32": (2, "fp32", {}),
    "ZeRO-2 bf16": (2, "bf16", {}),
    "ZeRO-2 bf16, sums in float32": (2, "bf16", SUMS_IN_FLOAT32),
}
SHORT = ["plain bf16", "ZeRO-1 bf16, sums in float32", "ZeRO-2 fp32"]


def train(engine: Any, recipe: Any, context: DistContext, *steps: int) -> None:
    update = Update(engine, 0.0)
    for step in steps:
        for micro in range(2):
            torch.manual_seed(10 * step + micro)  # dropout
            if micro:
                engine.step()
            batch = synthetic_batch(recipe, 100, [20, 30, 40, 64], seed=step + micro).to(context.device)
            engine.backward(engine(batch).total)
        update.apply(Votes())


def written(engine: Any) -> dict[str, Tensor]:
    """What this engine, the only rank, would write."""
    return {
        name: piece.values.detach().clone().view(piece.shape) for name, piece in pieces_of(engine_state(engine)).items()
    }


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> list[str]:
    """Names that only one has, or whose values differ in a bit."""
    differing = [name for name in ours.keys() & theirs.keys() if not ours[name].cpu().equal(theirs[name].cpu())]
    return sorted((ours.keys() ^ theirs.keys()) | {*differing})


@pytest.fixture
def trained(make_engine: Callable[..., Any], tiny: Callable[..., Any], context: DistContext, tmp_path: Path, lab):
    """trained(layout): (checkpoint after two steps, what the engine has after a third)."""

    def make(name: str) -> tuple[Path, dict[str, Tensor]]:
        stage, precision, keys = LAYOUTS[name]
        engine, recipe = make_engine(stage, precision, **keys), tiny(f"precision={precision}")
        train(engine, recipe, context, 0, 1)
        path = save(tmp_path / name, engine_state(engine), lab.at(2))
        train(engine, recipe, context, 2)
        return path, written(engine)

    return make


@pytest.mark.fault("C7.any-stage", "C7.precision")
@pytest.mark.parametrize("layouts", [SHORT, pytest.param([*LAYOUTS], marks=pytest.mark.complete)], ids=len)
def test_any_layout_reads_what_any_other_wrote(trained, make_engine, tiny, context: DistContext, layouts) -> None:
    """Right after loading equal to the bit; on the same layout it goes on to the bit."""
    written_by = {name: trained(name) for name in layouts}
    for name in layouts:
        stage, precision, keys = LAYOUTS[name]
        engine = make_engine(stage, precision, **keys)
        for other in [*(other for other in layouts if other != name), name]:
            path, after = written_by[other]
            load_engine_state(engine, Checkpoint(path))
            truth = load(path)[0]
            assert same(written(engine), truth) == [], (name, other)
            for parameter, value in engine.module.named_parameters():
                assert value.equal(truth[f"weight/{parameter}"].to(value)), (name, other, parameter)
        train(engine, tiny(f"precision={precision}"), context, 2)
        assert same(written(engine), after) == [], name


@pytest.mark.fault("C7.any-stage")
@pytest.mark.parametrize("name", ["plain fp32", "ZeRO-2 fp32"])
def test_what_is_written_is_all_there_is(trained, make_engine, name: str) -> None:
    path, after = trained(name)
    module = make_engine(*LAYOUTS[name][:2]).module
    names = {parameter for parameter, _ in module.named_parameters()}
    for kind in ("weight", "exp_avg", "exp_avg_sq", "steps"):
        assert {entry.partition("/")[2] for entry in after if entry.startswith(f"{kind}/")} == names, kind
    assert all(value.dtype == torch.float32 for entry, value in after.items() if not entry.startswith("buffer/"))
    assert {float(value) for entry, value in after.items() if entry.startswith("steps/")} == {3.0}
    assert model_state(Checkpoint(path)).keys() == module.state_dict().keys()


@pytest.mark.fault("C8.step-0")
@pytest.mark.parametrize("name", ["plain fp32", "plain bf16", "ZeRO-1 bf16, sums in float32", "ZeRO-2 bf16"])
def test_before_the_first_update(trained, make_engine, tiny, context: DistContext, tmp_path: Path, lab, name) -> None:
    """No moments yet: they are zeros, and nothing of what the engine did before stays."""
    stage, precision, keys = LAYOUTS[name]
    fresh = make_engine(stage, precision, **keys)
    path = save(tmp_path / "fresh", engine_state(fresh), lab.at(0))
    recipe = tiny(f"precision={precision}")
    train(fresh, recipe, context, 0)
    engine = make_engine(stage, precision, **keys)
    train(engine, recipe, context, 5, 6)
    load_engine_state(engine, Checkpoint(path))
    train(engine, recipe, context, 0)
    assert same(written(engine), written(fresh)) == []


def test_parameters_with_their_own_count_of_updates(trained, make_engine, tmp_path: Path, lab) -> None:
    """Without ZeRO each has one; ZeRO counts all alike, and says so."""
    tensors, position = load(trained("plain fp32")[0])
    odd = next(name for name in tensors if name.startswith("steps/"))
    path = save(tmp_path / "odd", tensors | {odd: torch.tensor(1.0)}, position)
    plain = make_engine(0, "fp32")
    load_engine_state(plain, Checkpoint(path))
    assert float(written(plain)[odd]) == 1 and {float(v) for k, v in written(plain).items() if "steps/" in k} == {1, 2}
    with pytest.raises(ConfigError, match=r"some parameters have had .* updates, some .*\n.*zero0"):
        load_engine_state(make_engine(2, "fp32"), Checkpoint(path))


@pytest.mark.parametrize("stage", [0, 2])
def test_another_model_is_refused_by_name(trained, make_engine, tmp_path: Path, lab, stage: int) -> None:
    tensors, position = load(trained("plain fp32")[0])
    name = next(name for name in tensors if name.startswith("weight/"))
    engine = make_engine(stage, "fp32")
    changed = {
        "shape": tensors | {name: tensors[name][..., :-1].contiguous()},
        "less": {key: value for key, value in tensors.items() if key != name},
        "more": tensors | {"weight/planted": torch.ones(2)},
    }
    for kind, found in changed.items():
        with pytest.raises(ConfigError, match=f"({name.removeprefix('weight/')}|planted) is .*\n"):
            load_engine_state(engine, Checkpoint(save(tmp_path / kind, found, position)))
    buffer = next((key for key in tensors if key.startswith("buffer/")), None)
    if buffer:
        less = {key: value for key, value in tensors.items() if key != buffer}
        with pytest.raises(DataError, match="holds no buffer/"):
            load_engine_state(engine, Checkpoint(save(tmp_path / "buffer", less, position)))
