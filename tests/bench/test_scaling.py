"""Weak scaling: rows for every number of ranks and stage, each gated; options that are refused."""

import json
import os
import signal
import time

import pytest
from click.testing import CliRunner

from ecamp_fast.bench import scaling as bench
from ecamp_fast.bench.step.engines import STAGES
from ecamp_fast.errors import ConfigError, EnvironmentFault

SMALL = [
    *("--recipe", "demo", "--set", "image.high_size=64", "--set", "image.low_size=32", "--set", "batch.micro=2"),
    *("--tokens", "10", "--vocabulary", "50", "--steps", "2", "--accumulation", "2", "--json"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "ranks"),
    [("bf16", [2]), *(pytest.param(one, [1, 2], marks=pytest.mark.complete) for one in ("bf16", "fp32"))],
)
def test_every_stage_on_one_and_two_ranks(precision: str, ranks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    stages = ("0", "1", "2", "2-unaligned", "ddp") if len(ranks) > 1 else ("2", "2-unaligned", "ddp")
    options = [*SMALL, "--set", f"precision={precision}", "--stages", ",".join(stages)]
    options += ["--ranks", ",".join(map(str, ranks))]
    done = CliRunner().invoke(bench.command, options, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert [(r["ranks"], r["stage"]) for r in result["rows"]] == [(n, s) for n in ranks for s in stages]
    for row in result["rows"]:
        assert row["parity"]["passed"] and row["efficiency"] > 0
        assert row["images_per_second_per_rank"] == pytest.approx(4 / row["step_seconds"])
    assert "ZeRO-2" in bench.describe(result) and "DDP" in bench.describe(result)


def test_efficiency_is_against_the_fewest_ranks_of_the_same_stage() -> None:
    rows = [
        {"stage": stage, "images_per_second_per_rank": rate} for stage, rate in (("0", 8.0), ("2", 4.0), ("0", 6.0))
    ]
    found = bench.with_efficiency([*rows, {"stage": "2"}])
    assert [row["efficiency"] for row in found] == [1.0, 1.0, 0.75, None]


def test_lists() -> None:
    assert bench.parse_stages("0, ddp,0") == ["0", "ddp"] and bench.parse_ranks("2,1,2") == [1, 2]
    assert bench.parse_stages("2, 2-unaligned,ddp") == ["2", "2-unaligned", "ddp"] and bench.parse_ranks("4,1") == [
        1,
        4,
    ]
    for text in ("0,1", "two", "-1", ""):
        with pytest.raises(ConfigError, match="--ranks"):
            bench.parse_ranks(text)
    with pytest.raises(ConfigError, match="no stage '3'"):
        bench.parse_stages("0,3")


@pytest.mark.parametrize(("gpus", "ranks"), [(0, [1, 2]), (1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_default_ranks(monkeypatch: pytest.MonkeyPatch, gpus: int, ranks: list[int]) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert bench.default_ranks() == ranks


@pytest.mark.slow
def test_ranks_that_fail_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "PROGRAM", "ecamp_fast.bench.no_such_program")
    done = CliRunner().invoke(bench.command, [*SMALL, "--ranks", "1"])
    assert isinstance(done.exception, EnvironmentFault), done.output
    assert "no_such_program" in str(done.exception)


def test_a_request_to_terminate_takes_the_ranks_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """``timeout`` sends it to the bench alone: the ranks have a session of their own."""
    killed: list[object] = []

    class Ranks:
        def wait(self) -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
            return 0

    ranks = Ranks()
    monkeypatch.setattr("ecamp_fast.run.launch.start", lambda *arguments, **options: ranks)
    monkeypatch.setattr("ecamp_fast.run.launch.kill", killed.append)
    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(bench.command, [*SMALL, "--ranks", "1"])
    assert done.exit_code == 143 and killed == [ranks] and signal.getsignal(signal.SIGTERM) == before


def test_the_longest_stage_fits_its_column() -> None:
    row = {"ranks": 1, "parity": {"passed": True}, "images_per_second_per_rank": 9.0, "step_seconds": 0.1}
    rows = [row | {"stage": stage, "efficiency": 1.0, "peak_memory_bytes": 2**30} for stage in STAGES]
    result = {"recipe": "demo", "precision": "fp32", "batch": 2, "accumulation": 1, "tokens": 20.0, "on": "cuda"}
    where = {"device": "H200", "cores": 16, "torch": "2", "deepspeed": "0", "commit": None}
    table = bench.describe(result | {"rows": rows, "environment": where}).splitlines()[2:]
    assert len({len(line) for line in table}) == 1
