"""GLoRIA on the engine of pre-training: metrics, a kill and a resume to the bit, and prompts to what was trained."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from ecamp_fast.attend.model import Gloria
from ecamp_fast.attend.trained import load_gloria
from ecamp_fast.commands.downstream.zero_shot import command as zero_shot
from ecamp_fast.commands.knowledge.attend_train import FOLDER, command, find_recipe
from ecamp_fast.config import RECIPES, Recipe
from ecamp_fast.doctor.backends import attention
from ecamp_fast.doctor.recipe import VOCABULARY, model, recipe
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.replay.rebuild import Rebuild
from ecamp_fast.run import launch
from ecamp_fast.run.checkpoint.retention import best_of
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.rundir import RunDir, read_metrics, read_records
from ecamp_fast.run.setup import Job
from ecamp_fast.run.trained import load_trained
from ecamp_fast.run.trainer import Trainer

SHORT = ("schedule.epochs=1.5", "schedule.horizon_epochs=3", "gloria.sentences=2", "evaluation.every_steps=2")
Make = Callable[..., Trainer]


@pytest.fixture
def make(tiny: Callable[..., Recipe], phantoms: Path, context: DistContext, tmp_path: Path) -> Make:
    def build(name: str, *changes: str) -> Trainer:
        return Trainer(Job(tiny(*SHORT, *changes), phantoms, tmp_path / name, model=Gloria), context)

    return build


@pytest.mark.parametrize("changes", [("precision=bf16",), ("precision=fp32", "gloria.text=raw")])
def test_a_stopped_run_goes_on_to_the_bit(make: Make, tmp_path: Path, changes: tuple[str, ...]) -> None:
    whole = make("whole", *changes, "checkpoint.keep_best=true")
    assert whole.train() == "complete" and whole.total == 7
    part = make("broken", *changes)
    done = part._step

    def stop_after_three(*arguments: object) -> object:
        if part.step == 2:
            RunDir(tmp_path / "broken").stop_file.touch()
        return done(*arguments)  # type: ignore[arg-type]

    part._step = stop_after_three  # type: ignore[method-assign, assignment]
    assert part.train() == "stopped" and part.step == 3
    assert make("broken", *changes).train() == "complete"
    one, other = (read_metrics(tmp_path / name) for name in ("whole", "broken"))
    for name in ("loss", "local", "global", "grad_norm"):
        assert [record[name] for record in one] == [record[name] for record in other] and one[0][name] > 0
    for record in [*one, *read_metrics(tmp_path / "whole", "val")]:
        assert record["loss"] == pytest.approx(record["local"] + record["global"], rel=1e-5)
        assert "align" not in record
    first, second = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "broken"))
    assert first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)
    end = load_gloria(tmp_path / "whole", best=False)
    assert all(value.equal(first[name]) for name, value in end.state_dict().items())
    assert not end.training and best_of(tmp_path / "whole" / "checkpoints")[0]


def test_the_best_is_what_is_opened(make: Make, tmp_path: Path) -> None:
    trainer = make("run", "checkpoint.keep_best=true", "optim.lr=0.3", "schedule.warmup_epochs=0.0")  # which spoils it
    trainer.train()
    held_out = read_metrics(tmp_path / "run", "val")
    best = min(held_out[1:], key=lambda record: record["loss"])["step"]
    assert best_of(tmp_path / "run" / "checkpoints")[0] == f"step-{best:08d}"
    name = "image.local.weight"
    opened = load_gloria(tmp_path / "run").state_dict()[name]
    ended = load_gloria(tmp_path / "run", best=False).state_dict()[name]
    assert opened.equal(ended) == (best == trainer.total)


def test_other_commands_refuse_it_by_name(
    make: Make, tmp_path: Path, tiny: Callable[..., Recipe], context: DistContext
) -> None:
    make("run", "schedule.epochs=0.2").train()
    with pytest.raises(ConfigError, match="GLoRIA"):
        load_trained(tmp_path / "run")
    with pytest.raises(ConfigError, match="replay rebuilds steps of pre-training alone"):
        Rebuild(tmp_path / "run", context)
    for change in ("losses.mim=true", "losses.align=true"):
        with pytest.raises(ConfigError, match="another model"):
            tiny(change)


@pytest.fixture(scope="module")
def settings(changes: list[str]) -> list[str]:
    return [f"--set={item}" for item in (*changes, "schedule.epochs=3", "schedule.horizon_epochs=3")]


@pytest.fixture(scope="module")
def whole(phantoms: Path, settings: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by the command, to its end."""
    run = tmp_path_factory.mktemp("whole") / "run"
    told = CliRunner().invoke(command, [str(phantoms), str(run), "--recipe=phantom", "--ranks=1", "--json", *settings])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["state"]["status"] == "complete"
    return run


