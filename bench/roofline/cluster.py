"""Many GPUs, calculated: bytes on the wire, what they cost, what data must arrive, and where each part ends.

Nothing here was measured on a cluster. Bytes are counted as docs/parallel.md has them: DeepSpeed reduces a bucket with
an all-reduce, stage 2 in every micro-step; ``overlap_comm`` is false, so nothing passes behind a backward. What a link
reaches of its nominal rate, and what a hop takes, are assumptions: ``REASONS``.
Legend: N ranks, one GPU each; A micro-steps of an optimizer step; a node holds 8 GPUs; bytes a second in one direction.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil, log2
from typing import Any

from ecamp_fast.bench.roofline.zero import Zero
from ecamp_fast.chips import CALCULATED

NODE = 8  # GPUs
RANKS, STAGES, MICRO = (1, 4, 8, 64, 512), (0, 1, 2), (256, 1024)
ELEMENT = 2  # bytes of a bfloat16 gradient or weight
HOP = 5e-6  # seconds from rank to rank
WHOLE = 500_000_000  # numbers of a bucket of stage 0, DeepSpeed's own
GBIT = 1e9 / 8
CORES, DISK, DISK_NAME = (64, 128, 192), 7e9, "one NVMe disk of 7 GB/s"
LOADER = {"core_milliseconds": 4.7, "host_core_milliseconds": 0.21}  # bench/results/loader-cpu.json
SAMPLE_BYTES = 355_000  # in the tar: mean of 64 phantoms of 1024 pixels with their texts, as `bench loader` draws them
AGAIN = 2.5  # bytes read for one that is needed, where a set is shuffled whole and no cache holds it: docs/stores.md
GOOD = 0.8  # efficiency below which a link counts as ended


@dataclass(frozen=True, slots=True)
class Network:
    """inside: bytes a second of a GPU to others of its node   between: of a whole node to others"""

    name: str
    inside: float
    between: float


# Shares of the nominal rates; of PCIe 4.0 x16 the rate itself, bytes in one direction
NVLINK, PCIE, INFINIBAND, ETHERNET = 0.8, 3.2e10 * 0.75, 0.9, 0.8
REASONS = (
    "links reach of their nominal rate: NVLink 80 %, PCIe 4.0 x16 75 %, InfiniBand 90 %, Ethernet 80 % (assumed)",
    f"a hop from rank to rank takes {HOP * 1e6:.0f} microseconds, and a collective 2 log2 N of them (assumed)",
    "a GPU alone as in the projection above, its two ends; efficiency: against N times one GPU with micro-batch 256",
)


def networks(chip: str) -> tuple[Network, ...]:
    """What nodes of that chip are sold with."""
    inside = CALCULATED[chip].nvlink * NVLINK
    return (
        Network("NVLink + InfiniBand 400 Gb/s a GPU", inside, 8 * 400 * GBIT * INFINIBAND),
        Network("NVLink + InfiniBand 100 Gb/s a GPU", inside, 8 * 100 * GBIT * INFINIBAND),
        Network("NVLink + Ethernet 100 Gb/s a node", inside, 100 * GBIT * ETHERNET),
        Network("NVLink + Ethernet 25 Gb/s a node", inside, 25 * GBIT * ETHERNET),
        Network("PCIe + Ethernet 100 Gb/s a node", PCIE, 100 * GBIT * ETHERNET),
    )


def ring_all_reduce(size: float, ranks: int) -> float:
    """Bytes that each rank sends for an all-reduce of ``size`` bytes: it passes on N - 1 of N parts, twice."""
    return 2 * ring_all_gather(size, ranks)


def ring_all_gather(size: float, ranks: int) -> float:
    """Bytes that each rank sends until all have ``size`` bytes, of which each had one part of N."""
    return (ranks - 1) / ranks * size


def step_bytes(parameters: int, zero: Zero) -> float:
    """Bytes that each rank sends in an optimizer step."""
    size = ELEMENT * parameters
    reduced = ring_all_reduce(size, zero.ranks) * (zero.micro_steps if zero.stage == 2 else 1)
    return reduced + (ring_all_gather(size, zero.ranks) if zero.stage else 0.0)


def collectives(parameters: int, zero: Zero) -> int:
    """How many an optimizer step has: buckets, two groups of weights, the vector of ``run.update``."""
    buckets = ceil(parameters / (zero.bucket if zero.stage else WHOLE))
    return buckets * (zero.micro_steps if zero.stage == 2 else 1) + (2 if zero.stage else 0) + 1


def wire_seconds(parameters: int, zero: Zero, network: Network) -> float:
    """Of an optimizer step: the slower of what a GPU sends in its node and what a node sends out, and the hops.

    NCCL lays as many rings as a node has network cards, so that a node passes on once, over all of them, what one rank
    sends.
    """
    if zero.ranks == 1:
        return 0.0
    sent = step_bytes(parameters, zero)
    seconds = sent / network.inside
    if zero.ranks > NODE:
        seconds = max(seconds, sent / network.between)
    return seconds + collectives(parameters, zero) * 2 * ceil(log2(zero.ranks)) * HOP


def cut(total: int, ranks: int, micro: int) -> tuple[int, int] | None:
    """(micro-batch, A) that make up the batch, the micro-batch no larger than asked; None where it does not divide."""
    micro = min(micro, total // ranks)
    return (micro, total // (ranks * micro)) if micro and total % (ranks * micro) == 0 else None


def plan(
    total: int, parameters: int, chip: str, computing: Callable[[int, Zero], Mapping[str, float]]
) -> list[dict[str, Any]]:
    """A row per ranks, network, stage and micro-batch asked for.  total: samples of an optimizer step

    computing: (micro-batch, Zero) -> end of the range -> seconds of a micro-step without what travels
    returns micro, micro_steps, batch_asked (ranks times what was asked for: beyond ``total`` it would be another
    training), sent_bytes (a rank, a step), wire_seconds, wire_share, images_per_second, efficiency (the last three by
    end).
    """
    rows = []
    for ranks, stage, asked in ((r, s, m) for r in RANKS for s in STAGES for m in MICRO):
        found = cut(total, ranks, asked)
        alone = cut(total, 1, MICRO[0])
        if not found or not alone:
            continue
        zero = Zero(stage, ranks, found[1])
        seconds = computing(found[0], zero)
        single = computing(alone[0], Zero(stage, 1, alone[1]))
        for network in networks(chip):
            wire = wire_seconds(parameters, zero, network)
            step = {end: value * zero.micro_steps + wire for end, value in seconds.items()}
            rates = {end: total / value for end, value in step.items()}
            rows.append(
                {"ranks": ranks, "network": network.name, "stage": stage, "micro_asked": asked, "micro": found[0]}
                | {"micro_steps": zero.micro_steps, "batch_asked": asked * ranks}
                | {"sent_bytes": step_bytes(parameters, zero), "wire_seconds": wire}
                | {"wire_share": {end: wire / value for end, value in step.items()}}
                | {"images_per_second": rates}
                | {"efficiency": {end: rates[end] * single[end] / alone[0] / ranks for end in rates}}
            )
    return rows


def link_ends(
    total: int, parameters: int, chip: str, computing: Callable[[int, Zero], Mapping[str, float]], end: str
) -> list[dict[str, Any]]:
    """Per network and stage, micro-batch 256: most GPUs above ``GOOD``, and from how many on the wire takes the longer.

    Powers of two to 512; None where there is no such number.  end: of the range; the faster the GPU, the sooner.
    """
    counts = [2**power for power in range(1, 10)]
    rows = []
    alone = cut(total, 1, MICRO[0])
    if alone is None:
        return []
    for network in networks(chip):
        for stage in STAGES:
            single = computing(alone[0], Zero(stage, 1, alone[1]))[end] / alone[0]
            good, longer = None, None
            for ranks in counts:
                found = cut(total, ranks, MICRO[0])
                if not found:
                    continue
                zero = Zero(stage, ranks, found[1])
                seconds, wire = (
                    computing(found[0], zero)[end] * found[1],
                    wire_seconds(parameters, zero, network),
                )
                good = ranks if total / (seconds + wire) * single / ranks >= GOOD else good
                longer = ranks if longer is None and wire > seconds else longer
            rows.append({"network": network.name, "stage": stage, "most_good": good, "wire_longer_from": longer})
    return rows


@dataclass(frozen=True, slots=True)
class Feed:
    """What must arrive where images are used at a rate.  Per node unless it says in all; core: of a CPU

    cores: decoding on the CPU; host_cores: decoding on the GPU, which has not been measured
    """

    ranks: int
    images_per_second: float
    cores: float
    host_cores: float
    disk_bytes_per_second: float
    store_bytes_per_second: float  # in all, nothing cached


def feed(ranks: int, images_per_second: float, loader: Mapping[str, float], sample_bytes: float) -> Feed:
    """images_per_second: in all   loader: see ``LOADER``   sample_bytes: of a sample in its shard"""
    node = images_per_second * min(1, NODE / ranks)
    cores, host = (node * loader[name] / 1e3 for name in LOADER)
    return Feed(ranks, images_per_second, cores, host, node * sample_bytes, images_per_second * sample_bytes)


def data_ends(per_gpu: float, loader: Mapping[str, float], sample_bytes: float, samples: int) -> list[str]:
    """Lines: what cores, memory, a disk and a network card can feed.  per_gpu: images a second of one"""
    core = 1e3 / loader["core_milliseconds"]
    lines = [
        f"{count} cores, decoding on the CPU: {count * core:,.0f} images/s, {count * core / per_gpu:.1f} GPUs"
        for count in CORES
    ]
    lines.append(
        "decoding on the GPU: not measured; the host's part of it would need"
        f" {per_gpu * loader['host_core_milliseconds'] / 1e3:.1f} cores a GPU"
    )
    lines.append(
        f"page cache: the whole set, {samples:,} samples, is {samples * sample_bytes / 1e9:,.0f} GB; a node with"
        " more memory free reads each sample once"
    )
    lines.append(f"{DISK_NAME}: {DISK / sample_bytes:,.0f} images/s, {DISK / sample_bytes / per_gpu:.1f} GPUs")
    for gbit in (100, 25):
        limit = gbit * GBIT * ETHERNET / sample_bytes
        lines.append(
            f"object store through {gbit} Gb/s a node, nothing cached: {limit:,.0f} images/s, {limit / per_gpu:.1f}"
            f" GPUs; shuffled over the whole set, {AGAIN} times the bytes: {limit / AGAIN / per_gpu:.1f} GPUs"
        )
    return lines


def feeds(rows: Sequence[dict[str, Any]], loader: Mapping[str, float], sample_bytes: float) -> list[dict[str, Any]]:
    """Of the fastest row of every number of ranks, at the faster end: what must be delivered at most."""
    best: dict[int, float] = {}
    for row in rows:
        best[row["ranks"]] = max(best.get(row["ranks"], 0.0), row["images_per_second"]["optimistic"])
    return [asdict(feed(ranks, rate, loader, sample_bytes)) for ranks, rate in best.items()]
