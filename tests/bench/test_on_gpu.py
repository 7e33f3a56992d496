"""The run on a GPU machine: what goes wrong in one stage costs that stage only, and results are whole at every moment.

No GPU here: PYTHON is a stand-in that answers as one, and whose benches hang, raise or print what they are told to.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
STAGES = [
    *(
        "install",
        "device",
        "kernel-gates",
        "compile",
        "train",
        "unaligned-and-zero0",
        "model",
        "attention",
        "kernel-times",
    ),
    *("gpu-tests", "repeats", "train-1024", "train-unshared", "tune-sr_loss", "tune-vocabulary_chunks"),
    *("train-max-autotune", "roofline"),
]
PYTHON = """
import json, os, pathlib, subprocess, sys, time

arguments = sys.argv[1:]
calls = pathlib.Path(os.environ["CALLS"])
with calls.open("a") as log:
    print(json.dumps(arguments), file=log)
if arguments[0] == "-c":
    print("yes" if os.environ["GPU"] == "yes" and "is_available" in arguments[1] else "")
    sys.exit("is_available" not in arguments[1])
if arguments[0] == "-":
    print(os.environ.get("LACKS", ""))
    sys.exit()
if arguments[:2] == ["-m", "pytest"]:
    print("3 passed")
    sys.exit()
if arguments[:2] == ["-m", "pip"]:
    sys.exit()
name = arguments[3]
if "--tune" in arguments:
    table = pathlib.Path("kernels/tuning.json")
    table.write_text(table.read_text() + " " + arguments[arguments.index("--tune-only") + 1])
