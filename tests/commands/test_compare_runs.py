"""``ecamp-fast compare-runs``: what it says, in words and as JSON, and its exit codes."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from ecamp_fast.commands.compare_runs import command
from ecamp_fast.config import dump_recipe, load_recipe
from ecamp_fast.errors import DataError
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.safety.flight import FILE, HEAD, FlightFile, pack


def a_run(path: Path, steps: range = range(1, 9), ranks: int = 2, setting: str = "seed=42", **changes: tuple) -> Path:
    """changes: field -> (step, value)"""
    RunDir(path).set_state(status="complete", manifest="abc")
    (path / "recipe.yaml").write_text(dump_recipe(load_recipe("demo", [setting])))
    file = FlightFile(path)
    for step in steps:
        row: dict[str, Any] = dict.fromkeys(("samples", "patches", "words"), step)
        row |= {"loss": 9.5, "mim": 4.0, "sr": 3.0, "mlm": 2.5, "norm": 1.25, "weights": step}
        row |= {field: value for field, (at, value) in changes.items() if at == step}
        *digests, loss, mim, sr, mlm, norm, weights = row.values()
        file.append(pack(step, 0, ranks, tuple(digests), (loss, mim, sr, mlm, norm), weights))
    file.close()
    return path


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_equal_runs(tmp_path: Path) -> None:
    done = invoke(a_run(tmp_path / "a"), a_run(tmp_path / "b"))
    assert done.exit_code == 0 and done.output.splitlines()[-1] == "equal: 8 steps to the bit"
    assert "8 steps on 2 rank(s), none of them done again" in done.output


def test_the_first_difference_is_named(tmp_path: Path) -> None:
    one = a_run(tmp_path / "a")
    other = a_run(tmp_path / "b", patches=(6, 1), weights=(5, 77))
    done = invoke(one, other)
    assert done.exit_code == 1
    assert "first difference: step 5, weights after the update (0000000000000005, 000000000000004d)" in done.output
    assert "of that step the same: samples, masks of patches, masks of words, mim" in done.output
    assert "masks of patches: 1 of 8 steps" in done.output
    found = json.loads(invoke(one, other, "--json").output)
    assert found["schema"] == 1 and found["equal"] is False and found["compared"]["steps"] == 8
    assert found["compared"]["first"] == {
        "step": 5,
        "quantity": "weights",
        "one": "0000000000000005",
        "other": "000000000000004d",
    }


def test_other_ranks_and_lengths_and_kinds_are_told(tmp_path: Path) -> None:
    one = a_run(tmp_path / "a")
    other = a_run(tmp_path / "b", range(1, 6), ranks=1, setting="optim.lr=0.5", mlm=(2, 2.50001), weights=(2, 9))
    RunDir(other).set_state(manifest="xyz")
    done = invoke(one, other)
    assert done.exit_code == 1
    for line in (
        "not the same kind of run: another shard set",
        "not the same kind of run: the recipes differ in optim.lr",
        "3 steps of the longer run have no counterpart",
        "first difference: step 2, mlm (2.5, 2.5000",
        "largest relative differences: mlm 4.0e-06 at step 2",
        "compare with --tolerance",
    ):
        assert line in done.output, done.output
    done = invoke(one, other, "--tolerance", "1e-5")
    assert done.exit_code == 0 and "equal: 5 steps within 1e-05, weights not compared" in done.output
    assert json.loads(invoke(one, other, "--tolerance", "1e-5", "--json").output)["equal"] is True
    assert len(json.loads(invoke(one, other, "--json").output)["other_kind"]) == 2


def test_steps_done_again_are_compared_with_their_first_time(tmp_path: Path) -> None:
    run = a_run(tmp_path / "a", range(1, 6))
    a_run(run, range(4, 9))
    assert invoke(run).exit_code == 0 and "2 done again after a resume, as the first time" in invoke(run).output
    assert invoke(run, a_run(tmp_path / "b")).exit_code == 0
    a_run(run, range(7, 9), words=(8, 1))
    done = invoke(run)
    assert done.exit_code == 1 and "not alike: step 8, masks of words" in done.output
    assert json.loads(invoke(run, "--json").output)["runs"][0]["redone"]["first"]["step"] == 8


def test_values_that_are_not_finite_are_strict_json(tmp_path: Path) -> None:
    one, other = a_run(tmp_path / "a"), a_run(tmp_path / "b", loss=(3, math.nan))

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads(invoke(one, other, "--json").output, parse_constant=refuse)
    assert found["compared"]["first"]["other"] is None and found["compared"]["first"]["quantity"] == "loss"


def test_what_cannot_be_compared_is_a_fault_of_the_data(tmp_path: Path) -> None:
    one, other = a_run(tmp_path / "a"), a_run(tmp_path / "b", range(20, 22))
    assert isinstance(invoke(one, tmp_path / "none").exception, DataError)
    assert "no step in common" in str(invoke(one, other).exception)
    data = (other / FILE).read_bytes()
    (other / FILE).write_bytes(data[:70] + b"\1" + data[71:])
    assert "record 1 of 2" in str(invoke(one, other).exception)
    (one / "recipe.yaml").unlink()
    assert "recipes are not compared" in invoke(one, a_run(tmp_path / "c")).output


def test_a_hundred_thousand_steps_in_a_second(tmp_path: Path) -> None:
    """The whole command, torch not imported; of CPU time, so that a busy machine is no fault."""
    records = [pack(step, 0, 1, (step, step, step), (9, 8, 7, 6, 5), step) for step in range(1, 100_001)]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE).write_bytes(HEAD + b"".join(records))
        records[-1] = pack(100_000, 0, 1, (100_000,) * 3, (9, 8, 7, 6, 5), 0)
    program = (
        "import sys, resource\nfrom ecamp_fast import cli\n"
        f"code = cli._run(['compare-runs', {str(tmp_path / 'a')!r}, {str(tmp_path / 'b')!r}], False)\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(code, used.ru_utime + used.ru_stime, 'torch' in sys.modules)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    *lines, last = done.stdout.splitlines()
    code, seconds, torch = last.split()
    assert code == "1" and "step 100000, weights" in "".join(lines)
    assert float(seconds) < 1 and torch == "False", (seconds, time.monotonic() - began)