@pytest.mark.complete  # below: a stopped run goes on to the bit
def test_a_killed_run_goes_on_to_the_bit(phantoms: Path, settings: list[str], whole: Path, tmp_path: Path) -> None:
    def events(run: Path) -> list[str]:
        return [record["event"] for record in read_records(run / "events.jsonl")]

    broken = tmp_path / "broken"
    arguments = [f"--data={phantoms}", f"--out={broken}", f"--recipe={find_recipe('phantom')}"]
    arguments += [f"--ds_config={FOLDER / 'clipped.json'}", *settings]
    with open(tmp_path / "log", "ab") as log:
        process = launch.start(arguments, 1, log)
        assert launch.kill_when(process, lambda: "saved" in events(broken), patience=120)
        # a killed rank takes a moment to leave, which ranks wait for and the command does not
        assert launch.run_ranks(lambda: launch.start(arguments, 1, log), broken) == 0
    assert "resumed" in events(broken)
    first, second = (load_file(run / "weights.safetensors") for run in (whole, broken))
    assert all(first[name].equal(second[name]) for name in first)


@pytest.mark.slow
def test_the_command_trains_and_its_run_answers_prompts(phantoms: Path, whole: Path, tmp_path: Path) -> None:
    assert json.loads((whole / "ds_config.json").read_text())["gradient_clipping"] == 0.25
    assert not (whole / "report.html").exists()
    answer = CliRunner().invoke(zero_shot, [str(whole), str(phantoms), "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.output)
    assert found["samples"] > 0 and 0 <= found["mean"]["auroc"]["value"] <= 1
    (tmp_path / "other.json").write_bytes((phantoms / "tokenizer.json").read_bytes() + b"\n")
    refused = CliRunner().invoke(zero_shot, [str(whole), str(phantoms), "--tokenizer", str(tmp_path / "other.json")])
    assert isinstance(refused.exception, DataError)


def test_the_doctor_sizes_the_model_that_is_trained() -> None:
    setup = RunSetup(recipe_name=str(find_recipe("phantom")))
    list(recipe(setup))
    (found,) = model(setup)
    assert setup.recipe
    counted = sum(one.numel() for one in Gloria(setup.recipe, VOCABULARY, fresh=True).parameters())
    assert setup.parameters == counted and found.found.startswith(f"GLoRIA, {counted / 1e6:.1f} M parameters")
    assert "attention" not in [finding.name for finding in attention(setup)]


def test_the_command_trains_nothing_else(phantoms: Path, tmp_path: Path) -> None:
    refused = CliRunner().invoke(command, [str(phantoms), str(tmp_path / "run"), f"--recipe={RECIPES / 'demo.yaml'}"])
    assert isinstance(refused.exception, ConfigError) and "trains no GLoRIA" in str(refused.exception)


def test_a_recipe_is_found_by_name() -> None:
    assert find_recipe("gloria").name == "gloria.yaml"
    with pytest.raises(ConfigError, match="phantom"):
        find_recipe("glorya")
