"""The command line: instant help, every command there, foreseen faults told without a traceback."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from ecamp_fast import __version__, cli
from ecamp_fast.errors import ConfigError, DataError, StorageError
from ecamp_fast.usage.groups import LazyGroup

ROOT = Path(__file__).resolve().parents[1]
START = "from ecamp_fast.cli import main; main()"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(list(arguments))
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def commands(group: click.Command = cli.command, path: tuple[str, ...] = ()) -> list[tuple[str, click.Command]]:
    """Every command that does something, with its full name."""
    if not isinstance(group, click.Group):
        return [(" ".join(path), group)]
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        child = group.get_command(context, name)
        assert child is not None
        found += commands(child, (*path, name))
    return found


def test_help_is_instant() -> None:
    """Of CPU time, best of 5: the same as elapsed time on an idle machine, and steady on a busy one."""
    seconds = []
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, "-c", START, "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 0.2, seconds


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from ecamp_fast import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'rich', 'yaml', 'deepspeed', 'PIL'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    verdict = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert verdict.returncode == 0, verdict.stderr
    assert all(name in verdict.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_is_there_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert f"ecamp-fast {name}" in out


def test_every_command_speaks_json() -> None:
    for name, command in commands():
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in options, name


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"ecamp-fast, version {__version__}\n", "")


def test_a_mistyped_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "shrad", "build")
    assert (code, out) == (2, "")
    assert "Did you mean 'shard'?" in err


def test_a_command_like_no_other_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "qqqq")
    assert code == 2
    assert all(name in err for name in cli.COMMANDS)


def test_a_mistyped_option(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "stop", "--jsonn", "x")
    assert (code, out) == (2, "")
    assert "--jsonn" in err


def test_usage_errors_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "stop", "--json")
    assert (code, err) == (2, "")
    assert json.loads(out)["error"]["kind"] == "UsageError"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command ``fail`` that raises what the test puts into this list, or hands back the number in it."""
    raised: list[BaseException] = []

    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    @click.pass_context
    def fail(context: click.Context, as_json: bool) -> None:
        raise raised[0]

    monkeypatch.setattr(LazyGroup, "get_command", lambda self, context, name: fail)
    monkeypatch.setitem(cli.command.table, "fail", ("nowhere", ""))  # type: ignore[attr-defined]
    return raised


@pytest.mark.parametrize("kind", [ConfigError, DataError, StorageError])
def test_a_foreseen_fault_on_stderr(kind: type, failing: list, capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(kind("row 7 of a.csv: no image", "restore the file"))
    code, out, err = run(capsys, "fail")
    assert (code, out) == (kind.exit_code, "")
    assert err == "error: row 7 of a.csv: no image\n  hint: restore the file\n"


def test_a_foreseen_fault_in_json(failing: list, capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(DataError("row 7 of a.csv: no image", "restore the file"))
    code, out, err = run(capsys, "fail", "--json")
    assert (code, err) == (3, "")
    assert json.loads(out) == {
        "schema": 2,
        "error": {
            "kind": "DataError",
            "what": "row 7 of a.csv: no image",
            "hint": "restore the file",
            "exit_code": 3,
        },
    }


def test_an_interrupt_is_130(failing: list, capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(KeyboardInterrupt())
    code, out, err = run(capsys, "fail")
    assert (code, out) == (130, "")
    assert "interrupted" in err
    assert "Traceback" not in err


def test_an_exit_code_is_handed_on(failing: list, capsys: pytest.CaptureFixture[str]) -> None:
    failing.append(click.exceptions.Exit(75))
    assert run(capsys, "fail") == (75, "", "")


def test_a_fault_of_ours_keeps_its_traceback(failing: list) -> None:
    failing.append(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["fail"])


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("number", [errno.ENOTDIR, errno.ENOSPC, errno.ENAMETOOLONG])
def test_a_disk_that_refuses_is_a_foreseen_fault(
    failing: list, capsys: pytest.CaptureFixture[str], number: int, as_json: bool
) -> None:
    failing.append(OSError(number, os.strerror(number), "/a/path"))
    code, out, err = run(capsys, "fail", *["--json"] * as_json)
    assert code == StorageError.exit_code and "Traceback" not in err
    told = json.loads(out)["error"]["what"] if as_json else err
    assert "/a/path" in told and os.strerror(number) in told


@pytest.mark.fault("E2.no-dali")
def test_a_missing_library_is_a_foreseen_fault_with_its_command(
    failing: list, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(ModuleNotFoundError("No module named 'nvidia.dali'", name="nvidia.dali"))
    code, _, err = run(capsys, "fail")
    assert code == 4 and "needs nvidia.dali" in err and 'pip install "nvidia-dali-cuda130>=2.0"' in err
    failing[0] = ImportError("libcudart.so.13: cannot open shared object file\nmore", name="deepspeed")
    code, out, _ = run(capsys, "fail", "--json")
    assert (code, json.loads(out)["error"]["kind"]) == (4, "EnvironmentFault")
    assert "libcudart.so.13" in out and "--force-reinstall" in out and "more" not in out


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "x")

    monkeypatch.setattr(cli.command, "main", broken)
    with pytest.raises(FileNotFoundError):
        cli.main(["demo"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("shard biuld", "Did you mean 'build'?"),
        ("shard describe", "stats"),
        ("tokenizer tarin", "Did you mean 'train'?"),
        ("finetune clasify", "Did you mean 'classify'?"),
        ("bench kernel", "Did you mean 'kernels'?"),
        ("distill adit", "Did you mean 'audit'?"),
        ("attend trian", "Did you mean 'train'?"),
    ],
)
def test_every_group_says_what_was_meant(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, *words.split())
    assert code == 2 and f"No such command '{words.split()[1]}'." in err and told in err


def test_help_promises_no_command_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "describe" not in run(capsys, "--help")[1] + run(capsys, "shard", "--help")[1]
