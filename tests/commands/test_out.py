"""Paths that cannot be written to: every command says so with exit code 5, before anything heavy is loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecamp_fast.cli import main

ROOT = Path(__file__).resolve().parents[2]
OUTS = {
    "a file": ("file", "is a file"),
    "below a file": ("file/run", "is a file"),
    "a dangling link": ("link", "is a link to nowhere, which is not there"),
    "below a dangling link": ("link/run", "is a link to nowhere"),
    "a loop of links": ("loop", "is a link to loop"),
    "a name of 256 characters": ("a" * 256, "File name too long"),
    "where nobody may write": ("/proc/run", ""),
}
FOLDERS = (("train", "--out"), ("demo", "--out"), ("worth", "--out"), ("doctor", "--out"))
FILES = (
    ("tokenizer", "train", "corpus.txt"),
    ("import", "weights.pth"),
    ("shard", "show", "set"),
    ("shard", "stats", "set", "--plot"),
)
# Each with OUT where a file lies, and the code it leaves with: 2 where OUT must not exist at all.
TAKEN = {
    "export run OUT": 5,
    "finetune classify run set OUT": 5,
    "finetune segment run set OUT": 5,
    "finetune detect run set OUT": 5,
    "probe run set OUT": 5,
    "evaluate corpus.txt --out OUT": 5,
    "evaluate --label-free run --data set --out OUT": 5,
    "ablate corpus.txt --data set --out OUT": 5,
    "attend train set OUT": 5,
    "shard put set OUT --maps maps": 2,
    "shard merge set OUT": 2,
    "distill run corpus.txt OUT --rules": 5,
    "distill export-sft corpus.txt journal OUT": 5,
    "distill audit corpus.txt journal --out OUT": 5,
    "visualize run --data set --out OUT": 2,
    "features run set OUT/x.npz": 5,
    "predict run corpus.txt OUT/x.csv": 5,
    "import corpus.txt OUT/x.safetensors": 5,
    "train --out OUT": 5,
    "demo --out OUT": 5,
    "worth --out OUT": 5,
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with things in the way."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "corpus.txt").write_text("no effusion\n")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


def leaves(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--json"])
    told = json.loads(capsys.readouterr().out)
    failed = [finding for finding in told.get("findings", ()) if finding["status"] == "FAIL"]
    fault = {"what": failed[0]["found"]} if failed else told["error"]
    return int(left.value.code or 0), fault["what"]


@pytest.mark.parametrize("command", FOLDERS, ids=" ".join)
@pytest.mark.parametrize("name", OUTS)
@pytest.mark.fault("E3.out")
def test_folders(name: str, command: tuple[str, ...], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, says = OUTS[name]
    before = sorted(place.iterdir())
    code, told = leaves(capsys, *command, out)
    assert code == 5 and says in told, told
    assert sorted(place.iterdir()) == before


@pytest.mark.parametrize("command", FILES, ids=" ".join)
@pytest.mark.parametrize("out", ["", "file/x", "nowhere/x", "/proc/x"])
@pytest.mark.fault("E3.out")
def test_files(out: str, command: tuple[str, ...], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ending = {"import": ".safetensors", "shard": ".png"}.get(command[0], ".json")
    target = place / f"a folder{ending}"
    target.mkdir()
    code, told = leaves(capsys, *command, f"{out}{ending}" if out else str(target))
    taken = not out and (command[0] == "tokenizer" or command[0] == "import" or command[1] in ("show", "stats"))
    assert code == (5 if not taken else 2), told


def test_a_set_whose_name_no_file_can_have(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = leaves(capsys, "shard", "build", "--from", "phantom", "4", "a" * 256)
    assert code == 5 and "File name too long" in told


def test_before_anything_heavy_is_loaded(place: Path) -> None:
    """What OUT is told by none of what else is missing, and no library that takes seconds is there before."""
    commands = [words.replace("OUT", "file") for words in TAKEN]
    program = (
        "import sys\n"
        "from ecamp_fast.cli import main\n"
        "heavy = {'torch', 'deepspeed', 'nvidia.dali'}\n"
        f"for words in {commands!r}:\n"
        "    try: main(words.split())\n"
        "    except SystemExit as left: print(left.code, sorted(heavy & set(sys.modules)))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    found = dict(zip(TAKEN, done.stdout.splitlines(), strict=True))
    assert found == {words: f"{code} []" for words, code in TAKEN.items()}, done.stderr


@pytest.mark.parametrize(("size", "code"), [("99999999999", 2), ("63", 2), ("many", 2)])
def test_a_vocabulary_that_nobody_has(size: str, code: int, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ("tokenizer", "train", "corpus.txt", "t.json"),
        ("shard", "build", "--from", "phantom", "2", "set"),
    ):
        left, told = leaves(capsys, *command, "--vocab-size", size)
        assert left == code and "--vocab-size" in told
