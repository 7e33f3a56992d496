"""DeepSpeed's own monitors: they write what it tells them, and one that lacks its package ends no run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.config import Recipe
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.run import deepspeed_config
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.engine import build_engine
from ecamp_fast.run.update import Update

TEMPLATE = {
    "train_batch_size": "auto",
    "gradient_clipping": "auto",
    "steps_per_print": "auto",
    "fp16": {"enabled": "auto"},
    "bf16": {"enabled": "auto"},
    "zero_optimization": {"stage": 2, "offload_optimizer": {"device": "none"}, "reduce_bucket_size": "auto"},
    "optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": "auto"}},
    "scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": "auto"}},
}


@pytest.fixture
def engine(tiny: Callable[..., Recipe], context: DistContext, tmp_path: Path) -> Callable[..., tuple[Any, Update]]:
    """engine(**keys): that of a template with further keys, and what ends its steps."""

    def make(**keys: Any) -> tuple[Any, Update]:
        file = tmp_path / "ds.json"
        file.write_text(json.dumps(TEMPLATE | keys))
        resolved = deepspeed_config.resolve(file, tiny(), context.world)
        torch.manual_seed(1)
        made = build_engine(Ecamp(tiny(), 100).to(context.device), tiny(), resolved)
        return made, Update(made, resolved["gradient_clipping"])

    return make


def test_a_template_of_autos_trains_and_its_csv_monitor_writes(
    engine: Callable[..., tuple[Any, Update]], tiny: Callable[..., Recipe], context: DistContext, tmp_path: Path
) -> None:
    monitor = {"enabled": True, "output_path": str(tmp_path), "job_name": "films"}
    made, update = engine(csv_monitor=monitor)
    batch = synthetic_batch(tiny(), 100, [20, 30, 40, 64]).to(context.device)
    for micro in range(2):
        if micro:
            made.step()
        made.backward(made(batch).total)
    assert update.apply().applied
    assert list((tmp_path / "films").glob("*lr.csv"))


def test_a_monitor_without_its_package_stays_off_and_says_so(
    engine: Callable[..., tuple[Any, Update]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ecamp_fast.config.deepspeed_values.find_spec", lambda package: None)
    made, _ = engine(wandb={"enabled": True, "project": "films"})
    assert not made.monitor.enabled
    assert "wandb stays off: wandb is not installed" in capsys.readouterr().err
