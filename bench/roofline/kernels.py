"""What the kernels' times can be at best, without a GPU: a projection from counted work, never a measurement.

Bytes and operations of an operation against a chip's data sheet; for sr_loss, which is bound by instructions, also the
instructions of its compiled loops against what the chip can issue. Real times are longer by what overlaps badly.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ecamp_fast.bench.ops.gpu_times import roofline
from ecamp_fast.bench.ops.kernel_cases import KernelCase
from ecamp_fast.chips import CALCULATED
from ecamp_fast.kernels import sr_triton

CHIPS = ("A100", "H200")


def kernel_roofline(
    cases: Iterable[KernelCase], batch: int, compiled: Sequence[Mapping[str, Any]], low: int
) -> list[dict[str, Any]]:
    """Per operation and chip: microseconds a sample at least, by bytes and operations, and by issue for sr_loss.

    batch: samples of the cases   compiled: rows of ``compile_report`` in bfloat16   low: pixels per side of sr_loss's
    prediction   issue is None where it does not bind, was not compiled, or came out in another form.
    """
    rows = []
    for case in cases:
        for name in CHIPS:
            chip = CALCULATED[name]
            issue = None
            if case.operation == "sr_loss":
                found = [r for r in compiled if (r["operation"], r["chip"]) == (case.operation, chip.architecture)]
                count = sr_instructions(found[0], low) if found else None
                issue = count and count / chip.issue_rate * 1e6
            least = roofline(case.bytes, case.operations, chip) / batch * 1e6
            rows.append({"operation": case.operation, "chip": name, "roofline": least, "issue": issue})
    return rows


def sr_instructions(row: Mapping[str, Any], low: int) -> float | None:
    """Instructions that warps issue for one sample: loop bodies times their turns; None for an unknown form."""
    inner = [length for length in row["loops"][1:] if length > 1]
    if len(inner) != len(sr_triton.HALOS):
        return None
    constants = row["constants"]
    tile, line, blocks = constants["TILE"], constants["LINE"], constants["BLOCKS"]
    widths = [tile + halo for halo in sr_triton.HALOS.values()]  # of a stage's area, in blocks of 2 x 2 pixels
    turns = [-(-width * (line if width <= line else width) // blocks) for width in widths]
    tiles = (-(-low // tile)) ** 2
    return tiles * row["warps"] * sum(length * turn for length, turn in zip(inner, turns, strict=True))
