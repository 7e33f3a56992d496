"""Where the host waits for the device in a training step: nowhere in forward and backward, once in the update."""

import collections
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ecamp_fast.config import Recipe
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.trainer import Job, Trainer

OPERATIONS = {
    "_local_scalar_dense",
    "item",
    "is_nonzero",
    "nonzero",
    "equal",
    "masked_select",
    "unique_dim",
    "_unique2",
}
METHODS = {"tolist", "numpy", "cpu", "__array__"}  # on the CPU these reach no operation
STEPS = 20
WARM_UP = 2


class _Operations(TorchDispatchMode):
    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._overloadpacket.__name__
        masked = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in OPERATIONS or masked:
            self.note(name)
        return function(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") in METHODS:
            self.note(function.__name__)
        return function(*args, **(kwargs or {}))


@contextmanager
def reads() -> Iterator[collections.Counter[tuple[str, str, str]]]:
    """Counts what would wait for a device, in this thread: part of the step, where, what."""
    found: collections.Counter[tuple[str, str, str]] = collections.Counter()

    def note(name: str) -> None:
        frames = traceback.extract_stack()[:-2]
        names = [frame.name for frame in frames]
        if "_step" not in names or "check_indices" in names:  # checks look at values on the CPU only
            return
        part = "update" if "apply" in names and "update.py" in frames[names.index("apply")].filename else "micro-step"
        context = next(f for f in reversed(frames) if "torch/" not in f.filename and f.filename != __file__)
        found[part, f"{Path(context.filename).name}:{context.name}", name] += 1

    with _Operations(note), _Methods(note):
        yield found


def test_the_counter_counts() -> None:
    def _step() -> None:
        mask = torch.tensor([True, False])
        mask.nonzero(), mask[mask], mask.tolist(), mask.numpy(), bool(mask[0]), mask[0].item(), mask.equal(mask)

    with reads() as found:
        _step()
    counted = collections.Counter(name for _, _, name in found.elements())
    assert counted.items() >= {"nonzero": 1, "index": 1, "tolist": 1, "numpy": 1, "equal": 1}.items()
    assert counted["_local_scalar_dense"] + counted["is_nonzero"] + counted["item"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "precision", "align"),
    [
        *((0, "fp32", False), (2, "bf16", True)),
        *(
            pytest.param(*case, marks=pytest.mark.complete)
            for case in ((0, "bf16", False), (1, "fp32", False), (1, "bf16", True), (2, "fp32", False))
        ),
    ],
)
def test_one_read_per_optimizer_step_and_none_before_it(
    tiny: Callable[..., Recipe],
    phantoms: Path,
    context: DistContext,
    tmp_path: Path,
    stage: int,
    precision: str,
    align: bool,
) -> None:
    recipe = tiny(
        f"precision={precision}",
        f"losses.align={str(align).lower()}",
        "schedule.epochs=100",
        "schedule.horizon_epochs=100",
        "checkpoint.every_steps=1000",
        "log_every=1",
    )
    ds_config = tmp_path / "ds.json"
    ds_config.write_text(f'{{"zero_optimization": {{"stage": {stage}}}, "zero_allow_untested_optimizer": true}}')
    trainer = Trainer(Job(recipe, phantoms, tmp_path / "run", ds_config), context)
    trainer.total = WARM_UP
    trainer.train()
    trainer.total += STEPS
    with reads() as found:
        assert trainer.train() == "complete"
    assert found == {("update", "update.py:_read", "tolist"): STEPS}