if name == os.environ.get("HANGS"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    calls.with_name("child").write_text(str(child.pid))
    time.sleep(300)
if name == os.environ.get("RAISES"):
    print("half of a resu", end="")
    raise RuntimeError('CUDA error: "illegal" memory access \u2013 ' + 300 * "\u00e9")
if name in os.environ.get("MISSING", "").split():
    import pydantic_that_is_missing
print("a library says something")
print(json.dumps({"schema": 1, "bench": name, "given": arguments[4:]}))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the script and what it touches."""
    root = tmp_path / "checkout"
    for name in ("bench/on_gpu.sh", "kernels/tuning.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    (root / ".wheels" / "part1").mkdir(parents=True)
    (root / ".wheels" / "part1" / "a-1-py3-none-any.whl").write_bytes(bytes(2_500_000))
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{PYTHON}")
    python.chmod(0o755)
    return root


def start(checkout: Path, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    folder = checkout.parent
    given = {"GPU": "yes", "PYTHON": str(folder / "python"), "CALLS": str(folder / "calls"), "OUT": str(folder / "out")}
    given["DRIVER"] = str(folder / "none")
    return subprocess.Popen(
        ["bash", "bench/on_gpu.sh", *arguments],
        cwd=checkout,
        env=os.environ | given | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(checkout: Path, *arguments: str, **variables: str) -> tuple[int, dict[str, dict[str, Any]], set[str]]:
    """Exit code, stage -> its note, and the files in results.tar."""
    process = start(checkout, *arguments, **variables)
    _, errors = process.communicate(timeout=100)
    print(errors)
    return process.returncode, *kept(checkout)


def kept(checkout: Path) -> tuple[dict[str, dict[str, Any]], set[str]]:
    with tarfile.open(checkout.parent / "out" / "results.tar") as archive:
        files = {Path(member.name).name: archive.extractfile(member) for member in archive if member.isfile()}
        notes = [json.loads(line) for line in files["stages.jsonl"].read().splitlines()]
        for name, file in files.items():
            if name.endswith(".json"):
                assert json.loads(file.read()) if name != "tuning.json" else True, name
    assert len({note["stage"] for note in notes}) == len(notes)
    return {note["stage"]: note for note in notes}, set(files)


def calls(checkout: Path) -> list[list[str]]:
    return [json.loads(line) for line in (checkout.parent / "calls").read_text().splitlines()]


def test_every_stage_leaves_its_result(checkout: Path) -> None:
    code, notes, files = run(checkout)
    assert code == 0 and set(notes) == set(STAGES)  # `compile` runs beside `kernel-gates`
    order = [name for name in notes if name != "compile"]
    assert order == [name for name in STAGES if name != "compile"]
    assert list(notes).index("compile") < list(notes).index("train")
    assert {note["status"] for note in notes.values()} == {"ok"}
    benches = set(STAGES) - {"install", "gpu-tests"}
    assert files >= {f"{name}.json" for name in benches} | {"gpu-tests.txt", "tuning.json", "summary.txt"}
    assert len(list((checkout.parent / "out").iterdir())) <= 8
    asked = [call for call in calls(checkout) if call[:2] == ["-m", "ecamp_fast.cli"]]
    assert not any("fp32" in call or "doctor" in call for call in asked)


def test_a_stage_killed_by_its_box_leaves_the_others_and_no_process(checkout: Path) -> None:
    began = time.monotonic()
    code, notes, files = run(checkout, HANGS="attention", BOX_LIMIT="2")
    assert code == 1 and time.monotonic() - began < 60
    assert {name for name, note in notes.items() if note["status"] != "ok"} == {"attention"}
    assert notes["attention"]["status"] == "overran" and "box of 2 s" in notes["attention"]["reason"]
    assert "attention.json" not in files and {"train.json", "model.json", "roofline.json"} <= files
    child = int((checkout.parent / "child").read_text())
    with pytest.raises(ProcessLookupError):
        for _ in range(50):
            os.kill(child, 0)
            time.sleep(0.1)


def test_a_stage_that_raises_leaves_the_others(checkout: Path) -> None:
    code, notes, files = run(checkout, RAISES="model")
    assert code == 1 and {name for name, note in notes.items() if note["status"] != "ok"} == {"model"}
    assert "illegal memory access" in notes["model"]["reason"] and "exit code 1" in notes["model"]["reason"]
    assert "model.json" not in files and {"model.txt", "model.log", "attention.json"} <= files


def test_a_missing_package_leaves_what_does_without_it(checkout: Path) -> None:
    code, notes, files = run(checkout, MISSING="train scaling")
    failed = {name for name, note in notes.items() if note["status"] != "ok"}
    assert code == 1 and failed == {name for name in STAGES if name.startswith("train")} | {
        "unaligned-and-zero0",
        "compile",
    }
    assert "No module named" in notes["train"]["reason"]
    assert {"kernel-gates.json", "model.json", "repeats.json"} <= files


def test_what_a_kill_of_the_whole_run_leaves_is_whole(checkout: Path) -> None:
    process = start(checkout, HANGS="attention")
    deadline = time.monotonic() + 60
    while not (checkout.parent / "child").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    os.kill(int((checkout.parent / "child").read_text()), signal.SIGKILL)
    process.communicate()
    subprocess.run(["pkill", "-9", "-f", str(checkout.parent / "python")], check=False)
    notes, files = kept(checkout)
    assert set(notes) == set(STAGES[: STAGES.index("attention")]) and {"train.json", "model.json"} <= files


def test_the_time_of_the_run_is_kept(checkout: Path) -> None:
    """What no longer fits is left out, and said; the last stage, which needs no GPU, has its time."""
    code, notes, _ = run(checkout, HANGS="kernels", SECONDS_IN_ALL="30")
    assert code == 1 and notes["kernel-gates"]["status"] == "overran" and notes["kernel-gates"]["seconds"] < 15
    assert notes["model"]["status"] == "skipped" and notes["model"]["reason"] == "no time left"
    assert notes["roofline"]["status"] == "ok"


def test_a_driver_without_a_gpu_in_pytorch_is_no_rehearsal(checkout: Path) -> None:
    driver = checkout.parent / "nvidiactl"
    driver.touch()
    process = start(checkout, GPU="no", DRIVER=str(driver))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 4 and "sees no GPU" in errors


def test_winners_of_a_sweep_are_a_result_and_not_in_use(checkout: Path) -> None:
    shipped = (checkout / "kernels" / "tuning.json").read_text()
    run(checkout)
    assert (checkout / "kernels" / "tuning.json").read_text() == shipped
    with tarfile.open(checkout.parent / "out" / "results.tar") as archive:
        table = archive.extractfile("results/tuning.json").read().decode()
    assert table == shipped + " sr_loss vocabulary_chunks"


def test_too_many_wheels_are_not_installed(checkout: Path) -> None:
    code, notes, _ = run(checkout, WHEELS_MB="1")
    assert code == 1 and notes["install"]["status"] == "failed" and "1 may be carried" in notes["install"]["reason"]
    assert not any(call[:2] == ["-m", "pip"] for call in calls(checkout)) and notes["train"]["status"] == "ok"


def test_without_a_gpu_all_is_small_and_what_needs_one_is_skipped(checkout: Path) -> None:
    shutil.rmtree(checkout / ".wheels")
    code, notes, _ = run(checkout, GPU="no", LACKS="the interpreter is broken")
    skipped = {name: note["reason"] for name, note in notes.items() if note["status"] == "skipped"}
    assert code == 0 and list(notes) == STAGES
    assert (
        skipped.pop("install").startswith("no .wheels") and skipped.pop("kernel-gates") == "the interpreter is broken"
    )
    assert set(skipped.values()) == {"needs CUDA"}
    trained = [call for call in calls(checkout) if "train" in call]
    assert trained and all("demo" in call for call in trained)


def test_part_2_says_what_it_lacks(checkout: Path) -> None:
    code, notes, _ = run(checkout, "--part", "2")
    assert code == 0
    reasons = {name: note["reason"] for name, note in notes.items() if note["status"] == "skipped"}
    assert set(reasons) == {"join", "attention", "flash-attn", "decoding", "train-shards", "peer"}
    assert all(reasons.values())


def test_another_option_is_refused(checkout: Path) -> None:
    process = start(checkout, "--quick")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and "--quick is no option" in errors
