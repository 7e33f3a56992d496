"""Times to rows, shares and shares of the roofline."""

import pytest
import torch

from ecamp_fast.run.profiling.attribution import Attribution, Part
from ecamp_fast.run.profiling.ceiling import Ceiling, ceiling, of_chip
from ecamp_fast.run.profiling.summary import Summary, summarise

MS = 1_000_000
PARTS: dict[Part, int] = {
    ("encoder", "forward"): 10 * MS,
    ("encoder", "backward"): 30 * MS,
    ("image loss", "forward"): 2 * MS,
    ("optimizer", ""): 8 * MS,
    ("data wait", ""): 40 * MS,
    ("communication", ""): 6 * MS,
    ("GPU idle", ""): 4 * MS,
}
FACTS = {"images a step": "16"}


def summary(parts: dict[Part, int] = PARTS, limit: Ceiling | None = None, **changes: int) -> Summary:
    found = Attribution({7: sum(parts.values()) // 4, 8: sum(parts.values()) * 3 // 4}, parts, {"mm": (9 * MS, 4)})
    for name, value in changes.items():
        setattr(found, name, value)
    limit = limit or Ceiling(4e12, 1e12, "a sheet")
    facts = {"precision": "bf16", "before": None, "facts": FACTS, "trace": "t"}
    return summarise(found, {"encoder": 2e10}, 1_000_000, limit, **facts)  # type: ignore[arg-type]


def test_rows_are_of_one_step_and_sum_to_it() -> None:
    found = summary()
    assert found.steps == (7, 8) and found.of_steps == {7: 25.0, 8: 75.0} and found.step == 50.0
    assert sum(row.together for row in found.rows) == pytest.approx(50.0)
    assert sum(row.share for row in found.rows) == pytest.approx(1.0)
    assert [row.component for row in found.rows][:2] == ["encoder", "data wait"]
    encoder = found.rows[0]
    assert (encoder.forward, encoder.backward, encoder.together) == (5.0, 15.0, 20.0)
    assert found.rows[1].forward is None and found.images_per_second == 320.0
    assert (found.operators[0].together, found.operators[0].calls) == (4.5, 2.0)


def test_shares_of_the_roofline_are_of_operations_or_of_bytes() -> None:
    rows = {row.component: row for row in summary().rows}
    assert rows["encoder"].of_ceiling == pytest.approx(2e10 / 0.020 / 4e12)
    assert rows["optimizer"].of_ceiling == pytest.approx(30e6 / 0.004 / 1e12) and rows["optimizer"].moved == 30e6
    assert rows["image loss"].of_ceiling is None and "no matrix products" in rows["image loss"].reason
    assert rows["data wait"].reason == "waits"
    rows = {row.component: row for row in summary(limit=of_chip("A stranger", "bf16")).rows}
    assert rows["encoder"].of_ceiling is None and "no data sheet of A stranger" in rows["encoder"].reason
    assert rows["encoder"].operations == 2e10


def test_what_waits_is_told_and_what_is_hidden() -> None:
    waits = {wait.what: wait for wait in summary(collectives=20 * MS, between=5 * MS).waits}
    assert list(waits) == ["data wait", "communication, hidden", "communication", "GPU idle"]
    assert waits["communication, hidden"].together == 7.0 and waits["communication, hidden"].within
    on_cpu = {part: time for part, time in PARTS.items() if part[0] != "GPU idle"}
    waits = {wait.what: wait for wait in summary(on_cpu, between=5 * MS).waits}
    assert waits["between operations"].together == 2.5 and "communication, hidden" not in waits


def test_a_gpus_ceiling_is_its_data_sheet_and_a_cpus_is_measured() -> None:
    assert of_chip("NVIDIA H200", "bf16").operations == 9.89e14
    assert of_chip("NVIDIA H200", "fp32").operations is None and of_chip("NVIDIA H200", "fp32").bandwidth == 4.8e12
    torch.manual_seed(3)
    drawn = torch.rand(4)
    torch.manual_seed(3)
    found = ceiling(torch.device("cpu"), "fp32")
    assert torch.equal(torch.rand(4), drawn)  # the run's random numbers are left alone
    assert found.operations and found.bandwidth and 1e8 < found.operations < 1e14 and 1e7 < found.bandwidth < 1e13
