import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ecamp_fast.bench import attention as bench
from ecamp_fast.config import load_recipe

RECIPE = load_recipe(Path(__file__).parents[1] / "data" / "small.yaml", ["precision=fp32", "model.text.dropout=0.1"])


@pytest.fixture(scope="module")
def result() -> dict:
    return bench.measure(RECIPE, batch=2, tokens=20, repeats=2)


def test_every_backend_of_every_part_has_a_time_or_a_reason(result: dict) -> None:
    assert {row["part"] for row in result["rows"]} == {"encoder", "decoder", "text", "fusion"}
    for row in result["rows"]:
        assert ("note" in row) != ("seconds" in row), row
        assert row["passed"] == ("seconds" in row)
    used = [row for row in result["rows"] if row["chosen"]]
    assert len(used) == 4 and all(row["seconds"]["median"] > 0 for row in used)
    assert all(row["backend"] in bench.describe(result) for row in result["rows"])


def test_a_wrong_backend_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from ecamp_fast.model import attention

    wrong = attention.Backend(lambda case: None, lambda q, k, v, *rest: q * 1.0 + k.sum() * 0 + v.sum() * 0)
    monkeypatch.setitem(attention.BACKENDS, "plain", wrong)
    found = bench.measure(RECIPE, batch=2, tokens=20, repeats=2)
    row = next(row for row in found["rows"] if (row["part"], row["backend"]) == ("encoder", "plain"))
    assert not row["passed"] and "seconds" not in row and "WRONG" in bench.describe(found)


def test_a_backend_that_raises_ends_its_own_row_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from ecamp_fast.model import attention

    def raising(*_: object) -> torch.Tensor:
        raise RuntimeError("CUDNN_STATUS_NOT_SUPPORTED")

    monkeypatch.setitem(attention.BACKENDS, "plain", attention.Backend(lambda case: None, raising))
    found = bench.measure(RECIPE, batch=2, tokens=20, repeats=2)
    rows = [row for row in found["rows"] if row["backend"] == "plain"]
    assert len(rows) == 4 and all("NOT_SUPPORTED" in row["note"] and not row["passed"] for row in rows)
    assert all("seconds" in row for row in found["rows"] if row["chosen"])


def test_a_backend_that_differs_from_run_to_run_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from ecamp_fast.model import attention

    calls: list[int] = []

    def unsteady(q: torch.Tensor, *rest: object) -> torch.Tensor:
        calls.append(1)
        return attention.BACKENDS["sdpa"].run(q, *rest) * (1 + 2**-23 * (len(calls) % 2))

    monkeypatch.setitem(attention.BACKENDS, "plain", attention.Backend(lambda case: None, unsteady))
    found = bench.measure(RECIPE, batch=2, tokens=20, repeats=2)
    assert {row["repeats"] for row in found["rows"] if row["backend"] == "plain"} == {False}
    assert {row["repeats"] for row in found["rows"] if row["backend"] == "sdpa"} == {True}
    assert "differs from run to run" in bench.describe(found)


def test_the_table_has_the_fastest_first(tmp_path: Path) -> None:
    path = tmp_path / "attention.json"
    path.write_text('{"sm_80": {"equal 1x1x8": ["sdpa"]}}')
    rows = [
        {"shape": "s", "backend": name, "seconds": {"median": median}, "repeats": name != "d"}
        for name, median in (("a", 2.0), ("d", 0.5), ("b", 1.0))
    ] + [{"shape": "s", "backend": "c", "note": "not installed"}]
    bench.save({"chip": "sm_90", "rows": rows}, path)
    assert json.loads(path.read_text()) == {"sm_80": {"equal 1x1x8": ["sdpa"]}, "sm_90": {"s": ["b", "a"]}}


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_tuning_needs_a_gpu() -> None:
    ran = CliRunner().invoke(bench.command, ["--tune", "--batch", "1", "--repeats", "2", "--tokens", "10"])
    assert ran.exit_code != 0 and "no GPU here" in str(ran.exception)
