import pytest
import torch

from ecamp_fast.bench.ops.kernel_cases import SMALL, cases
from ecamp_fast.bench.roofline.kernels import kernel_roofline, sr_instructions
from ecamp_fast.chips import CALCULATED

LOOPS = [900, 10, 20, 30, 40, 50, 60, 70]  # the loop over tiles, then the seven stages


def row(loops: list[int], chip: str = "sm_80") -> dict[str, object]:
    constants = {"TILE": 28, "LINE": 32, "BLOCKS": 64}
    return {"operation": "sr_loss", "chip": chip, "loops": loops, "warps": 4, "constants": constants}


def test_instructions_are_bodies_times_turns() -> None:
    turns = [18, 16, 16, 15, 14, 15, 14]  # blocks of 33 x 33, then lines of 32: 32, 31, 30, 28, 29, 28 of them
    expected = 64 * 4 * sum(length * turn for length, turn in zip(LOOPS[1:], turns, strict=True))
    assert sr_instructions(row(LOOPS), low=224) == expected


def test_another_form_of_the_code_gives_no_number() -> None:
    assert sr_instructions(row([900, 10, 20]), low=224) is None


def test_a_roofline_for_every_operation_and_chip() -> None:
    operations = cases(2, "cpu", torch.bfloat16, SMALL)
    rows = kernel_roofline(operations, 2, [row(LOOPS), row(LOOPS, "sm_90")], low=16)
    assert {(r["operation"], r["chip"]) for r in rows} == {
        (c.operation, chip) for c in operations for chip in ("A100", "H200")
    }
    gather = next(c for c in operations if c.operation == "patch_gather")
    assert rows[0]["roofline"] == pytest.approx(gather.bytes / CALCULATED["A100"].bandwidth / 2 * 1e6)
    assert all((r["issue"] is not None) == (r["operation"] == "sr_loss") for r in rows)
