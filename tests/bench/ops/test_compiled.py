"""The compile report: what it reads from a kernel, and that its budget can be broken. (tests/bench compile all.)"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecamp_fast.bench.ops.compiled import CHIPS, _loops, faults

PROGRAM = """
import json
import torch, triton
import triton.language as tl
from ecamp_fast.bench.ops.compiled import compile_report
from ecamp_fast.kernels.tuning import launch

@triton.jit
def twice(x_ptr, y_ptr, count, factor, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + place, factor * tl.load(x_ptr + place, mask=place < count), mask=place < count)

@triton.jit
def greedy(x_ptr, y_ptr, SIZE: tl.constexpr):
    place = tl.arange(0, SIZE)
    held = tl.load(x_ptr + place)
    for turn in range(8):
        held = held * tl.load(x_ptr + turn) + tl.load(x_ptr + place + turn)
    tl.store(y_ptr + place, held)

def small():
    x = torch.empty(4096, dtype=torch.bfloat16)
    for count in (4096, 4096, 4095):
        launch(twice, (4,), x, x, count, 2.0, BLOCK=1024, num_warps=4)

def large():
    x = torch.empty(65536)
    launch(greedy, (1,), x, x, SIZE=8192, num_warps=1)

print(json.dumps(compile_report({"small": small, "large": large}, CHIPS)))
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    program = tmp_path_factory.mktemp("compiled") / "program.py"  # Triton reads its functions from their file
    program.write_text(PROGRAM.replace("CHIPS", repr(CHIPS)))
    root = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, str(program)], env={**environment, "PYTHONPATH": root}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_a_row_for_every_kernel_and_chip(rows) -> None:
    assert {(row["operation"], row["kernel"], row["chip"]) for row in rows} == {
        *(("small", "twice", chip) for chip in CHIPS),
        *(("large", "greedy", chip) for chip in CHIPS),
    }
    small = [row for row in rows if row["kernel"] == "twice"]
    assert all(0 < row["registers"] <= 64 and row["warps"] == 4 and row["spilled"] == 0 for row in small)
    assert all(row["loops"] == [] and row["constants"]["BLOCK"] == 1024 for row in small)


@pytest.mark.slow
def test_spills_break_the_budget(rows) -> None:
    assert not faults([row for row in rows if row["kernel"] == "twice"])
    found = faults([row for row in rows if row["kernel"] == "greedy"])
    assert len(found) == len(CHIPS) and all("greedy" in line and "spills" in line for line in found)


def test_too_much_shared_memory_breaks_the_budget() -> None:
    row = {"kernel": "k", "chip": "sm_80", "spilled": 0, "shared": 200 * 1024}
    assert faults([row]) == ["k on sm_80 needs 204800 bytes of shared memory"]
    assert not faults([{**row, "chip": "sm_90"}])


def test_loops_are_what_lies_between_a_label_and_the_branch_back() -> None:
    code = """
        /*0000*/ MOV R1, R2 ;
    .L_x_0:
        /*0010*/ MOV R1, R2 ;
    .L_x_1:
        /*0020*/ IADD3 R1, R1, R2, RZ ;
        /*0030*/ @P0 BRA `(.L_x_1) ;
        /*0040*/ @!P1 BRA `(.L_x_2) ;
        /*0050*/ @P0 BRA `(.L_x_0) ;
    .L_x_2:
        /*0060*/ EXIT ;
    """
    assert _loops(code) == [5, 2]
