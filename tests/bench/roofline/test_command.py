"""The roofline of a step: one that can be checked by hand, and that never passes for a measurement."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecamp_fast.bench.report.result_files import RESULTS
from ecamp_fast.bench.roofline import command as bench
from ecamp_fast.bench.roofline.bytes import KernelGroup
from ecamp_fast.bench.roofline.kernels import sr_instructions
from ecamp_fast.bench.roofline.step import (
    ENDS,
    FLASH,
    SR_INSTRUCTIONS,
    TABLE,
    chip_of,
    host_seconds,
    step_roofline,
    value,
)
from ecamp_fast.bench.roofline.zero import Weights
from ecamp_fast.chips import CALCULATED
from ecamp_fast.errors import ConfigError

ROOT = Path(__file__).parents[3]
SMALL = Path(__file__).parents[2] / "data" / "small.yaml"
A100 = CALCULATED["A100"]
BANDWIDTH, RATE = A100.bandwidth, A100.bf16
BOUND_BY_RATE = KernelGroup("encoder", "product", RATE, 0.5 * BANDWIDTH)
BOUND_BY_BYTES = KernelGroup("encoder", "pointwise", 0, 2 * BANDWIDTH)
BOUND_BY_CORES = KernelGroup("super-resolution", "vector", 3 * A100.float32, 0)
BEYOND = KernelGroup("ZeRO", "pointwise", 0, BANDWIDTH, launches=1e6, hooks=1, extra=True)


def rows(*groups: KernelGroup, **options: object) -> dict[str, dict]:
    return {row["assumption"]: row for row in step_roofline(groups, 2, "A100", **options)}  # type: ignore[arg-type]


def test_the_ceiling_by_hand() -> None:
    """One second of products, two of bytes, three of float32, for two images; what goes beyond is not in it."""
    row = rows(BOUND_BY_RATE, BOUND_BY_BYTES, BOUND_BY_CORES, BEYOND)["ceiling"]
    assert row["images_per_second"] == pytest.approx(2 / 6)
    assert row["component_microseconds"] == pytest.approx({"encoder": 1.5e6, "super-resolution": 1.5e6})
    assert row["mfu"] == pytest.approx((RATE + 3 * A100.float32) / 6 / RATE)
    assert row["hours"] == pytest.approx(377_110 * 115 / (4 / 3) / 3600)


def test_every_assumption_has_its_reason_and_the_range_is_ordered() -> None:
    assert all(len(row.reason) > 20 for row in TABLE) and len({row.key for row in TABLE}) == len(TABLE)
    costs = ("launch", "host_tensor", "host_launch")
    for row in TABLE:
        ends = [row.ceiling, row.optimistic, row.doubter]
        assert ends == sorted(ends, reverse=row.key not in costs), row.key
    found = rows(BOUND_BY_RATE, BOUND_BY_BYTES, BOUND_BY_CORES, BEYOND)
    rates = [found[end]["images_per_second"] for end in ENDS]
    assert rates[0] > rates[1] > rates[2]


@pytest.mark.parametrize("end", ["optimistic", "doubter"])
def test_a_product_shows_what_does_not_overlap(end: str) -> None:
    """The longer of arithmetic and memory, and the share of the shorter that is not hidden."""
    compute, memory = 1 / (value("large", end) * value("product", end)), 0.5 / value("pointwise", end)
    seen = (1 - value("hidden", end)) * memory
    assert rows(BOUND_BY_RATE)[end]["images_per_second"] == pytest.approx(2 / (compute + seen))


def test_what_goes_beyond_takes_bytes_and_launches() -> None:
    row = rows(BOUND_BY_RATE, BEYOND)["doubter"]
    assert row["component_microseconds"]["ZeRO"] == pytest.approx(
        (1 / value("pointwise", "doubter") + value("launch", "doubter")) / 2 * 1e6
    )


def test_attention_reaches_a_share_of_what_it_reaches_on_long_rows() -> None:
    row = rows(KernelGroup("encoder", "attention", RATE, 0))["optimistic"]
    assert row["images_per_second"] == pytest.approx(2 * FLASH["sm_80"] * value("attention", "optimistic"))


def test_super_resolution_is_bound_by_instructions() -> None:
    group = KernelGroup("super-resolution", "vector", 1, 0, pixels=1e9)
    seconds = 1e9 * SR_INSTRUCTIONS["sm_80"] / (108 * 4 * 1.41e9 * value("issue", "doubter"))
    assert rows(group)["doubter"]["images_per_second"] == pytest.approx(2 / seconds)


@pytest.mark.parametrize("architecture", SR_INSTRUCTIONS)
def test_instructions_are_those_that_were_counted_in_the_kernel(architecture: str) -> None:
    compiled = json.loads((ROOT / RESULTS / "kernels-without-gpu.json").read_text())["compiled"]
    (row,) = (r for r in compiled if r["operation"] == "sr_loss" and r["chip"] == architecture)
    assert sr_instructions(row, 224) == pytest.approx(SR_INSTRUCTIONS[architecture] * 224**2)


def test_the_host_may_take_longer() -> None:
    busy = KernelGroup("eager glue", "pointwise", 0, 0, launches=1000, extra=True)
    hooks = KernelGroup("ZeRO", "pointwise", 0, 0, launches=1000, hooks=100, extra=True)
    assert host_seconds([busy, hooks], "doubter") == pytest.approx(
        (1000 * value("host_launch", "doubter") + 100 * value("host_tensor", "doubter")) * 1e-6
    )
    row = rows(KernelGroup("encoder", "product", RATE * 1e-6, 0), busy, hooks)["doubter"]
    assert row["bound"] == "host" and row["images_per_second"] == pytest.approx(1e6 / row["host_microseconds"])
    assert rows(BOUND_BY_RATE, busy)["doubter"]["bound"] == "gpu"


def test_unaligned_weights_are_slower_where_they_are() -> None:
    weights = Weights(10, 1000, {"encoder": 1.0})
    aligned, off = (rows(BOUND_BY_RATE, weights=weights, aligned=a) for a in (True, False))
    assert all(off[end]["images_per_second"] < aligned[end]["images_per_second"] for end in ENDS[1:])
    assert rows(BOUND_BY_RATE, weights=Weights(10, 1000, {"decoder": 1.0}), aligned=False) == {
        end: row | {"aligned": False} for end, row in aligned.items()
    }


def test_a_measured_rate_replaces_the_data_sheet_but_not_in_the_mfu() -> None:
    row = rows(BOUND_BY_RATE, rates={"A100": RATE * 0.8})["ceiling"]
    assert row["images_per_second"] == pytest.approx(1.6) and row["mfu"] == pytest.approx(0.8)
    low = [rows(BOUND_BY_RATE, rates=rates)["doubter"] for rates in ({}, {"A100": RATE * value("large", "doubter")})]
    assert low[0] == low[1]


@pytest.mark.parametrize(
    ("device", "chip"),
    [("NVIDIA H200", "H200"), ("NVIDIA A100-SXM4-80GB", "A100"), ("NVIDIA A100-SXM4-40GB", None), ("AMD EPYC", None)],
)
def test_a_device_is_the_chip_only_with_its_bandwidth(device: str, chip: str | None) -> None:
    assert chip_of(device) == chip


@pytest.mark.parametrize("text", ["H200", "H200=fast", "H200=-1", "V100=100"])
def test_a_rate_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--rate"):
        bench.parse_rates((text,))


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    feeds = {"memory": {"images_per_second": 1234.5, "mfu": 0.25, "tokens": 20.5}}
    head = {"schema": 1, "bench": "train", "feeds": feeds}
    planted = {
        "train-h200.json": head | {"recipe": "small", "environment": {"device": "NVIDIA H200"}},
        "train-other.json": head | {"recipe": "other", "environment": {"device": "NVIDIA H200"}},
        "train-cpu.json": head | {"recipe": "small", "environment": {"device": "AMD EPYC"}},
    }
    for name, result in planted.items():
        (tmp_path / name).write_text(json.dumps(result))
    size = ("--tokens", "20", "--vocabulary", "200", "--rate", "H200=790")
    return ["--recipe", str(SMALL), *size, "--results", str(tmp_path)]


def test_every_row_says_what_kind_it_is(options: list[str]) -> None:
    done = CliRunner().invoke(bench.command, [*options, "--json"], catch_exceptions=False)
    result = json.loads(done.stdout)
    assert result["bench"] == "roofline" and result["kind"] == "projection" and result["parameters"] > 0
    calculated = [row for name in ("projected", "unaligned", "sensitivity", "micro_batches") for row in result[name]]
    assert {row["kind"] for row in [*calculated, result["cluster"]]} == {"projection"}
    assert {(r["chip"], r["assumption"]) for r in result["projected"]} == {(c, a) for c in CALCULATED for a in ENDS}
    assert [(row["kind"], row["file"]) for row in result["measured"]] == [("measurement", "train-h200.json")]
    rates = {r["tokens"]: r["images_per_second"] for r in result["sensitivity"] if r["chip"] == "A100"}
    assert list(rates) == [64, 90, 110, 128] and list(rates.values()) == sorted(rates.values(), reverse=True)
    rates = {r["micro"]: r["images_per_second"] for r in result["micro_batches"] if r["chip"] == "H100"}
    assert list(rates.values()) == sorted(rates.values()), "a larger micro-batch hides more"
    assert [row["key"] for row in result["assumptions"]] == [row.key for row in TABLE]


def test_measured_and_projected_stand_apart(options: list[str]) -> None:
    lines = CliRunner().invoke(bench.command, options, catch_exceptions=False).stdout.splitlines()
    (beside,) = (line for line in lines if not line.startswith("projection:"))
    measured, projected = beside.split(" | ")
    assert "measured 1,234 images/s" in measured and projected.startswith("projection at 20 tokens")
    low, high = projected.split(": ")[1].split(" to ")
    assert float(low.replace(",", "")) < float(high.replace(",", ""))


def test_an_unknown_chip_has_no_clusters(options: list[str]) -> None:
    done = CliRunner().invoke(bench.command, [*options, "--cluster", "V100"])
    assert isinstance(done.exception, ConfigError) and "--cluster V100" in str(done.exception)


def test_a_larger_sample_asks_more_of_the_disk(options: list[str]) -> None:
    sizes = [[], ["--sample-bytes", "710000"]]
    done = [CliRunner().invoke(bench.command, [*options, *size, "--json"], catch_exceptions=False) for size in sizes]
    one, other = (json.loads(d.stdout)["cluster"]["feeds"][0]["disk_bytes_per_second"] for d in done)
    assert other == pytest.approx(2 * one)
