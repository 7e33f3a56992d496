"""What the kernels' times can be at best, without a GPU: a projection from counted work, never a measurement.

Bytes and operations of an operation against a chip's data sheet; for sr_loss, which is bound by instructions, also the
instructions of its compiled loops against what the chip can issue. Real times are longer by what overlaps badly.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ecamp_fast.bench.ops.gpu_times import peaks, roofline
from ecamp_fast.bench.ops.kernel_cases import KernelCase

# Chip -> its architecture, multiprocessors and clock in Hz, from NVIDIA's data sheets
CHIPS = {"A100": ("sm_80", 108, 1.41e9), "H200": ("sm_90", 132, 1.755e9)}
ISSUED = 4  # instructions of a multiprocessor in a clock
AROUND = (5, 4, 3, 2, 0, 1, 0)  # blocks that each stage of sr_tiles works on around a tile, in the order of its loops


def kernel_roofline(
    cases: Iterable[KernelCase], batch: int, compiled: Sequence[Mapping[str, Any]], low: int
) -> list[dict[str, Any]]:
    """Per operation and chip: microseconds a sample at least, by bytes and operations, and by issue for sr_loss.

    batch: samples of the cases   compiled: rows of ``compile_report`` in bfloat16   low: pixels per side of sr_loss's
    prediction   issue is None where it does not bind or the loops were compiled into another form.
    """
    rows = []
    for case in cases:
        for name, (architecture, processors, clock) in CHIPS.items():
            chip = peaks(name)
            assert chip is not None
            issue = None
            if case.operation == "sr_loss":
                (row,) = (r for r in compiled if r["operation"] == case.operation and r["chip"] == architecture)
                count = sr_instructions(row, low)
                issue = count and count / (processors * ISSUED * clock) * 1e6
            least = roofline(case.bytes, case.operations, chip) / batch * 1e6
            rows.append({"operation": case.operation, "chip": name, "roofline": least, "issue": issue})
    return rows


def sr_instructions(row: Mapping[str, Any], low: int) -> float | None:
    """Instructions that warps issue for one sample: loop bodies times their turns; None for an unknown form."""
    inner = [length for length in row["loops"][1:] if length > 1]
    if len(inner) != len(AROUND):
        return None
    constants = row["constants"]
    tile, line, blocks = constants["TILE"], constants["LINE"], constants["BLOCKS"]
    widths = [tile + around for around in AROUND]
    turns = [-(-width * (line if width <= line else width) // blocks) for width in widths]
    tiles = (-(-low // tile)) ** 2
    return tiles * row["warps"] * sum(length * turn for length, turn in zip(inner, turns, strict=True))
