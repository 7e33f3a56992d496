"""The projection: a roofline that can be checked by hand, and that never passes for a measurement."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecamp_fast.bench import project as bench
from ecamp_fast.bench.gpu_times import PEAKS
from ecamp_fast.bench.projection import ASSUMPTIONS, CHIPS, chip_of, project
from ecamp_fast.bench.traffic import Group
from ecamp_fast.errors import ConfigError

SMALL = Path(__file__).parents[1] / "data" / "small.yaml"
BANDWIDTH, RATE = PEAKS["A100"]
BOUND_BY_RATE = Group("encoder", "product", RATE, 0.5 * BANDWIDTH)
BOUND_BY_BYTES = Group("encoder", "pointwise", 0, 2 * BANDWIDTH)
BOUND_BY_CORES = Group("super-resolution", "vector", 3 * CHIPS["A100"], 0)


def rows(*groups: Group, **options: object) -> dict[str, dict]:
    return {row["assumption"]: row for row in project(groups, 2, "A100", **options)}  # type: ignore[arg-type]


def test_the_ceiling_by_hand() -> None:
    """One second of products, two of bytes, three of float32, for two images."""
    row = rows(BOUND_BY_RATE, BOUND_BY_BYTES, BOUND_BY_CORES)["ceiling"]
    assert row["images_per_second"] == pytest.approx(2 / 6)
    assert row["component_microseconds"] == pytest.approx({"encoder": 1.5e6, "super-resolution": 1.5e6})
    assert row["mfu"] == pytest.approx((RATE + 3 * CHIPS["A100"]) / 6 / RATE)
    assert row["hours"] == pytest.approx(377_110 * 115 / (4 / 3) / 3600)


def test_an_assumption_takes_its_share() -> None:
    found, stretch = rows(BOUND_BY_RATE), ASSUMPTIONS["stretch"]
    assert found["stretch"]["images_per_second"] == pytest.approx(2 * stretch.product * (1 - stretch.gaps))
    rates = [found[name]["images_per_second"] for name in ("ceiling", "stretch", "conservative")]
    assert rates == sorted(rates, reverse=True)


def test_a_measured_rate_replaces_the_data_sheet_but_not_in_the_mfu() -> None:
    row = rows(BOUND_BY_RATE, rates={"A100": RATE * 0.8})["ceiling"]
    assert row["images_per_second"] == pytest.approx(1.6) and row["mfu"] == pytest.approx(0.8)


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
    assert result["kind"] == "projection" and result["parameters"] > 0
    assert {row["kind"] for row in result["projected"] + result["sensitivity"]} == {"projection"}
    assert {(r["chip"], r["assumption"]) for r in result["projected"]} == {(c, a) for c in CHIPS for a in ASSUMPTIONS}
    assert [(row["kind"], row["file"]) for row in result["measured"]] == [("measurement", "train-h200.json")]
    rates = {r["tokens"]: r["images_per_second"] for r in result["sensitivity"] if r["chip"] == "A100"}
    assert list(rates) == [64, 90, 110, 128] and list(rates.values()) == sorted(rates.values(), reverse=True)


def test_measured_and_projected_stand_apart(options: list[str]) -> None:
    lines = CliRunner().invoke(bench.command, options, catch_exceptions=False).stdout.splitlines()
    (beside,) = (line for line in lines if not line.startswith("projection:"))
    measured, projected = beside.split(" | ")
    assert "measured 1,234 images/s" in measured and projected.startswith("projection at 20 tokens")
