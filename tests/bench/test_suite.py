"""All benches in turn: each with its command line, one that fails does not stop the others."""

import json
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from ecamp_fast.bench import suite
from ecamp_fast.bench.report.result_files import BENCHES
from ecamp_fast.commands import bench as group
from ecamp_fast.errors import EnvironmentFault


@pytest.fixture
def benches(monkeypatch: pytest.MonkeyPatch) -> None:
    """``text`` works, ``loader`` cannot run, ``model`` finds a fault; the others work."""

    def module(name: str) -> SimpleNamespace:
        @click.command()
        @click.option("--batch")
        @click.option("--json", "as_json", is_flag=True)
        @click.argument("rest", nargs=-1, type=click.UNPROCESSED)
        def command(batch: str | None, as_json: bool, rest: tuple[str, ...]) -> None:
            if name == "loader":
                raise EnvironmentFault("no decoder", "install one")
            print("a library says something")
            click.echo(json.dumps({"schema": 1, "given": batch}))
            if name == "model":
                click.get_current_context().exit(1)

        command.ignore_unknown_options = True
        return SimpleNamespace(command=command, describe=lambda result: f"text of {name}")

    monkeypatch.setattr(suite, "_module", module)
    monkeypatch.setattr(suite, "QUICK", {"cpu": {"text": ["--batch", "64"]}, "cuda": {"text": ["--batch", "64"]}})


def test_all_run_and_the_exit_code_tells(benches: None, tmp_path: Path) -> None:
    done = CliRunner().invoke(suite.command, ["--quick", "--out", str(tmp_path), "--json"])
    told = json.loads(done.stdout)
    assert done.exit_code == 1 and told["failed"] == ["loader", "model"] and list(told["results"]) == list(BENCHES)
    assert told["results"]["loader"]["error"]["what"] == "no decoder"
    assert {path.stem for path in tmp_path.iterdir()} == {*BENCHES} - {"loader"}
    kept = json.loads((tmp_path / "text.json").read_text())
    assert kept["command"] == "ecamp-fast bench text --batch 64" and kept["given"] == "64"


def test_only_some_without_small_settings(benches: None) -> None:
    done = CliRunner().invoke(suite.command, ["--only", "text"])
    assert done.exit_code == 0 and "text of text" in done.stdout and "text of train" not in done.stdout


def test_the_group_alone_is_all_quick(benches: None) -> None:
    told = json.loads(CliRunner().invoke(group.command, ["--json"]).stdout)
    assert told["results"]["text"]["given"] == "64"


def test_every_bench_is_a_command() -> None:
    assert set(BENCHES) < set(group.BENCHES)
    for device in suite.QUICK.values():
        assert set(device) == set(BENCHES)


def test_the_former_name_of_a_bench_is_taken_with_a_note() -> None:
    former, present = (CliRunner().invoke(group.command, [name, "--help"]) for name in ("project", "roofline"))
    assert former.exit_code == 0 and former.stdout == present.stdout and not present.stderr
    assert former.stderr == "note: bench project is now bench roofline; the old name goes with the next release\n"
    assert " project " not in CliRunner().invoke(group.command, ["--help"]).stdout


def test_every_bench_prints_its_result_as_text() -> None:
    assert all(hasattr(suite._module(name), "describe") for name in BENCHES if name != "text")


@pytest.mark.parametrize("name", BENCHES)
def test_the_small_settings_are_options_of_their_bench(name: str) -> None:
    for device in suite.QUICK.values():
        suite._module(name).command.make_context(name, [*device[name], "--json"])
