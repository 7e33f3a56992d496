"""Sentences beside the other losses: in the metrics, the same after a resume; and prompts to what was trained."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from ecamp_fast.commands.downstream.zero_shot import command
from ecamp_fast.run import launch
from ecamp_fast.run.rundir import read_metrics, read_records
from ecamp_fast.run.safety.flight import read_flight

pytestmark = pytest.mark.slow
ON = "--set=losses.align=true"
SHORT = ("--set=schedule.epochs=1.5", "--set=schedule.horizon_epochs=3", "--set=model.text.dropout=0.1")


# `make trainer` has it; the suite kills a run without this loss, tests/training/test_resume.py, and stops one of GLoRIA
@pytest.mark.complete
def test_a_killed_run_goes_on_to_the_bit_and_answers_prompts(
    train: Callable[..., int], arguments: Callable[..., list[str]], phantoms: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert train(whole, ON, *SHORT, ranks=1) == 0
    with open(tmp_path / "log", "ab") as log:
        process = launch.start(arguments(broken, ON, *SHORT), 1, log)
        assert launch.kill_when(process, lambda: len(read_metrics(broken)) >= 3, patience=120)
    assert train(broken, "--resume=must", ON, *SHORT, ranks=1) == 0
    assert any(event["event"] == "resumed" for event in read_records(broken / "events.jsonl"))

    one, other = read_metrics(whole), read_metrics(broken)
    for name in ("loss", "mim", "sr", "mlm", "align", "grad_norm"):
        assert [record[name] for record in one] == [record[name] for record in other]
    for record in [*one, *read_metrics(whole, "val")]:
        assert record["loss"] == pytest.approx(sum(record[name] for name in ("mim", "sr", "mlm", "align")), rel=1e-5)
    assert (read_flight(whole).steps == read_flight(broken).steps).all() or len(read_flight(broken).earlier)
    weights = [load_file(run / "weights.safetensors") for run in (whole, broken)]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    assert any(name.startswith("align.") for name in weights[0])

    answer = CliRunner().invoke(command, [str(whole), str(phantoms), "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.output)
    assert found["samples"] > 0 and found["mean"]["negation"]
    told = CliRunner().invoke(command, [str(whole), str(phantoms), "--noun", "effusion=pleural effusion"])
    assert told.exit_code == 0 and "mean" in told.output


def test_off_leaves_no_trace_in_what_a_run_writes(train: Callable[..., int], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(run, *SHORT, ranks=1) == 0
    assert not any("align" in record for record in [*read_metrics(run), *read_metrics(run, "val")])
    assert not any(name.startswith("align") for name in load_file(run / "weights.safetensors"))
