from pathlib import Path

import pytest

from ecamp_fast import fault_points
from ecamp_fast.errors import DataError
from ecamp_fast.run.rundir import RunDir, read_metrics, read_records


def test_state_merges(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    assert run.state() == {}
    run.set_state(status="running", step=3)
    run.set_state(step=4)
    assert run.state() == {"status": "running", "step": 4}


def test_a_rank_that_does_not_write_leaves_nothing(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run", writes=False)
    run.set_state(status="running")
    run.metric({"step": 1})
    assert not (tmp_path / "run").exists()


def test_damaged_state_is_said(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    (tmp_path / "run_state.json").write_text("{")
    with pytest.raises(DataError, match="run_state"):
        run.state()


def test_metrics_after_a_resume_count_once(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for step, loss in ((1, 5.0), (2, 4.0), (3, 3.0), (2, 4.5), (3, 3.5)):
        run.metric({"step": step, "loss": loss})
    run.metric({"step": 3, "loss": 9.0, "split": "val"})
    assert [r["loss"] for r in read_metrics(tmp_path)] == [5.0, 4.5, 3.5]
    assert [r["loss"] for r in read_metrics(tmp_path, "val")] == [9.0]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_records(tmp_path / "metrics.jsonl") == [{"step": 1}]


def test_starting_over_loses_nothing(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.metric({"step": 1})
    run.set_aside()
    run.metric({"step": 2})
    run.set_aside()
    assert read_records(tmp_path / "previous-1" / "metrics.jsonl") == [{"step": 1}]
    assert read_records(tmp_path / "previous-2" / "metrics.jsonl") == [{"step": 2}]


@pytest.mark.fault("C2.logs")
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "EROFS"])
@pytest.mark.parametrize("name", ["metrics.jsonl", "events.jsonl", "quarantine.jsonl"])
def test_lines_that_the_disk_refuses_wait(tmp_path: Path, monkeypatch, capsys, name: str, fault: str) -> None:
    monkeypatch.setattr(fault_points, "_seen", fault_points.Counter())
    run = RunDir(tmp_path)
    write = {
        "metrics.jsonl": lambda step: run.metric({"step": step}),
        "events.jsonl": lambda step: run.event("x", step=step),
        "quarantine.jsonl": lambda step: run.quarantined({"step": step}),
    }[name]
    write(1)
    monkeypatch.setenv("ECAMP_FAULT", f"write:file={name}:{fault}")
    for step in (2, 3):
        write(step)
    assert [record["step"] for record in read_records(tmp_path / name)] == [1]
    assert capsys.readouterr().err.count(f"{name} cannot be written, training goes on") == 1  # told once
    monkeypatch.delenv("ECAMP_FAULT")
    write(4)
    assert [record["step"] for record in read_records(tmp_path / name)] == [1, 2, 3, 4]
    write(5)
    assert [record["step"] for record in read_records(tmp_path / name)] == [1, 2, 3, 4, 5]


@pytest.mark.fault("C2.logs")
def test_a_line_that_a_full_disk_cut_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    RunDir(tmp_path).metric({"step": 3})
    assert read_records(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 3}]


@pytest.mark.fault("C2.logs")
@pytest.mark.parametrize("point", ["write", "fsync", "rename"])
def test_facts_that_the_disk_refuses_come_with_the_next(tmp_path: Path, monkeypatch, capsys, point: str) -> None:
    run = RunDir(tmp_path)
    run.set_state(status="running", step=1)
    monkeypatch.setenv("ECAMP_FAULT", f"{point}:file=run_state.json:EROFS")
    run.set_state(step=2, alarm="step 2 was not saved")
    run.set_state(step=3)
    assert run.state() == {"status": "running", "step": 1} and "training goes on" in capsys.readouterr().err
    monkeypatch.delenv("ECAMP_FAULT")
    run.set_state(saved=4)
    assert run.state() == {"status": "running", "step": 3, "alarm": "step 2 was not saved", "saved": 4}
    assert [path.name for path in tmp_path.iterdir()] == ["run_state.json"]
