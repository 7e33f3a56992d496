"""What a chip could do with the counted work of a step: a ceiling, and a range that allows for what libraries reach.

Calculated, never measured. ``ceiling``: every group of kernels takes the longer of its operations at the chip's
rate and its bytes at the chip's bandwidth, and nothing else happens. ``optimistic`` and ``doubter``: what ``overheads``
counts happens too, and each kind of work reaches the share of its bound that ``TABLE`` names, with the reason. No share
was fitted to a time: nothing has been measured that they could be fitted to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecamp_fast.bench.roofline.bytes import KernelGroup
from ecamp_fast.bench.roofline.zero import Weights
from ecamp_fast.chips import CALCULATED, find_chip

SAMPLES, EPOCHS, GPUS = 377_110, 115, 4  # of the paper's training run


# Share of the data sheet's rate that flash attention 2 reaches on long rows (FlashAttention-2 and -3's papers)
FLASH = {"sm_80": 0.60, "sm_90": 0.35}
# Instructions that warps issue in ``sr_loss`` for a low-resolution pixel: `bench kernels` counts them in its code
SR_INSTRUCTIONS = {"sm_80": 3_973_376 / 224**2, "sm_90": 3_413_760 / 224**2}
WITH_WEIGHTS = 2 / 3  # of a product's operations: forward and gradient to the input; that to the weight reads neither


@dataclass(frozen=True, slots=True)
class Assumption:
    """One of the things that no count tells.  key: as in ``value``   reason: where the two ends come from"""

    key: str
    meaning: str
    ceiling: float
    optimistic: float
    doubter: float
    reason: str


TABLE = (
    Assumption(
        "large",
        "products: share of the data sheet's rate that large ones reach; where --rate gives it, 1",
        *(1, 0.80, 0.80),
        "769 to 798 of 989 TFLOP/s at 8192 x 8192 x 8192 on one H200",
    ),
    Assumption(
        "product",
        "products: share of that rate at these widths",
        *(1, 0.90, 0.76),
        "tiles come in waves: 12,800 x 768 in tiles of 128 x 256 are 2.3 waves of 132 processors, 76 % of the 3 that"
        " they take; 2304 and 3072 columns fill 97 % and 91 %",
    ),
    Assumption(
        "hidden",
        "products: share of the shorter of arithmetic and memory that passes behind the longer",
        *(1, 0.75, 0.25),
        "a tile of 768 sums has 12 turns between its first load and its store; at width 768 both take about as long, so"
        " what does not overlap is seen",
    ),
    Assumption(
        "attention",
        "attention: share of what it reaches on long rows",
        *(1, 0.50, 0.25),
        "flash attention 2 reaches 35 % of an H100 and 60 % of an A100 on long rows (its papers); 50 to 200 rows are"
        " one or two tiles, whose loads, softmax and products come one after the other; the ceiling: all of the chip",
    ),
    Assumption(
        "pointwise",
        "all others: share of the memory's bandwidth",
        *(1, 0.90, 0.70),
        "a copy of gigabytes reaches 90 % on one H200; these move some 20 to 160 MB, and sums over rows read in"
        " strides",
    ),
    Assumption(
        "issue",
        "sr_loss: share of the clocks in which an instruction is issued; the ceiling: its arithmetic alone",
        *(1, 0.50, 0.30),
        "12 warps on a multiprocessor are 3 for each of its schedulers, and the next instruction of a warp waits 4 or"
        " more clocks; barriers between all of its stages",
    ),
    Assumption(
        "launch",
        "GPU: microseconds between two kernels that are queued",
        *(0, 1.0, 2.0),
        "filling and draining the chip; the hundreds of kernels of a few kilobytes last no longer themselves",
    ),
    Assumption(
        "host_tensor",
        "host: microseconds of ZeRO-2's hook and bucket for one parameter tensor",
        *(0, 50, 100),
        "100 on a core of an EPYC, as measured: backward of stage 2 less that of stage 0, 147 small tensors, one rank;"
        " a faster core: half",
    ),
    Assumption(
        "host_launch",
        "host: microseconds to launch any other kernel",
        *(0, 5, 10),
        "some 5 from C++ or compiled Python, 10 with autograd and eager Python around it",
    ),
    Assumption(
        "unaligned",
        "products with a weight off 16 bytes: times as fast",
        *(1, 0.50, 0.33),
        "no bulk copies to shared memory and no asynchronous products on it: kernels of the generation before,"
        " with loads of 2 bytes",
    ),
)
ENDS = ("ceiling", "optimistic", "doubter")


def value(key: str, end: str) -> float:
    """Of one of ``TABLE``.  end: one of ``ENDS``"""
    return float(next(getattr(row, end) for row in TABLE if row.key == key))


def chip_of(device: str) -> str | None:
    """The calculated chip that a device's name tells; None for others, such as one with less bandwidth."""
    found = find_chip(device)
    return found.name if found and found.name in CALCULATED else None


