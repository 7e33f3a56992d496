"""Completion for bash, zsh and fish: what is offered, how fast, and what it costs."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click import shell_completion as shells
from click.testing import CliRunner

from ecamp_fast import cli
from ecamp_fast.usage import complete
from ecamp_fast.usage.shells import CLASSES, PROGRAM, VARIABLE, Bash, script

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 0.15  # of a completion


def offered(monkeypatch: pytest.MonkeyPatch, line: str, shell: str = "bash") -> list[str]:
    """What a shell completes at the end of a line, as the values that it is given."""
    return [item.split(",", 1)[1] for item in answers(monkeypatch, line) if item.split(",", 1)[0] in ("plain", "open")]


def answers(monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    words = bash_words(line)
    monkeypatch.setenv("COMP_WORDS", "\n".join(words))
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    return Bash(cli.command, {}, PROGRAM, VARIABLE).complete().splitlines()


def bash_words(line: str) -> list[str]:
    """The words that bash makes of a line whose cursor is at its end: ``=`` is one of its own."""
    words: list[str] = []
    for word in line.split(" "):
        parts = [part for part in word.replace("=", " = ").split(" ") if part]
        words += parts or [""]
    return words


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs and shard sets where people have them, and folders that are neither."""
    for run in ("runs/mine", "runs/two words", "other", "deep/down/here/far"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "run_state.json").touch()
    (tmp_path / "runs" / "$(touch evil)").mkdir()
    (tmp_path / "runs" / "$(touch evil)" / "run_state.json").touch()
    for shards in ("set", "data/mimic", "runs/mine/phantoms"):
        (tmp_path / shards).mkdir(parents=True)
        (tmp_path / shards / "MANIFEST.json").touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(monkeypatch, "ecamp-fast tr") == ["train", "track"]
    assert set(offered(monkeypatch, "ecamp-fast ")) >= set(cli.COMMANDS)
    assert set(offered(monkeypatch, "ecamp-fast shard ")) >= {"build", "merge", "verify", "show"}
    assert offered(monkeypatch, "ecamp-fast train --ds") == ["--ds_config"]
    assert offered(monkeypatch, "ecamp-fast finetune segment a b c --head ") == [
        "setr",
        "linear",
        "convolutional",
        "dpt",
    ]
    assert offered(monkeypatch, "ecamp-fast completion z") == ["zsh"]


def test_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    every = offered(monkeypatch, "ecamp-fast train --recipe ")
    assert set(every) == {path.stem for path in (ROOT / "ecamp_fast" / "recipes").glob("*.yaml")} and "paper" in every
    assert offered(monkeypatch, "ecamp-fast bench loader --recipe off") == ["official"]
    assert offered(monkeypatch, "ecamp-fast attend train a b --recipe ") == ["gloria", "phantom"]
    assert offered(monkeypatch, "ecamp-fast doctor --ds_config ") == ["zero2", "zero1", "zero0"]
    assert offered(monkeypatch, "ecamp-fast train --resume ") == ["auto", "must", "never"]
    assert "file," in answers(monkeypatch, "ecamp-fast train --recipe ")  # and files


def test_a_group_with_a_default_and_names_of_recipes(monkeypatch: pytest.MonkeyPatch, folders: Path) -> None:
    assert offered(monkeypatch, "ecamp-fast recipes ") == ["overview", "show"]
    assert offered(monkeypatch, "ecamp-fast recipes s") == ["show"]
    assert offered(monkeypatch, "ecamp-fast recipes --") == ["--help"]
    papers = ["paper", "paper_8layer", "paper_literal"]
    assert offered(monkeypatch, "ecamp-fast recipes show pa") == papers
    assert set(offered(monkeypatch, "ecamp-fast recipes show ")) > {*papers, "gloria", "phantom"}
    assert offered(monkeypatch, "ecamp-fast recipes overview --j") == ["--json"]
    assert offered(monkeypatch, "ecamp-fast finetune classify oth") == ["other"]


