"""What ``--json`` prints: each command has a committed schema, and whatever is printed in any test is held against it.

The second half is an autouse fixture of tests/conftest.py; here it is shown to notice, and fed with each command's
failure and with the results of those that are quick.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import jsonschema
import pytest
from click.testing import CliRunner

from ecamp_fast import cli
from ecamp_fast.commands import doctor, report, shard, stop, tokenizer, train
from ecamp_fast.commands.downstream import imports
from ecamp_fast.config import dump_recipe, load_recipe
from ecamp_fast.doctor import checks
from ecamp_fast.run import launch
from ecamp_fast.run.rundir import RunDir

SCHEMAS = Path(cli.__file__).parent / "commands" / "schemas"


def commands(group: click.Command = cli.command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Names of all commands with --json, as the command line has them."""
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            child = group.get_command(context, name)
            assert child is not None
            yield from commands(child, (*path, name))
    elif any("--json" in parameter.opts for parameter in group.params):
        yield path


COMMANDS = sorted(commands())


def read(name: str) -> dict:
    return json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))


def test_every_command_has_a_schema_and_every_schema_a_command() -> None:
    assert {path.stem for path in SCHEMAS.iterdir()} == {"-".join(path) for path in COMMANDS} | {"error"}


@pytest.mark.parametrize("name", [*("-".join(path) for path in COMMANDS), "error"])
def test_a_schema_is_one_and_says_its_version(name: str) -> None:
    schema = read(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] and schema["description"]
    for one in schema.get("oneOf", [schema]):
        assert "const" in one["properties"]["schema"] and "schema" in one["required"]
        assert not jsonschema.Draft202012Validator(one).is_valid({"schema": one["properties"]["schema"]["const"]})


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_fails_as_the_schema_says(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([*path, "--no-such-option", "--json"])
    told = json.loads(capsys.readouterr().out)
    jsonschema.validate(told, read("error"))
    assert left.value.code == told["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    "wrong",
    [{"schema": 1}, {"schema": 2, "out": "a", "texts": 1, "vocab_size": 9, "sha256": "0" * 64},
     {"schema": 1, "out": "a", "texts": -1, "vocab_size": 9, "sha256": "0" * 64},
     {"schema": 1, "out": "a", "texts": 1, "vocab_size": 9, "sha256": "0" * 64, "more": 1}],
)  # fmt: skip
def test_a_result_that_is_not_as_its_schema_says_is_noticed(
    wrong: dict, faults_of_json: Callable[[object], list[str]]
) -> None:
    with click.Context(tokenizer.train):
        assert faults_of_json(json.dumps(wrong))
        right = {"schema": 1, "out": "a", "texts": 1, "vocab_size": 9, "sha256": "0" * 64}
        assert faults_of_json(json.dumps(right)) == [] == faults_of_json("no JSON")


# Results of the commands that are quick; the fixture compares what they print. Others: tests of demo, worth, benches


def invoke(command: click.Command, *arguments: object) -> dict:
    done = CliRunner().invoke(command, [*map(str, arguments), "--json"], catch_exceptions=False)
    return json.loads(done.stdout)


def test_shards(tmp_path: Path) -> None:
    out, quick = tmp_path / "set", ("--workers", 1, "--vocab-size", 200, "--size", 64)
    assert invoke(shard.command, "build", "--from", "phantom", 4, out, "--dry-run", *quick)["forecast"]
    assert invoke(shard.command, "build", "--from", "phantom", 4, out, *quick)["out"] == str(out)
    assert invoke(shard.command, "verify", out)["ok"]
    assert invoke(shard.command, "stats", out)["samples"] == 4
    assert len(invoke(shard.command, "show", out, tmp_path / "a.png", "--count", 1)["keys"]) == 1
    min(out.glob("*.tar")).write_bytes(b"")
    assert invoke(shard.command, "verify", out)["damage"]
    assert invoke(shard.command, "repair", "--from", "phantom", 4, out)["ok"]


def test_tokenizers_and_tables(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no effusion\nsmall effusion\n")
    assert invoke(tokenizer.command, "train", tmp_path / "a.txt", tmp_path / "t.json")["texts"] == 2
    (tmp_path / "a.csv").write_text("study_id,image_path,report\n1,a.png,Small effusion.\n")
    first = invoke(shard.command, "annotate", "--from", "csv", tmp_path / "a.csv")
    (tmp_path / "old.json").write_text(json.dumps(first | {"mentions": 9}))
    against = ("--against", tmp_path / "old.json")
    assert invoke(shard.command, "annotate", "--from", "csv", tmp_path / "a.csv", *against)["against"]["counts"]


def test_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir(tmp_path / "run")
    run.set_state(status="complete", step=8, total_steps=8, ranks=2, data="set", manifest="0" * 64)
    assert invoke(stop.command, run.path)["step"] == 8
    (run.path / "recipe.yaml").write_text(dump_recipe(load_recipe("demo")))
    assert invoke(report.command, run.path, "--no-pictures")["bytes"] > 0
    monkeypatch.setattr(launch, "run_ranks", lambda *_: 75)
    told = invoke(train.command, "--out", run.path, "--ranks", 1)
    assert (told["exit_code"], told["state"]["status"]) == (75, "complete")


def test_the_doctor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks, "run_checks", lambda _: iter(()))
    assert invoke(doctor.command)["findings"] == []


def test_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ecamp_fast.weights import file

    told = type("Told", (), {"loaded": ["a"], "missing": [], "ignored": ["b"]})()
    monkeypatch.setattr(file, "import_weights", lambda *_: told)
    assert invoke(imports.command, tmp_path / "a.pth", tmp_path / "a.safetensors")["ignored"] == ["b"]


def test_verdicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ecamp_fast.commands import demo
    from ecamp_fast.evidence.check import Check

    found = [Check("a", "found", True), Check("b", "told", None)]
    for name in ("_build", "_can_be_killed", "_train_with_a_crash"):
        monkeypatch.setattr(demo, name, lambda *_: None)
    monkeypatch.setattr(demo, "_judge", lambda *_: (found, tmp_path / "report.html"))
    assert invoke(demo.command, "--out", tmp_path / "demo")["passed"]
