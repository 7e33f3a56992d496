import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from ecamp_fast.config import load_recipe
from ecamp_fast.doctor import engine
from ecamp_fast.doctor.finding import Finding, Status
from ecamp_fast.doctor.run_setup import RunSetup


def found(setup: RunSetup) -> dict[str, Finding]:
    return {finding.name: finding for finding in engine.batch(setup)}


def test_the_batch_triple_is_told_with_the_origin_of_each_number() -> None:
    findings = found(RunSetup(recipe=load_recipe("paper"), asked_ranks=4))
    assert findings["train_batch_size"].found == "8192 (recipe: batch.total 8192)"
    assert findings["train_micro_batch_size_per_gpu"].found == "256 (recipe: batch.micro 256)"
    assert findings["gradient_accumulation_steps"].found == "8 = 8192 / (256 x 4 rank(s), --ranks)"
    assert findings["DeepSpeed keys"].found == "accepted by DeepSpeed: ZeRO-2, bf16"


def test_without_ranks_there_is_one_or_one_per_gpu() -> None:
    recipe = load_recipe("paper")
    assert "1 rank(s), no GPU" in found(RunSetup(recipe=recipe))["gradient_accumulation_steps"].found
    assert "8 rank(s), one per GPU" in found(RunSetup(recipe=recipe, gpus=8))["gradient_accumulation_steps"].found


def test_the_users_file_is_named_and_its_stage_told(tmp_path: Path) -> None:
    path = tmp_path / "ds.json"
    path.write_text(json.dumps({"zero_optimization": {"stage": 1}, "gradient_clipping": 1.0}))
    findings = found(RunSetup(recipe=load_recipe("mae", ["precision=fp32"]), ds_config=path))
    assert findings["DeepSpeed JSON"].found == str(path)
    assert findings["DeepSpeed keys"].found == "accepted by DeepSpeed: ZeRO-1, fp32"


def test_an_accelerator_that_is_not_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepspeed.accelerator.get_accelerator", lambda: SimpleNamespace(device_name=lambda: "cpu"))
    (finding,) = engine.accelerator(RunSetup(gpus=0))
    assert (finding.status, finding.found) == (Status.OK, "cpu")
    (finding,) = engine.accelerator(RunSetup(gpus=2))
    assert finding.status is Status.FAIL and "DS_ACCELERATOR=cuda" in finding.hint

    def refuses() -> None:
        raise ValueError("DS_ACCELERATOR must be one of ['cuda', 'cpu']")

    monkeypatch.setattr("deepspeed.accelerator.get_accelerator", refuses)
    (finding,) = engine.accelerator(RunSetup())
    assert (finding.status, finding.exit_code) == (Status.FAIL, 4)
