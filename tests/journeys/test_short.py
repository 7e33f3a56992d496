"""A short version of each journey; and that each can fail: a planted fault is noticed."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from journeys import cluster, export_timm, first_day, mimic, notebook, own_csv, report, run, stop_resume, tracker, wheel
from journeys.harness import Broken, Typed, Walk, check_complete, leftovers, walking
from journeys.prefab import Prefab
from PIL import Image


@pytest.fixture(scope="module")
def things() -> Iterator[Prefab]:
    with walking(short=True) as store:
        yield Prefab(store)


@pytest.fixture
def walk(things: Prefab) -> Iterator[Walk]:
    with walking(short=True) as one:
        one.prefab = things
        yield one


def test_own_csv(walk: Walk) -> None:
    own_csv.journey(walk)


def test_mimic(walk: Walk) -> None:
    mimic.journey(walk)


def test_cluster(walk: Walk) -> None:
    cluster.journey(walk)


@pytest.mark.slow
def test_report(walk: Walk) -> None:
    report.journey(walk)


@pytest.mark.slow
def test_export_timm(walk: Walk) -> None:
    export_timm.journey(walk)


@pytest.mark.slow
def test_stop_resume_and_tracker(walk: Walk) -> None:
    tracker.journey(walk)


def test_wheel(walk: Walk) -> None:
    wheel.journey(walk)


@pytest.mark.complete  # half a minute of two cores; below: it is a notebook, its cells compile, its names are there
def test_notebook(walk: Walk) -> None:
    notebook.journey(walk)


def test_all_journeys_are_there() -> None:
    folder = Path(run.__file__).parent
    assert len(run.TEN) == 10
    assert [name for name in (*run.TEN, *run.LAST) if not (folder / f"{name}.py").exists()] == []
    text = (folder.parents[1] / "Makefile").read_text()
    assert "journeys.run $(ARGS)" in text


def test_the_program_tells_what_broke_and_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    def breaks(walk: Walk) -> None:
        raise Broken("a planted fault")

    monkeypatch.setattr(mimic, "journey", breaks)
    monkeypatch.setattr(own_csv, "journey", lambda walk: None)
    assert run.main(["mimic", "own_csv", "--scratch", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert (
        "BROKEN: a planted fault" in told
        and "own_csv" in told.splitlines()[-1]
        and told.splitlines()[-1].endswith("ok")
    )
    assert run.main(["own_csv", "--scratch", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []


# Planted faults


def typed(code: int = 0, out: str = "", err: str = "") -> Typed:
    return Typed("a command", code, out, err)


SAVED = "saved at step 7; the same command goes on"
NOTED = "task 0 on node 0 of 2\ntask 1 on node 1 of 2\nscancel --signal=TERM 1\nscontrol requeue 1"
LOST_EVENT = '{"event": "tracker lost"}\n'
PLANTED: dict[str, tuple[Callable[..., object], tuple[Any, ...], tuple[Any, ...]]] = {
    # name: a check, arguments that are right, arguments with a fault
    "exit code": (Typed.judge, (typed(3), 3), (typed(3), 0)),
    "words": (Typed.judge, (typed(out="whole"), 0, ["whole"]), (typed(out="half"), 0, ["whole"])),
    "traceback": (Typed.judge, (typed(err="fine"),), (typed(err="Traceback (most recent call last)"),)),
    "status": (check_complete, ({"status": "complete", "step": 9},), ({"status": "stopped", "step": 9},)),
    "no step": (check_complete, ({"status": "complete", "step": 9},), ({"status": "complete", "step": 0},)),
    "samples": (own_csv.check_built, (typed(out="SHARDS: 8 samples"), 8), (typed(out="SHARDS: 7 samples"), 8)),
    "verified": (own_csv.check_verified, (typed(out="8 samples"), 8), (typed(out="6 samples"), 8)),
    "counts": (
        mimic.check_counts,
        (typed(out='{"samples": 5, "dropped_empty": 1}'), 6, 5),
        (typed(out='{"samples": 5, "dropped_empty": 0}'), 6, 5),
    ),
    "another study's text": (
        mimic.check_texts,
        ({"a": "Clear.", "b": "Edema."}, {"a": "Clear.", "b": "Edema."}),
        ({"a": "Edema.", "b": "Clear."}, {"a": "Clear.", "b": "Edema."}),
    ),
    "an image is missing": (mimic.check_texts, ({"a": "Clear."}, {"a": "Clear."}), ({}, {"a": "Clear."})),
    "stop's code": (stop_resume.check_saved, (typed(75, SAVED), 7, 0), (typed(1, SAVED), 7, 0)),
    "stop's last line": (stop_resume.check_saved, (typed(75, SAVED), 7, 0), (typed(75, SAVED + "\nerror: 75"), 7, 0)),
    "stop's step": (stop_resume.check_saved, (typed(75, SAVED), 7, 0), (typed(75, SAVED), 6, 0)),
    "no progress": (stop_resume.check_saved, (typed(75, SAVED), 7, 6), (typed(75, SAVED), 7, 7)),
    "not put back": (
        cluster.check_stopped,
        (typed(75, "goes back to the queue"), NOTED),
        (typed(75, "goes back to the queue"), NOTED.replace("scontrol requeue 1", "")),
    ),
    "put back unasked": (
        cluster.check_stopped,
        (typed(75, "goes back to the queue"), NOTED),
        (typed(75, "goes back to the queue"), NOTED.replace("scancel --signal=TERM 1\n", "")),
    ),
    "one node": (
        cluster.check_stopped,
        (typed(75, "goes back to the queue"), NOTED),
        (typed(75, "goes back to the queue"), NOTED.replace("task 1 on node 1 of 2\n", "")),
    ),
    "tracker's loss": (tracker.check_lost, (tracker.LOST, LOST_EVENT), (tracker.LOST, "")),
    "told for ever": (tracker.check_lost, (tracker.LOST, LOST_EVENT), (tracker.LOST * 2, LOST_EVENT)),
    "tracker": (tracker.check_undisturbed, ("a", "a", "dies"), ("a", "b", "dies")),
    "cells": (
        notebook.check_cells,
        (typed(out="\n".join(f"# cell {n}" for n in range(1, 11)) + "\nmean AUROC 0.7 (0.6 to 0.8)"),),
        (typed(out="\n".join(f"# cell {n}" for n in range(1, 10)) + "\nmean AUROC 0.7 (0.6 to 0.8)"),),
    ),
    "minutes": (first_day.check_sum, ([300.0, 299.0],), ([300.0, 301.0],)),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_noticed(name: str) -> None:
    judge, right, wrong = PLANTED[name]
    judge(*right)
    with pytest.raises(Broken):
        judge(*wrong)


PAGE = "<html><head><title>t</title></head><body><h1>t</h1><p>loss mim sr mlm</p><svg>{}</svg></body></html>"
CURVES = '<polyline points="0,0 1,1"/>' * 4 + " " * 5000


@pytest.mark.parametrize(
    "wrong",
    [
        PAGE.replace("</p>", "").format(CURVES),  # never closed
        PAGE.format(""),  # nothing is drawn
        PAGE.replace("mlm", "").format(CURVES),
        PAGE.replace("<p>", '<script src="https://elsewhere.example/x.js"></script><p>').format(CURVES),
    ],
)
def test_a_page_that_is_not_whole_is_noticed(wrong: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(PAGE.format(CURVES))
    report.check_page(page)
    page.write_text(wrong + " " * 5000)
    with pytest.raises(Broken):
        report.check_page(page)


@pytest.mark.parametrize("wrong", ["of patient p10000032", '<img src="data:image/jpeg;base64,AA"/>'])
def test_a_page_that_names_a_patient_is_noticed(wrong: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text("loss")
    report.check_private(page, ["p10000032"])
    page.write_text(f"loss {wrong}")
    with pytest.raises(Broken):
        report.check_private(page, ["p10000032"])


def test_other_weights_features_and_pictures_are_noticed(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    features = torch.randn(2, 8)
    for name, tensor in (("ours", features), ("theirs", features), ("others", features + 1e-3)):
        save_file({"features": tensor.clone()}, tmp_path / name)
    export_timm.check_equal(tmp_path / "ours", tmp_path / "theirs")
    with pytest.raises(Broken):
        export_timm.check_equal(tmp_path / "ours", tmp_path / "others")
    for name in ("one", "same", "other"):
        (tmp_path / name).mkdir() if not (tmp_path / name).is_dir() else None
        (tmp_path / name / "weights.safetensors").write_bytes(b"b" if name == "other" else b"a")
    stop_resume.check_same(tmp_path / "one", tmp_path / "same")
    with pytest.raises(Broken):
        stop_resume.check_same(tmp_path / "one", tmp_path / "other")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    Image.fromarray(noise).save(tmp_path / "samples.png")
    own_csv.check_picture(tmp_path / "samples.png")
    Image.fromarray(noise // 8).save(tmp_path / "samples.png")
    with pytest.raises(Broken):
        own_csv.check_picture(tmp_path / "samples.png")


def test_what_is_left_behind_is_noticed(tmp_path: Path) -> None:
    assert leftovers([], {".cache"}, set()) == []
    assert len(leftovers(["python"], {".cache", ".wandb"}, {"SHARDS"})) == 3
    with pytest.raises(Broken, match="left a process: sleep"), walking(parent=tmp_path) as walk:
        walk.start("sleep 1000 & exec sleep 1001")
        walk.grace = 0.2
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Broken, match=r"left ~/\.netrc"), walking(parent=tmp_path) as walk:
        (walk.home / ".netrc").touch()
    walk = Walk(parent=tmp_path)
    shutil.rmtree(walk.folder)


def test_a_journey_types_in_a_folder_and_a_home_of_its_own(tmp_path: Path) -> None:
    with walking(parent=tmp_path) as walk:
        done = walk.type("echo $HOME; pwd; ls -A $HOME; env | grep -c SECRET", code=1)
        assert done.out.splitlines() == [str(walk.home), str(walk.here), "0"]
        with pytest.raises(Broken, match="has not ended"):
            walk.type("sleep 5", timeout=0.2)


# The notebook


def test_the_notebook_is_valid_has_ten_cells_and_no_outputs() -> None:
    found = json.loads(notebook.NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook.notebook_faults(found) == []
    assert len(notebook.code_cells(found)) == 10
    compile(notebook.as_program(notebook.code_cells(found), notebook.SHORTER), "cells", "exec")
    import ecamp_fast

    wanted = notebook.wanted(found)
    assert len(wanted) > 5 and [name for name in wanted if not hasattr(ecamp_fast, name)] == []
    text = "".join(notebook.code_cells(found))
    assert all(long in text for long in notebook.SHORTER)


def _without(found: dict[str, Any]) -> None:
    del found["cells"][1]


def _output(found: dict[str, Any]) -> None:
    found["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["7"]}]


def _path(found: dict[str, Any]) -> None:
    found["cells"][0]["source"] = ["/home/somebody/shards"]


def _twin(found: dict[str, Any]) -> None:
    found["cells"][1]["id"] = found["cells"][0]["id"]


def _old(found: dict[str, Any]) -> None:
    found["nbformat_minor"] = 2


@pytest.mark.parametrize("plant", [_without, _output, _path, _twin, _old])
def test_what_is_wrong_with_a_notebook_is_noticed(plant: Callable[[dict[str, Any]], None]) -> None:
    found = json.loads(notebook.NOTEBOOK.read_text(encoding="utf-8"))
    plant(found)
    assert len(notebook.notebook_faults(found)) == 1


def test_cells_run_as_a_kernel_runs_them(tmp_path: Path) -> None:
    cells = ["import sys\nx = 2", "!echo typed", "x + 40", "x;"]
    with walking(parent=tmp_path) as walk:
        (walk.here / "cells.py").write_text(
            notebook.as_program(cells, {}).replace(notebook.HEAD, "plt = None\n").replace("'plt' in globals()", "plt")
        )
        out = walk.type("python cells.py").out
    assert out.splitlines() == ["# cell 1", "# cell 2", "typed", "# cell 3", "42", "# cell 4"]
