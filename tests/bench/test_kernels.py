"""The kernel bench: all of it that works without a GPU for real, its arithmetic and its output on invented times."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from ecamp_fast.bench import kernels
from ecamp_fast.bench.ops import gpu_times, kernel_gate, tuning
from ecamp_fast.bench.ops.compiled import CHIPS
from ecamp_fast.bench.ops.kernel_cases import PAPER, SMALL, KernelCase, cases
from ecamp_fast.chips import CALCULATED
from ecamp_fast.geometry import ATTENTION_GRID
from ecamp_fast.kernels import sr_loss
from ecamp_fast.kernels.tuning import TUNING, tuning_table

OPERATIONS = ["patch_gather", "low_resolution", "unshuffle", "masked_mse", "sr_loss", "weighted_cross_entropy"]
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU, and gives times instead")


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    done = CliRunner().invoke(kernels.command, ["--quick", "--json"])
    assert done.exit_code in (0, 1), done.output
    return json.loads(done.stdout)


@pytest.mark.slow
@without_gpu
def test_every_kernel_is_right(result) -> None:
    rows = result["correctness"]
    assert list(dict.fromkeys(row["operation"] for row in rows)) == OPERATIONS
    assert [row for row in rows if not row["passed"] or row["error"] > 1e-5] == []


@pytest.mark.slow
@without_gpu
def test_every_entry_of_the_launch_table_compiles_and_spills_nothing(result) -> None:
    """Without ``--quick`` the command compiles every operation for every chip, in both dtypes."""
    compiled = result["compiled"]
    entries = {(name, chip) for chip in CHIPS for name in tuning_table()[chip] if name in OPERATIONS}
    assert {(row["operation"], row["chip"]) for row in compiled} == entries
    assert {name for name, _ in entries} == set(OPERATIONS) and {chip for _, chip in entries} == set(CHIPS)
    assert result["faults"] == [] and all(row["spilled"] == 0 for row in compiled)
    assert {row["operation"] for row in compiled if row["kernel"] == "_bwd"} == {"unshuffle", "masked_mse"}


def test_every_operation_is_compiled_for_every_chip_in_both_dtypes(monkeypatch) -> None:
    asked = {}

    def noted(calls: dict[str, Any], chips: tuple[str, ...] = CHIPS) -> list[str]:
        asked.update(calls)
        return [*chips]

    monkeypatch.setattr("ecamp_fast.bench.ops.compiled.compile_report", noted)
    assert kernels._compile_here(quick=False) == [*CHIPS]
    assert list(asked) == [f"{name}{suffix}" for suffix in ("", " float32") for name in OPERATIONS]


@pytest.mark.slow
@without_gpu
def test_tables_of_a_machine_without_gpu(result) -> None:
    text = kernels.describe(result)
    assert all(name in text for name in (*OPERATIONS, *CHIPS)) and ("FAILED" in text) == bool(result["faults"])
    broken = copy.deepcopy(result)
    broken["correctness"][0]["passed"] = False
    assert "FAILED" in kernels.describe(broken | {"faults": ["_fwd on sm_80 spills 8 bytes"]})


@without_gpu
@pytest.mark.parametrize("wish", [["--plot", "times.png"], ["--tune"]])
def test_times_need_a_gpu(wish: list[str]) -> None:
    done = CliRunner().invoke(kernels.command, wish)
    assert "need times" in str(done.exception)


def test_a_wrong_kernel_fails_the_gate_and_the_command(monkeypatch) -> None:
    right = next(c for c in cases(1, "cpu", torch.float32, SMALL) if c.operation == "masked_mse")
    values = vars(right) | {"ours": lambda leaf, backend: 1.001 * right.definition(leaf)}
    rows = kernel_gate.gate([KernelCase(**values)])
    assert [row["passed"] for row in rows] == [False, False]
    assert kernel_gate.red(rows, "masked_mse", "triton") and not kernel_gate.red(rows, "masked_mse", "eager")
    found = {"correctness": rows, "repeats": [], "faults": []}
    monkeypatch.setattr(kernels, "measure", lambda *arguments, **options: found)
    assert CliRunner().invoke(kernels.command, ["--json"]).exit_code == 1


def test_every_chip_gives_a_program_a_second_tile_in_the_gate() -> None:
    """A kernel that is right for one tile may be wrong for the next, which meets what the first left behind."""
    for architecture, processors in (("sm_80", 108), ("sm_90", 132), ("sm_100", 148)):
        constants = tuning_table()[architecture]["sr_loss"]
        for candidate in tuning.candidates(constants, tuning.CANDIDATES["sr_loss"][1]):
            tiles = (-(-PAPER.low // candidate["TILE"])) ** 2
            assert max(kernels.GATE_BATCHES) * tiles > candidate["PROGRAMS"] * processors, (architecture, candidate)


@pytest.mark.slow
@without_gpu
def test_a_kernel_that_is_right_for_the_first_tile_alone_is_caught(monkeypatch) -> None:
    """Of 15 programs each has one tile at most in a batch of 1; the broken kernel leaves out every second one."""
    monkeypatch.setattr(sr_loss, "_multiprocessors", lambda device: 5)
    monkeypatch.setattr(sr_loss, "launch", _first_turn_only(sr_loss.launch))

    def passes(batch: int) -> bool:
        case = next(c for c in cases(batch, "cpu", torch.float32, SMALL) if c.operation == "sr_loss")
        return all(row["passed"] for row in kernel_gate.gate([case]))

    assert passes(1) and not passes(2)


def _first_turn_only(launch: Any) -> Any:
    """A launch of sr_tiles that is told of as many tiles as it has programs."""

    def broken(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
        place = kernel.arg_names.index("tiles")
        fewer = min(grid[0], arguments[place])
        launch(kernel, grid, *arguments[:place], fewer, *arguments[place + 1 :], **constants)

    return broken


def test_the_cases_have_the_grid_that_training_uses() -> None:
    assert PAPER.cells == SMALL.cells == ATTENTION_GRID == 28


def test_a_kernel_that_raises_ends_its_own_case_only() -> None:
    right = {case.operation: case for case in cases(1, "cpu", torch.float32, SMALL)}

    def raising(*leaves: torch.Tensor, backend: str) -> torch.Tensor:
        raise RuntimeError("an illegal memory access was encountered")

    broken = KernelCase(**vars(right["masked_mse"]) | {"ours": raising})
    undefined = KernelCase(**vars(right["unshuffle"]) | {"definition": raising})
    mixed = [broken, undefined, right["patch_gather"]]
    rows = kernel_gate.gate(mixed)
    assert [(row["operation"], row["passed"]) for row in rows] == [
        ("masked_mse", False),
        ("unshuffle", False),
        ("patch_gather", True),
    ]
    assert "illegal memory access" in rows[0]["fault"]
    assert [row["passed"] for row in kernel_gate.repeats(mixed[::2], 2)] == [False, True]


def test_runs_that_differ_in_a_bit_are_counted() -> None:
    right = next(c for c in cases(1, "cpu", torch.float32, SMALL) if c.operation == "masked_mse")
    calls: list[int] = []

    def racing(leaf: torch.Tensor, backend: str) -> torch.Tensor:
        calls.append(1)
        return right.definition(leaf) * (1 + 2**-23 * (len(calls) % 3 == 0))

    (row,) = kernel_gate.repeats([KernelCase(**vars(right) | {"ours": racing})], 6)
    assert not row["passed"] and row["differing"]["output"] == 2
    found = {"correctness": [], "repeats": [row], "faults": []}
    assert kernels.failed(found) and not kernels.failed(found | {"repeats": []})


def test_nan_and_another_shape_are_wrong() -> None:
    truth = torch.ones(3, dtype=torch.float64)
    assert kernel_gate._error(torch.tensor([1.0, float("nan"), 1.0]), truth) is None
    assert kernel_gate._error(torch.ones(2), truth) is None
    assert kernel_gate._error(torch.tensor([1.0, 1.5, 1.0]), truth) == 0.5


def test_bytes_and_operations_by_hand() -> None:
    by_name = {case.operation: case for case in cases(2, "cpu", torch.bfloat16, PAPER)}
    pixels = 2 * 49 * 256
    assert by_name["patch_gather"].bytes == 2 * 49 * 8 + pixels * (4 + 2)
    assert by_name["low_resolution"].bytes == 2 * 448 * 448 + 2 * 224 * 224 * 4
    assert by_name["unshuffle"].bytes == 2 * (2 * 50 * 512 + 2 * 197 * 512) * 2 + 197 * 512 * 4
    assert by_name["masked_mse"].bytes == 2 * (147 * 8 + 147 * 256 * (3 * 2 + 4) + 196 * 256 * 3 * 2)
    assert by_name["weighted_cross_entropy"].operations == 165 * 30_000 * (6 * 768 + 6)
    assert by_name["sr_loss"].operations / 2 == pytest.approx(0.2e9, rel=0.1)


def test_cases_repeat() -> None:
    first, again = (cases(2, "cpu", torch.float32, SMALL) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.truth(), b.truth(), strict=True))


def test_roofline() -> None:
    h200 = CALCULATED["H200"]
    assert gpu_times.roofline(4.8e6, 1.0, h200) == pytest.approx(1e-6)
    assert gpu_times.roofline(1.0, 9.89e9, h200) == pytest.approx(1e-5)


@pytest.fixture
def timed(monkeypatch) -> dict[str, Any]:
    """What a GPU's run gives, with an invented clock: eager out of memory once, one red gate, libraries missing."""
    operations = cases(2, "cpu", torch.float32, SMALL)
    vocabulary = next(case for case in operations if case.operation == "weighted_cross_entropy")
    vocabulary.baselines.update(liger=None, cce=vocabulary.definition)
    gates = [
        {"operation": "weighted_cross_entropy", "implementation": "cce", "part": "output", "passed": False,
         "error": None, "allowed": None, "batch": 2, "fault": "no such architecture"},
        {"operation": "sr_loss", "implementation": "triton", "part": "output", "passed": True,
         "error": 1e-3, "allowed": 2e-3, "batch": 16},
    ]  # fmt: skip
    seconds = {"median": 2e-5, "p20": 1e-5, "p80": 3e-5}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *arguments: "NVIDIA H200")
    monkeypatch.setattr(gpu_times, "interleaved", lambda actions, repeats: {name: dict(seconds) for name in actions})
    faults = iter([torch.cuda.OutOfMemoryError("no room"), RuntimeError("no C compiler")])

    def peak_memory(action: object) -> int:
        for fault in faults:
            raise fault
        return 2**20

    monkeypatch.setattr(gpu_times, "peak_memory", peak_memory)
    times = gpu_times.time_cases(operations, gates)
    environment = {"device": "NVIDIA H200", "torch": "2", "triton": "3", "commit": None}
    return {
        "batch": 2, "dtype": "bfloat16", "environment": environment, "correctness": gates, "times": times,
        "copy_bytes_per_second": 4e12, "compiled": [], "faults": [],
        "repeats": [{"operation": "sr_loss", "times": 20, "batch": 64, "passed": False, "differing": {"low": 3}}],
        "tuned": [{"key": "low_resolution", "constants": {"PIXELS": 512}, "before": 2e-5, "after": 1e-5}],
    }  # fmt: skip