def leaves(group: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(group, click.Group):
        yield words, group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield from leaves(found, (*words, name))


def test_every_argument_offers_something() -> None:
    """Where a shell asks this program, it names no files by itself."""
    silent = [
        (" ".join(words), one.name)
        for words, command in leaves(cli.command)
        for one in command.params
        if isinstance(one, click.Argument) and not isinstance(one.type, click.IntRange)
        if not one.shell_complete(click.Context(command, info_name=words[-1]), "")
    ]
    assert silent == []


def test_keys_and_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert offered(monkeypatch, "ecamp-fast train --set optim.l") == ["optim.lr="]
    assert answers(monkeypatch, "ecamp-fast train --set optim.l") == ["open,optim.lr="]  # no blank behind it
    assert offered(monkeypatch, "ecamp-fast train --set precision=") == ["bf16", "fp32"]
    assert offered(monkeypatch, "ecamp-fast train --set precision=f") == ["fp32"]
    assert offered(monkeypatch, "ecamp-fast train --set=precision=f") == ["fp32"]
    assert offered(monkeypatch, "ecamp-fast train --set=preci") == ["precision="]
    assert offered(monkeypatch, "ecamp-fast train --set precision=fp32 --set losses.mim=") == ["true", "false"]
    assert offered(monkeypatch, "ecamp-fast probe a b c --set optimizer=") == ["sgd", "adamw"]
    assert offered(monkeypatch, "ecamp-fast train --allow-change optim.l") == ["optim.lr"]
    monkeypatch.setenv("COMP_WORDS", "ecamp-fast\ntrain\n--set\nprecision=f")  # of a bash that does not part it
    monkeypatch.setenv("COMP_CWORD", "3")
    assert Bash(cli.command, {}, PROGRAM, VARIABLE).complete() == "plain,precision=fp32"


def test_runs_and_shard_sets(monkeypatch: pytest.MonkeyPatch, folders: Path) -> None:
    assert set(offered(monkeypatch, "ecamp-fast report ")) == {"runs/mine", "other"}
    assert offered(monkeypatch, "ecamp-fast stop runs/m") == ["runs/mine"]
    assert offered(monkeypatch, "ecamp-fast compare-runs runs/mine o") == ["other"]
    assert offered(monkeypatch, "ecamp-fast report deep/down/here/") == ["deep/down/here/far"]
    assert offered(monkeypatch, "ecamp-fast train --out ru") == ["runs/mine"]
    found = set(offered(monkeypatch, "ecamp-fast train --data "))
    assert found == {"set", "data/mimic", "runs/mine/phantoms"}
    assert offered(monkeypatch, "ecamp-fast shard verify s") == ["set"]
    assert answers(monkeypatch, "ecamp-fast shard verify s")[0] == "dir,"  # and folders


def test_a_large_folder_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number in range(complete.LOOKED_AT + 50):
        (tmp_path / f"{number:04d}").mkdir()
    monkeypatch.chdir(tmp_path)
    looked = []
    real = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: looked.append(path) or real(path))
    assert offered(monkeypatch, "ecamp-fast report ") == []
    assert len(looked) < 3 * complete.LOOKED_AT


@pytest.mark.parametrize("shell", CLASSES)
def test_the_script_is_static(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("no program is needed"))
    told = CliRunner().invoke(cli.command, ["completion", shell])
    assert told.exit_code == 0 and told.output == script(shell)
    assert VARIABLE in told.output and PROGRAM in told.output
    as_json = json.loads(CliRunner().invoke(cli.command, ["completion", shell, "--json"]).output)
    assert as_json == {"schema": 1, "shell": shell, "script": script(shell)}


@pytest.mark.parametrize(("shell", "variables"), [("zsh", {"COMP_CWORD": "2"}), ("fish", {"COMP_CWORD": "rep"})])
def test_zsh_and_fish_by_their_variables(shell: str, variables: dict[str, str]) -> None:
    words = "ecamp-fast rep" if shell == "fish" else "ecamp-fast train --rec"
    done = completed({VARIABLE: f"{shell}_complete", "COMP_WORDS": words, **variables})
    assert ("--recipe" if shell == "zsh" else "report") in done, done


def completed(variables: dict[str, str]) -> str:
    program = "import sys; sys.argv[0] = 'ecamp-fast'; from ecamp_fast.cli import main; main([])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=30)
    assert not done.stderr, done.stderr
    return done.stdout


def test_it_is_quick_and_imports_nothing_heavy() -> None:
    asked = {VARIABLE: "bash_complete", "COMP_WORDS": "ecamp-fast\ntrain\n--set\nprecision\n=\n", "COMP_CWORD": "4"}
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(sorted({'torch', 'numpy', 'pydantic', 'yaml', 'PIL'} & set(sys.modules))))\n"
        "from ecamp_fast.cli import main; main([])"
    )
    environment, seconds, out = {**os.environ, "PYTHONPATH": str(ROOT), **asked}, [], ""
    for _ in range(5):
        before, began = os.times(), time.perf_counter()
        run = [sys.executable, "-c", program]
        out = subprocess.run(run, env=environment, check=True, capture_output=True, text=True).stdout
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        seconds.append(min(spent, time.perf_counter() - began))
        if seconds[-1] < SECONDS:
            break
    assert out.splitlines() == ["plain,bf16", "plain,fp32", "[]"]
    assert min(seconds) < SECONDS, seconds


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_itself_completes(tmp_path: Path) -> None:
    """The script is read by a bash; a function of bash's own is asked as the tab key asks it."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ecamp-fast"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom ecamp_fast.cli import main\nmain()\n"
    )
    program.chmod(0o755)
    lines = (
        "source <(ecamp-fast completion bash)\n"
        "complete -p ecamp-fast\n"
        'compopt() { echo compopt "$@"; }\n'  # it works within a completion alone
        "COMP_WORDS=(ecamp-fast train --set precision = f); COMP_CWORD=5\n"
        '_ecamp_fast_completion ecamp-fast; echo "${COMPREPLY[@]}"; COMPREPLY=()\n'
        "COMP_WORDS=(ecamp-fast train --set optim.l); COMP_CWORD=3\n"
        '_ecamp_fast_completion ecamp-fast; echo "${COMPREPLY[@]}"\n'
    )
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "--norc", "-c", lines], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == "", done.stderr
    said, *rest = done.stdout.splitlines()
    assert said == "complete -o nosort -F _ecamp_fast_completion ecamp-fast"
    assert rest == ["fp32", "compopt -o nospace", "optim.lr="]


def test_clicks_own_bash_gives_way_where_a_shell_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shells._available_shells, "bash", shells.BashComplete)
    monkeypatch.setenv(VARIABLE, "bash_source")
    with pytest.raises(SystemExit) as left:
        cli.main([])
    assert left.value.code == 0 and shells.get_completion_class("bash") is Bash
    assert isinstance(cli.command, click.Group)
