"""The same step repeated: to the bit where all is seeded, named where one thing is not."""

import json

import pytest
import torch
from click.testing import CliRunner

from ecamp_fast.bench import repeats as bench
from ecamp_fast.bench.ops.same_bits import same_bits
from ecamp_fast.config import load_recipe
from ecamp_fast.model.text_layer import FeedForward

SMALL = ["--recipe", "demo", "--tokens", "20", "--vocabulary", "100", "--set", "model.text.dropout=0.1"]
OPTIONS = [*SMALL, "--set", "batch.micro=2", "--set", "batch.total=2", "--json"]


def test_a_step_repeats_with_its_dropout() -> None:
    done = CliRunner().invoke(bench.command, OPTIONS, catch_exceptions=False)
    result = json.loads(done.stdout)
    assert done.exit_code == 0 and result["passed"] and result["parameters"] > 50
    assert len(result["losses"]) == 4 and len(set(result["losses"])) == 1
    told = done.stderr.splitlines()  # on a CPU it takes long, and says so
    if not torch.cuda.is_available():
        assert told.pop(0).startswith("no GPU: 4 steps of recipe demo on the CPU, ")
    assert [line.partition(":")[0] for line in told] == [f"step {turn} of 4" for turn in range(1, 5)]


def test_one_that_does_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last digit of one layer changes from the third step on."""
    forward, calls = FeedForward.forward, []
    layers = 1 + load_recipe("demo").model.text.depth  # with context fusion's

    def disturbed(self: FeedForward, x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        out = forward(self, x)
        return out * (1 + torch.finfo(out.dtype).eps) if len(calls) > 2 * layers else out

    monkeypatch.setattr(FeedForward, "forward", disturbed)
    done = CliRunner().invoke(bench.command, OPTIONS, catch_exceptions=False)
    result = json.loads(done.stdout)
    assert done.exit_code == 1 and not result["passed"]
    assert {turn for turns in result["differing"].values() for turn in turns} == {2, 3}
    assert "FAILED" in bench.describe(result)


def test_bits_not_values() -> None:
    zero, nan = torch.zeros(2), torch.full((2,), torch.nan)
    assert same_bits(nan, nan.clone()) and same_bits(nan.bfloat16(), nan.bfloat16())
    assert not same_bits(zero, -zero)