def step_roofline(
    groups: Sequence[KernelGroup],
    images: int,
    chip: str,
    rates: Mapping[str, float] | None = None,
    weights: Weights | None = None,
    aligned: bool = True,
) -> list[dict[str, Any]]:
    """A row for each of ``ENDS`` for one of ``CALCULATED``.  images: of the micro-batch that was counted

    rates: chip -> bfloat16 operations a second that large products were measured to reach there
    aligned: otherwise ``weights`` lie as DeepSpeed lays them out without being told
    returns images_per_second, mfu (of the data sheet's rate), hours, component_microseconds (a sample, on the GPU),
    host_microseconds (a sample; beside the GPU's, the longer counts), bound (``gpu`` or ``host``).
    """
    peak = CALCULATED[chip].bf16
    operations = sum(group.operations for group in groups if not group.extra)
    rows = []
    for end in ENDS:
        rate = (rates or {}).get(chip) or peak * value("large", end)
        parts: dict[str, float] = {}
        for group in groups:
            if not (group.extra and end == "ceiling"):
                off = 0.0 if aligned or weights is None else weights.unaligned.get(group.component, 0.0)
                seconds = group_seconds(group, chip, rate, end, off)
                parts[group.component] = parts.get(group.component, 0.0) + seconds / images
        host, device = host_seconds(groups, end) / images, sum(parts.values())
        images_per_second = 1 / max(host, device)
        rows.append(
            {
                "kind": "projection",
                "chip": chip,
                "assumption": end,
                "aligned": aligned,
                "operations_per_second": rate,
                "images_per_second": images_per_second,
                "mfu": operations / images * images_per_second / peak,
                "hours": SAMPLES * EPOCHS / (GPUS * images_per_second) / 3600,
                "component_microseconds": {part: seconds * 1e6 for part, seconds in parts.items()},
                "host_microseconds": host * 1e6,
                "bound": "host" if host > device else "gpu",
            }
        )
    return rows


def group_seconds(group: KernelGroup, chip: str, rate: float, end: str, off: float = 0.0) -> float:
    """Of one group on a chip.  rate: operations a second of large products   off: share of its weights off 16 bytes"""
    known = CALCULATED[chip]
    memory = group.bytes / (known.bandwidth * value("pointwise", end))
    hidden = 1.0
    if group.kind == "product":
        compute = group.operations / (rate * value("product", end))
        compute *= 1 + off * WITH_WEIGHTS * (1 / value("unaligned", end) - 1)
        hidden = value("hidden", end)
    elif group.kind == "vector" and group.pixels and end != "ceiling":
        issued = known.issue_rate * value("issue", end)
        compute = group.pixels * SR_INSTRUCTIONS[known.architecture] / issued
    elif group.kind == "vector":
        compute = group.operations / known.float32
    elif end == "ceiling":
        compute = group.operations / rate
    else:
        compute = group.operations / (known.bf16 * FLASH[known.architecture] * value("attention", end))
    seen = (1 - hidden) * min(compute, memory)
    return max(compute, memory) + seen + group.launches * value("launch", end) * 1e-6


def host_seconds(groups: Sequence[KernelGroup], end: str) -> float:
    """What one core needs to start a micro-batch; launches of ZeRO's hooks are within them."""
    launches = sum(group.launches for group in groups if not group.hooks)
    hooks = sum(group.hooks for group in groups)
    return (launches * value("host_launch", end) + hooks * value("host_tensor", end)) * 1e-6
