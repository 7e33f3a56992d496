"""Folders and files that are not there: every command that reads them says so at once, with what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecamp_fast.cli import main
from ecamp_fast.run import launch
from ecamp_fast.train import main as program

ROOT = Path(__file__).resolve().parents[2]
SMALL = str(ROOT / "tests" / "data" / "small.yaml")
OUT, BUILD = "folder given as --out", "ecamp-fast shard build"
READERS = {
    "train": (("train", "--recipe", SMALL, "--out", "run", "--data"), 3, BUILD),
    "verify": (("shard", "verify"), 3, BUILD),
    "stats": (("shard", "stats"), 3, BUILD),
    "show": (("shard", "show"), 3, BUILD),
    "compare-runs": (("compare-runs",), 3, OUT),
    "stop": (("stop",), 2, OUT),
    "replay": (("replay",), 2, OUT),
    "report": (("report",), 2, OUT),
}
BEHIND = {"show": ("x.png",), "replay": ("3",)}  # what stands behind the folder


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "start", lambda *_, **__: pytest.fail("a launcher was started"))
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--json"])
    error = json.loads(capsys.readouterr().out)["error"]
    return int(left.value.code or 0), error["what"], error["hint"]


@pytest.mark.parametrize("command", READERS)
def test_a_folder(command: str, capsys: pytest.CaptureFixture[str], empty: Path) -> None:
    words, code, hint = READERS[command]
    left, what, told = refused(capsys, *words, "no/such", *BEHIND.get(command, ()))
    assert (left, what) == (code, "no such folder: no/such") and hint in told
    assert not any(empty.iterdir())


@pytest.mark.parametrize("command", READERS)
def test_a_file_instead_of_a_folder(command: str, capsys: pytest.CaptureFixture[str], empty: Path) -> None:
    (empty / "file").touch()
    words, code, hint = READERS[command]
    left, what, told = refused(capsys, *words, "file", *BEHIND.get(command, ()))
    assert (left, what) == (code, "file is a file, no folder") and hint in told


def test_the_second_of_two_runs(capsys: pytest.CaptureFixture[str], empty: Path) -> None:
    from ecamp_fast.run.safety.flight import HEAD

    (empty / "run").mkdir()
    (empty / "run" / "flight.bin").write_bytes(HEAD)
    assert refused(capsys, "compare-runs", "run", "other")[:2] == (3, "no such folder: other")


@pytest.mark.parametrize("command", ["train", "verify", "stats", "show"])
@pytest.mark.parametrize("named", ["my set", "my set/b.csv"])
def test_a_folder_of_tables_is_told_how_to_be_built(
    command: str, named: str, capsys: pytest.CaptureFixture[str], empty: Path
) -> None:
    (empty / "my set").mkdir()
    for name in ("c.csv", "b.csv", "a.txt"):
        (empty / "my set" / name).touch()
    words, code, _ = READERS[command]
    left, what, hint = refused(capsys, *words, named, *BEHIND.get(command, ()))
    assert left == code and ("no folder" if named.endswith("csv") else "MANIFEST.json") in what
    assert "`ecamp-fast shard build --from csv 'my set/b.csv' OUT`" in hint


def test_the_doctor_says_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--recipe", SMALL, "--data", "no/such", "--json"])
    found = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    told = [finding for finding in found.values() if finding["found"] == "no such folder: no/such"]
    assert left.value.code in (3, 4) and len(told) == 1 and told[0]["exit_code"] == 3 and BUILD in told[0]["hint"]


SOURCES = {
    "weights": (("--set", "init_from=no.safetensors"), "init_from: no such file: no.safetensors"),
    "a checkpoint": (("--resume", "run/checkpoints/step-00000002"), "no such folder: run/checkpoints/step-00000002"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_what_a_run_begins_with(name: str, capsys: pytest.CaptureFixture[str], empty: Path) -> None:
    options, says = SOURCES[name]
    left, what, hint = refused(capsys, "train", "--recipe", SMALL, "--out", "run", *options)
    assert left == 3 and says in what and hint and not (empty / "run").exists()


def test_a_rank_says_it_before_the_run_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ecamp_fast.train.run_rank", lambda *_: pytest.fail("the run began"))
    with pytest.raises(SystemExit) as left:
        program(["--recipe", SMALL, "--data", "no/such", "--out", "run"])
    assert left.value.code == 3 and "no such folder: no/such" in capsys.readouterr().err


def test_an_address_is_not_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    from ecamp_fast.shards.storage import store

    asked: list[Path] = []
    monkeypatch.setattr(store, "require_set", asked.append)
    store.require_set_at("a/folder")
    assert asked == [Path("a/folder")]
    for address in ("s3://bucket/set", "gs://bucket/set", "https://host/set"):
        store.require_set_at(address)
    assert len(asked) == 1


def test_at_once() -> None:
    """Nothing heavy is loaded before."""
    program = (
        "import sys\n"
        "from ecamp_fast.cli import main\n"
        "for command in ('stop x', 'replay x 3', 'report x', 'compare-runs x', 'train --data x'):\n"
        "    try: main(command.split())\n"
        "    except SystemExit as left: print(left.code)\n"
        "print(sorted({'torch', 'deepspeed', 'nvidia.dali'} & set(sys.modules)))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["2", "2", "2", "3", "3", "[]"], done.stdout + done.stderr
