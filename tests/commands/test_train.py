"""``ecamp-fast train`` and ``train.py``: what cannot be meant is refused before a rank starts or anything is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ecamp_fast.cli import main
from ecamp_fast.run import launch
from ecamp_fast.train import main as program

SMALL = str(Path(__file__).resolve().parents[1] / "data" / "small.yaml")
CASES: dict[str, tuple[Any, str]] = {
    "a name that is none": ("zero3", "zero0, zero1, zero2"),
    "a file that is not there": ("none/ds.json", "cannot read the DeepSpeed JSON"),
    "no object": ([1], "holds no JSON object"),
    "fp16": ({"fp16": {"enabled": True}}, "fp16 is enabled"),
    "clipping": ({"gradient_clipping": "some"}, "gradient_clipping is 'some'"),
    "batch": ({"train_batch_size": 3}, "train_batch_size is 3"),
    "an auto that is left": ({"aio": {"block_size": "auto"}}, 'aio.block_size is "auto"'),
    "a nested key": ({"zero_optimization": {"stage": 2, "bogus": 1}}, "unknown key 'zero_optimization.bogus'"),
    "a nested type": ({"comms_logger": {"prof_ops": 3}}, "comms_logger.prof_ops is 3"),
    "timers": ({"wall_clock_breakdown": True}, "wall_clock_breakdown is True"),
    "learning rate": ({"optimizer": {"type": "AdamW", "params": {"lr": 9}}}, "lr is 9, the recipe's optim.lr is"),
}


def source(content: Any, folder: Path) -> str:
    if isinstance(content, str):
        return content
    (folder / "ds.json").write_text(json.dumps(content))
    return str(folder / "ds.json")


@pytest.mark.parametrize("micro", ["16", "auto"])
@pytest.mark.parametrize("name", CASES)
def test_before_any_launcher_starts(name: str, micro: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (name, micro) == ("batch", "auto"):
        pytest.skip("the batch is known once the memory is")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "start", lambda *_, **__: pytest.fail("a launcher was started"))
    content, _ = CASES[name]
    options = ["--recipe", SMALL, "--ranks", "1", "--set", f"batch.micro={micro}", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as left:
        main(["train", "--ds_config", source(content, tmp_path), *options])
    assert left.value.code == 2 and not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", CASES)
def test_before_anything_is_loaded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ecamp_fast.train.run_rank", lambda *_: pytest.fail("the run began"))
    content, says = CASES[name]
    done = CliRunner().invoke(program, ["--ds_config", source(content, tmp_path), "--recipe", SMALL])
    assert done.exit_code == 2 and says in done.output
