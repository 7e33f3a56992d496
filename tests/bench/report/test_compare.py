"""Comparing results: what is worse shows, what was measured otherwise is refused."""

import copy
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecamp_fast.bench.report import compare as bench
from ecamp_fast.bench.report.metrics import metrics
from ecamp_fast.errors import ConfigError, DataError

RESULT = {
    "schema": 1,
    "bench": "train",
    "recipe": "demo",
    "batch": 8,
    "feeds": {"memory": {"images_per_second": 100.0, "step_seconds": {"median": 0.1, "p99": 0.2}, "tokens": 80.0}},
    "times": [
        {"operation": "sr_loss", "implementation": "triton", "median": 1e-3},
        {"operation": "sr_loss", "implementation": "eager", "median": 5e-3},
    ],
    "peer": {"seconds": {"together": {"median": 1.0}}},
    "peak_memory_bytes": 10,
    "environment": {"device": "H200", "cores": 16},
}
METRICS = {"feeds.memory.images_per_second", "feeds.memory.step_seconds.median", "times[sr_loss triton].median"}


def changed(path: str, value: object) -> dict:
    result = copy.deepcopy(RESULT)
    *parents, leaf = path.split("/")
    node = result
    for parent in parents:
        node = node[parent]  # type: ignore[assignment]
    node[leaf] = value  # type: ignore[index]
    return result


def test_metrics_are_ours_and_know_their_direction() -> None:
    found = metrics(RESULT)
    assert set(found) == {*METRICS, "peak_memory_bytes"}
    assert [name for name, metric in found.items() if metric.higher] == ["feeds.memory.images_per_second"]


@pytest.mark.parametrize(
    ("path", "value", "worse"),
    [
        ("feeds/memory/images_per_second", 94.0, True),
        ("feeds/memory/images_per_second", 96.0, False),
        ("feeds/memory/images_per_second", 200.0, False),
        ("feeds/memory/step_seconds", {"median": 0.106}, True),
        ("feeds/memory/step_seconds", {"median": 0.05}, False),
        ("peak_memory_bytes", 11, True),
    ],
)
def test_worse_is_worse_in_its_direction(path: str, value: object, worse: bool) -> None:
    result = bench.compare({"train.json": RESULT}, {"train.json": changed(path, value)})
    assert result["worse"] == int(worse)


def test_a_metric_that_is_gone_is_worse() -> None:
    """A result that failed its gate has no times."""
    compared = bench.compare({"train.json": RESULT}, {"train.json": changed("feeds", {})}, 0.05)
    gone = {row["figure"]: row for row in compared["rows"] if row["new"] is None}
    assert set(gone) == {name for name in METRICS if name.startswith("feeds")}
    assert compared["worse"] == len(gone) and "gone" in bench.describe(compared)


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("environment", {"device": "A100", "cores": 16}, "measured on H200 and on A100"),
        ("environment", {"device": "H200", "cores": 8}, "16 and on 8 cores"),
        ("recipe", "paper", "recipe was demo, is paper"),
        ("batch", 16, "batch was 8, is 16"),
    ],
)
def test_what_was_measured_otherwise_is_refused(path: str, value: object, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        bench.compare({"train.json": RESULT}, {"train.json": changed(path, value)})


def test_a_folder_compares_what_it_can(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, rate in ((old, 100.0), (new, 90.0)):
        folder.mkdir()
        (folder / "train.json").write_text(json.dumps(changed("feeds/memory/images_per_second", rate)))
        (folder / "doctor.json").write_text("no result")
    (old / "model-cpu.json").write_text(json.dumps(RESULT))
    (new / "model-cpu.json").write_text(json.dumps(changed("environment", {"device": "A100", "cores": 16})))
    (new / "scaling.json").write_text(json.dumps(RESULT))
    done = CliRunner().invoke(bench.command, [str(old), str(new), "--json"])
    result = json.loads(done.stdout)
    assert done.exit_code == 1 and result["worse"] == 1
    assert list(result["refused"]) == ["model-cpu.json"] and result["only_new"] == ["scaling.json"]
    assert CliRunner().invoke(bench.command, [str(old), str(new), "--limit", "0.2"]).exit_code == 0


def test_a_result_under_its_bench_s_former_name_is_compared(tmp_path: Path) -> None:
    feeds = {"kind": "projection", "cluster": {"feeds": [{"ranks": 1, "images_per_second": 100.0}]}}
    head = {"schema": 1, "environment": RESULT["environment"]}
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, name in ((old, "project"), (new, "roofline")):
        folder.mkdir()
        (folder / f"{name}.json").write_text(json.dumps(head | feeds | {"bench": name}))
    done = CliRunner().invoke(bench.command, [str(old), str(new), "--json"])
    result = json.loads(done.stdout)
    assert done.exit_code == 0 and not result["only_old"] + result["only_new"]
    assert [(row["file"], row["ratio"]) for row in result["rows"]] == [("roofline.json", 1.0)]


def test_two_files_need_no_common_name(tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in paths:
        path.write_text(json.dumps(RESULT))
    done = CliRunner().invoke(bench.command, [str(path) for path in paths])
    assert done.exit_code == 0 and "0 of 4 figures worse" in done.stdout


def test_what_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("{")
    done = CliRunner().invoke(bench.command, [str(tmp_path), str(tmp_path)])
    assert isinstance(done.exception, DataError) and "train.json" in str(done.exception)


def test_the_last_commit_is_the_default(monkeypatch) -> None:
    def git(*arguments: str) -> str:
        return "bench/results/train.json\n" if arguments[0] == "ls-tree" else json.dumps(RESULT)

    monkeypatch.setattr(bench, "_git", git)
    assert bench.committed(Path("elsewhere/train.json")) == {"train.json": RESULT}
    with pytest.raises(ConfigError, match="no result of"):
        bench.committed(Path("elsewhere/loader.json"))


@pytest.mark.parametrize(("kept", "read"), [(["project"], "project"), (["project", "roofline"], "roofline")])
def test_the_commit_may_have_the_former_name(kept: list[str], read: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        if arguments[0] == "ls-tree":
            return "".join(f"bench/results/{name}.json\n" for name in kept)
        return json.dumps({"schema": 1, "file": arguments[1]})

    monkeypatch.setattr(bench, "_git", git)
    found = bench.committed(Path("elsewhere/roofline.json"))
    assert found == {"roofline.json": {"schema": 1, "file": f"HEAD:bench/results/{read}.json"}}
