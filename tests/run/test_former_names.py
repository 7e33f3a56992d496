"""Files from before a parameter was renamed: state dicts, weights files and checkpoints are read to the bit."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ecamp_fast.config import Recipe
from ecamp_fast.model.ecamp import FORMER_NAMES, Ecamp
from ecamp_fast.run.checkpoint.engine_state import load_engine_state
from ecamp_fast.run.checkpoint.former import convert
from ecamp_fast.run.checkpoint.read import Checkpoint
from ecamp_fast.run.trained import load_trained
from ecamp_fast.weights.file import load_weights, save_weights

VOCABULARY = 100
RENAMED = {"text.fusion.globe.weight", "text.fusion.globe.bias"}
Make = Callable[..., Any]


def as_before(state: Mapping[str, Any]) -> dict[str, Any]:
    """The same under the names that files had."""
    found = OrderedDict()
    for name, value in state.items():
        for former, current in FORMER_NAMES.items():
            name = name.replace(current, former)
        found[name] = value
    return found


def equal(ones: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return ones.keys() == others.keys() and all(torch.equal(ones[name], others[name]) for name in ones)


def test_a_state_dict(tiny: Callable[..., Recipe]) -> None:
    old, new = Ecamp(tiny(), VOCABULARY), Ecamp(tiny(), VOCABULARY)
    assert not equal(old.state_dict(), new.state_dict())
    new.load_state_dict(as_before(old.state_dict()))
    assert equal(old.state_dict(), new.state_dict())
    with pytest.raises(RuntimeError, match=r"text\.fusion\.unknown"):
        new.load_state_dict(old.state_dict() | {"text.fusion.unknown": torch.ones(1)})


def test_a_weights_file(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    old, new, file = Ecamp(tiny(), VOCABULARY), Ecamp(tiny(), VOCABULARY), tmp_path / "weights.safetensors"
    save_weights(old, file)
    with safetensors.safe_open(file, framework="pt") as saved:
        about = saved.metadata()
    assert as_before(old.state_dict()).keys() >= RENAMED
    safetensors.torch.save_file(as_before(old.state_dict()), file, about)
    report = load_weights(new, file)
    assert equal(old.state_dict(), new.state_dict())
    assert report.missing == report.ignored == []


def saved_as_before(engine: Any, former_run: Make, number: int) -> Path:
    """A run with a checkpoint of versions up to 0.1, under the names of then. Returns its folder."""

    def rename(module: Any, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
        renamed = as_before(state)
        state.clear()
        state.update(renamed)

    hook = engine.module.register_state_dict_post_hook(rename)
    if hasattr(engine.optimizer, "_param_slice_mappings"):
        engine.optimizer._param_slice_mappings = [as_before(one) for one in engine.optimizer._param_slice_mappings]
    run = former_run(engine, "bf16", number)
    hook.remove()
    (path,) = (run / "checkpoints").glob("step-*")
    stored = torch.load(path / "mp_rank_00_model_states.pt", weights_only=True)["module"]
    assert stored.keys() >= RENAMED and not any("global_proj" in name for name in stored)
    return run


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_checkpoint_goes_on_to_the_bit(
    make_engine: Make, tiny: Make, step: Make, former_run: Make, stage: int
) -> None:
    old, new = make_engine(stage, "bf16"), make_engine(stage, "bf16")
    step(old, 0)
    run = saved_as_before(old, former_run, 1)
    settings: dict[str, dict[str, Any]] = {"recipe": {}, "deepspeed": {}}
    (path,) = convert(run / "checkpoints", tiny("precision=bf16"), settings, lambda *_: None).converted
    load_engine_state(new, Checkpoint(path))
    assert equal(old.module.state_dict(), new.module.state_dict())
    before = {name: tensor.clone() for name, tensor in new.module.state_dict().items()}
    for engine in (old, new):
        step(engine, 1)
    assert equal(old.module.state_dict(), new.module.state_dict())
    assert not equal(before, new.module.state_dict())
    trained = load_trained(run).state_dict()
    assert equal({name: tensor.to(before[name].dtype) for name, tensor in trained.items()}, before)
