"""A roofline of the whole step: what a chip could do with the counted work. A projection, never a measurement.

Every group of kernels takes at least the longer of its operations at the chip's rate and its bytes at the chip's
bandwidth. ``ceiling`` is that sum; the assumptions say which share of the bound a group reaches, and which share of the
time passes between kernels. They are assumptions: see the table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecamp_fast.bench.gpu_times import peaks
from ecamp_fast.bench.traffic import Group

# float32 operations a second outside the matrix units, from NVIDIA's data sheets
CHIPS = {"A100": 1.95e13, "H100": 6.7e13, "H200": 6.7e13}
SAMPLES, EPOCHS, GPUS = 377_110, 115, 4  # of the paper's training run


@dataclass(frozen=True, slots=True)
class Assumption:
    """Share of the bound that groups of each kind reach; share of the time between kernels."""

    product: float
    attention: float
    pointwise: float
    vector: float
    gaps: float


# stretch: well-tuned libraries at these widths; conservative: the best that public records show at width 768
ASSUMPTIONS = {
    "ceiling": Assumption(1, 1, 1, 1, 0),
    "stretch": Assumption(0.82, 0.35, 0.85, 0.50, 0.03),
    "conservative": Assumption(0.68, 0.20, 0.75, 0.35, 0.06),
}


def chip_of(device: str) -> str | None:
    """The chip of ``CHIPS`` that a device's name tells, with the bandwidth that is reckoned with; None for others."""
    return next((chip for chip in CHIPS if chip in device and peaks(device) == peaks(chip)), None)


def project(
    groups: Sequence[Group], images: int, chip: str, rates: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """A row per assumption for one of ``CHIPS``.  images: of the micro-batch that was counted

    rates: chip -> bfloat16 operations a second that were measured there, in place of the data sheet's
    returns images_per_second, mfu (of the data sheet's rate), hours, component_microseconds (a sample).
    """
    peak = peaks(chip)
    assert peak is not None
    bandwidth, sheet = peak
    rate = (rates or {}).get(chip, sheet)
    operations = sum(group.operations for group in groups)
    rows = []
    for name, assumption in ASSUMPTIONS.items():
        parts: dict[str, float] = {}
        for group in groups:
            seconds = _seconds(group, bandwidth, rate, CHIPS[chip], assumption) / (1 - assumption.gaps)
            parts[group.component] = parts.get(group.component, 0.0) + seconds / images
        images_per_second = 1 / sum(parts.values())
        rows.append(
            {
                "kind": "projection",
                "chip": chip,
                "assumption": name,
                "operations_per_second": rate,
                "images_per_second": images_per_second,
                "mfu": operations / images * images_per_second / sheet,
                "hours": SAMPLES * EPOCHS / (GPUS * images_per_second) / 3600,
                "component_microseconds": {part: seconds * 1e6 for part, seconds in parts.items()},
            }
        )
    return rows


def _seconds(group: Group, bandwidth: float, rate: float, vector: float, assumption: Assumption) -> float:
    """Of one group on a chip: the slower of what bounds it."""
    compute = (vector if group.kind == "vector" else rate) * getattr(assumption, group.kind)
    return max(group.operations / compute, group.bytes / (bandwidth * assumption.pointwise))
