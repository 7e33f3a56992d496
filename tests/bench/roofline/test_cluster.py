"""Clusters, calculated: rings by hand, what each stage sends, which link ends where, what must be delivered."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ecamp_fast.bench.report.result_files import RESULTS
from ecamp_fast.bench.roofline.cluster import (
    HOP,
    LOADER,
    NODE,
    Network,
    collectives,
    cut,
    data_ends,
    feed,
    feeds,
    link_ends,
    networks,
    plan,
    ring_all_gather,
    ring_all_reduce,
    step_bytes,
    wire_seconds,
)
from ecamp_fast.bench.roofline.page import cluster_lines
from ecamp_fast.bench.roofline.zero import Zero

ROOT = Path(__file__).parents[3]
TOTAL, P = 8192, 100_000_000
LINK = Network("a link", inside=1e11, between=1e10)


def computing(micro: int, zero: Zero) -> dict[str, float]:
    """4,000 and 2,000 images a second, and 1 ms of every micro-step that no size hides."""
    return {"optimistic": micro / 4000 + 1e-3, "doubter": micro / 2000 + 1e-3}


def test_a_ring_by_hand() -> None:
    """4 ranks, 400 bytes: parts of 100; three to sum them, three more to tell all; nothing where one is alone."""
    assert ring_all_gather(400, 4) == 300 and ring_all_reduce(400, 4) == 600
    assert ring_all_reduce(400, 1) == ring_all_gather(400, 1) == 0


def test_what_each_stage_sends() -> None:
    """bfloat16: 2 P bytes. Stage 2 reduces in every micro-step, stages 0 and 1 once; 1 and 2 gather weights."""
    gathered, reduced = 2 * P * 7 / 8, 2 * 2 * P * 7 / 8
    for steps in (1, 4):
        sent = [step_bytes(P, Zero(stage, 8, steps)) for stage in (0, 1, 2)]
        assert sent == [reduced, reduced + gathered, steps * reduced + gathered]


def test_collectives_are_buckets_groups_and_a_vector() -> None:
    assert [collectives(P, Zero(stage, 8, 4)) for stage in (0, 1, 2)] == [1 + 1, 4 + 2 + 1, 4 * 4 + 2 + 1]


def test_the_slower_of_node_and_network() -> None:
    inside, across = Zero(0, 8, 1), Zero(0, 16, 1)
    assert wire_seconds(P, inside, LINK) == pytest.approx(step_bytes(P, inside) / 1e11 + 2 * 2 * 3 * HOP)
    assert wire_seconds(P, across, LINK) == pytest.approx(step_bytes(P, across) / 1e10 + 2 * 2 * 4 * HOP)
    assert wire_seconds(P, Zero(2, 1, 32), LINK) == 0


def test_the_recipe_s_batch_is_cut_and_never_exceeded() -> None:
    assert [cut(TOTAL, ranks, 256) for ranks in (1, 8, 64, 512)] == [(256, 32), (256, 4), (128, 1), (16, 1)]
    assert cut(TOTAL, 8, 1024) == (1024, 1) and cut(TOTAL, 3, 256) is None and cut(4, 8, 256) is None


def test_rows_of_the_plan() -> None:
    rows = plan(TOTAL, P, "H100", computing)
    assert all(row["micro"] * row["ranks"] * row["micro_steps"] == TOTAL for row in rows)
    row = next(r for r in rows if (r["ranks"], r["stage"], r["micro_asked"]) == (4, 2, 256))
    wire = wire_seconds(P, Zero(2, 4, 8), networks("H100")[0])
    assert row["images_per_second"]["optimistic"] == pytest.approx(TOTAL / (8 * (256 / 4000 + 1e-3) + wire))
    alone = 256 / (256 / 4000 + 1e-3)
    assert row["efficiency"]["optimistic"] == pytest.approx(row["images_per_second"]["optimistic"] / 4 / alone)
    assert row["batch_asked"] == 1024
    single = next(r for r in rows if r["ranks"] == 1)
    assert single["sent_bytes"] == single["wire_seconds"] == 0 and single["efficiency"]["doubter"] == pytest.approx(1)


def test_a_slower_network_is_never_faster_and_a_slower_gpu_hides_more() -> None:
    rows = [r for r in plan(TOTAL, P, "H100", computing) if r["ranks"] == 64]
    rates = [r["images_per_second"]["optimistic"] for r in rows if (r["stage"], r["micro_asked"]) == (1, 256)]
    assert len(rates) == 5 and rates[:4] == sorted(rates[:4], reverse=True) and rates[0] > rates[3]
    assert all(r["efficiency"]["doubter"] >= r["efficiency"]["optimistic"] for r in rows)


def test_where_a_link_ends() -> None:
    found = {(r["network"], r["stage"]): r for r in link_ends(TOTAL, P, "H100", computing, "optimistic")}
    fast, *_, slow, _ = (network.name for network in networks("H100"))
    assert found[fast, 1]["most_good"] > found[slow, 1]["most_good"] == NODE
    assert found[slow, 1]["wire_longer_from"] == 16 and found[fast, 1]["wire_longer_from"] is None
    assert not link_ends(300, P, "H100", computing, "optimistic")  # which no micro-batch of 256 divides


def test_what_must_be_delivered() -> None:
    """16 ranks, 2 nodes, 1,000 images a second: 500 a node, of 1 kB; 4 ms of a core each, 0.5 of them on the host."""
    loader = {"core_milliseconds": 4.0, "host_core_milliseconds": 0.5}
    found = feed(16, 1000, loader, 1000)
    assert (found.cores, found.host_cores) == (2.0, 0.25)
    assert (found.disk_bytes_per_second, found.store_bytes_per_second) == (5e5, 1e6)
    assert feed(4, 1000, loader, 1000).disk_bytes_per_second == 1e6
    rows = plan(TOTAL, P, "H100", computing)
    assert [row["ranks"] for row in feeds(rows, LOADER, 1)] == [1, 4, 8, 64, 512]


def test_what_data_can_feed() -> None:
    lines = data_ends(1000, {"core_milliseconds": 4.0, "host_core_milliseconds": 0.5}, 1_000_000, 5000)
    assert lines[0] == "64 cores, decoding on the CPU: 16,000 images/s, 16.0 GPUs"
    assert "5 GB" in next(line for line in lines if line.startswith("page cache"))
    assert "7,000 images/s, 7.0 GPUs" in next(line for line in lines if "NVMe" in line)
    assert "10,000 images/s, 10.0 GPUs" in next(line for line in lines if "100 Gb/s" in line)


def test_it_needs_no_torch() -> None:
    code = "import sys, ecamp_fast.bench.roofline.cluster; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_page_has_the_tables_of_the_result_that_is_kept() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text().splitlines()
    result = json.loads((ROOT / RESULTS / "project.json").read_text())
    missing = [line for line in cluster_lines(result) if line.startswith("|") and line not in page]
    command = result["command"].replace("bench project", "bench roofline")  # it was kept under the former name
    assert not missing and command in "\n".join(page)
