"""GPUs as NVIDIA's data sheets give them: the one place for what a chip can do at best.

Rates are of dense matrices, without sparsity, in operations, bytes or cycles a second. What kernels reach of them is
measured by the benches, or assumed with a reason in ``bench/roofline/step.py``.
"""

from dataclasses import dataclass

ISSUED = 4  # instructions that a multiprocessor issues in a cycle: one for each of its schedulers
# Architecture -> bytes of shared memory that a block can have, from the CUDA C++ programming guide's table
SHARED_MEMORY = {"sm_80": 163 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024}


@dataclass(frozen=True, slots=True)
class Chip:
    """A GPU that is measured on.

    name          the part of a device's name that tells it
    architecture  as the compiler calls it, a key of ``SHARED_MEMORY``
    bandwidth     bytes of its memory
    bf16          bfloat16 operations of its matrix units
    """

    name: str
    architecture: str
    bandwidth: float
    bf16: float


@dataclass(frozen=True, slots=True)
class CalculatedChip(Chip):
    """A GPU of which so much is known that ``bench roofline`` calculates its times.

    multiprocessors  how many it has
    clock            cycles of one
    float32          operations of all of them outside the matrix units
    nvlink           bytes in one direction to the other GPUs of a node
    """

    multiprocessors: int
    clock: float
    float32: float
    nvlink: float

    @property
    def issue_rate(self) -> float:
        """Instructions a second that warps can issue."""
        return self.multiprocessors * ISSUED * self.clock


# name, architecture, bandwidth, bf16; multiprocessors, clock, float32, nvlink. Where one name is part of another, the
# longer comes first. SXM modules, and the A100 of 80 GB, unless the name says otherwise.
CHIPS = (
    Chip("B200", "sm_100", 8.0e12, 2.25e15),
    CalculatedChip("H200", "sm_90", 4.8e12, 9.89e14, 132, 1.755e9, 6.7e13, 4.5e11),
    Chip("H100 PCIe", "sm_90", 2.0e12, 7.56e14),
    CalculatedChip("H100", "sm_90", 3.35e12, 9.89e14, 132, 1.755e9, 6.7e13, 4.5e11),
    Chip("A100-SXM4-40GB", "sm_80", 1.555e12, 3.12e14),
    Chip("A100-PCIE-40GB", "sm_80", 1.555e12, 3.12e14),
    CalculatedChip("A100", "sm_80", 2.039e12, 3.12e14, 108, 1.41e9, 1.95e13, 3.0e11),
)
CALCULATED = {chip.name: chip for chip in reversed(CHIPS) if isinstance(chip, CalculatedChip)}


def find_chip(device: str) -> Chip | None:
    """The chip that a device's name tells; None for one that is not in the table."""
    return next((chip for chip in CHIPS if chip.name in device), None)