def test_a_red_gate_gives_no_number(timed) -> None:
    rows = {(row["operation"], row["implementation"]): row for row in timed["times"]}
    assert len(rows) == 3 * len(OPERATIONS) + 2
    assert rows["weighted_cross_entropy", "cce"]["note"] == "failed the gate"
    assert rows["weighted_cross_entropy", "liger"]["note"] == "not installed"
    assert rows["patch_gather", "eager"]["note"] == "out of memory"
    assert rows["patch_gather", "compile"]["note"] == "RuntimeError: no C compiler"
    assert all("median" not in row for row in rows.values() if "note" in row)
    ours = rows["masked_mse", "triton"]
    assert ours["share"] == pytest.approx(ours["bytes"] / 4.8e12 / 2e-5) and ours["extra_bytes"] == 2**20


def test_tables_and_plot_of_times(timed, tmp_path: Path) -> None:
    text = kernels.describe(timed)
    for part in (
        "not installed",
        "failed the gate",
        "out of memory",
        "no such architecture",
        "4.00 TB/s",
        "20.0",
        "low 3 times",
    ):
        assert part in text
    kernels.draw(timed, tmp_path / "times.png")
    assert (tmp_path / "times.png").read_bytes()[:4] == b"\x89PNG"


def test_saving_the_table_keeps_its_form(tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(TUNING.read_text())
    table = json.loads(TUNING.read_text())
    tuning.save("sm_80", {}, path)
    assert path.read_text() == TUNING.read_text()
    tuning.save("sm_99", {"low_resolution": {"PIXELS": 256, "num_warps": 4}}, path)
    assert json.loads(path.read_text()) == table | {"sm_99": {"low_resolution": {"PIXELS": 256, "num_warps": 4}}}


def test_candidates_are_those_of_the_table() -> None:
    shipped = json.loads(TUNING.read_text())["sm_80"]
    assert set(tuning.CANDIDATES) == {key for key in shipped if not key.endswith("_float32")}
    for key, (operation, ranges) in tuning.CANDIDATES.items():
        assert operation in OPERATIONS and set(ranges) <= set(shipped[key])
        tried = tuning.candidates(shipped[key], ranges)
        assert tried[0] == shipped[key] and len(tried) == len({json.dumps(c) for c in tried}) > 1


def test_tuning_keeps_the_fastest_that_is_right(monkeypatch, tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(TUNING.read_text())
    table = copy.deepcopy(tuning_table())
    monkeypatch.setattr(tuning, "tuning_table", lambda: table)
    monkeypatch.setattr("ecamp_fast.kernels.tuning.tuning_table", lambda: table)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *arguments: (9, 9))
    monkeypatch.setattr(tuning, "CANDIDATES", {"low_resolution": ("low_resolution", {"PIXELS": (64, 128, 256, 512)})})
    seconds = {64: 1.0, 128: 2.0, 256: None, 512: 3.0, 1024: 4.0}

    def pixels() -> int:
        return table["sm_99"]["low_resolution"]["PIXELS"]

    monkeypatch.setattr(tuning, "_seconds", lambda action: seconds[pixels()])
    monkeypatch.setattr(tuning, "gate", lambda small: [{"passed": pixels() != 64}])
    table["sm_80"]["low_resolution"] = {"PIXELS": 1024, "num_warps": 4}
    operations = cases(1, "cpu", torch.float32, SMALL)
    (row,) = tuning.tune(operations, operations, path)
    assert row["constants"] == {"PIXELS": 128, "num_warps": 4} and (row["before"], row["after"]) == (4.0, 2.0)
    assert json.loads(path.read_text())["sm_99"] == {"low_resolution": row["constants"]}
    assert [trial["seconds"] for trial in row["swept"]] == [4.0, 1.0, 2.0, None, 3.0]
    assert [trial["passed"] for trial in row["swept"]] == [True, False, True, False, True]


def test_tuning_stops_at_its_budget_and_at_the_keys_that_are_asked_for(monkeypatch, tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(TUNING.read_text())
    monkeypatch.setattr(tuning, "tuning_table", lambda: json.loads(TUNING.read_text()))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *arguments: (8, 0))
    clock = iter(range(100))
    monkeypatch.setattr(tuning.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(tuning, "_seconds", lambda action: 1.0)
    monkeypatch.setattr(tuning, "gate", lambda small: [{"passed": True}])
    monkeypatch.setattr(tuning, "tuned", lambda key, device: dict(tuning_table()["sm_80"][key]))
    operations = cases(1, "cpu", torch.float32, SMALL)
    rows = tuning.tune(operations, operations, path, only=("sr_loss", "vocabulary_chunks"), budget=3)
    assert [(row["key"], len(row["swept"])) for row in rows] == [("sr_loss", 3), ("vocabulary_chunks", 0)]
    assert rows[1]["constants"] == tuning_table()["sm_80"]["vocabulary_chunks"]


def test_a_key_that_is_not_in_the_table_is_refused() -> None:
    done = CliRunner().invoke(kernels.command, ["--tune", "--tune-only", "sr_los"])
    assert "no such key" in str(done.exception) and "sr_loss" in done.exception.hint


@pytest.mark.gpu
def test_on_a_gpu(tmp_path: Path) -> None:
    plot = tmp_path / "times.png"
    done = CliRunner().invoke(kernels.command, ["--batch", "8", "--no-compiled", "--json", "--plot", str(plot)])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["copy_bytes_per_second"] > 1e11 and plot.exists()
    timed = {row["operation"] for row in result["times"] if row["implementation"] == "triton" and row["median"] > 0}
    assert timed == set(OPERATIONS)
