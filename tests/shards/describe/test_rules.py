"""A set that other rules read: it is seen, and the command that is named builds it again."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ecamp_fast.cli import command
from ecamp_fast.shards.describe.rules import build_command, read_by_other_rules
from ecamp_fast.shards.format.manifest import Manifest, read_manifest, write_manifest
from ecamp_fast.text.reading.version import RULES_DIGEST


def built(out: Path, *arguments: str) -> Manifest:
    result = CliRunner().invoke(command, ["shard", "build", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return read_manifest(out)


def test_a_set_carries_the_rules_it_was_read_by(phantom_set: Path) -> None:
    manifest = read_manifest(phantom_set)
    assert manifest.rules_digest == RULES_DIGEST and not read_by_other_rules(manifest)


def test_older_sets_and_other_rules_are_seen(phantom_set: Path) -> None:
    for digest in ("", "0" * 64):
        assert read_by_other_rules(replace(read_manifest(phantom_set), rules_digest=digest))
    assert not read_by_other_rules(replace(read_manifest(phantom_set), rules_digest="", vocab_size=0))


def test_a_manifest_of_before_is_read(phantom_set: Path, tmp_path: Path) -> None:
    (tmp_path / "INDEX.bin").write_bytes((phantom_set / "INDEX.bin").read_bytes())
    write_manifest(tmp_path, replace(read_manifest(phantom_set), rules_digest=""))
    assert read_manifest(tmp_path).rules_digest == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--from", "phantom", "6", "OUT", "--size", "64"),
        ("--from", "phantom", "6", "OUT", "--seed", "7", "--holdout", "0.5", "--size", "96", "--shard-size", "2"),
        ("--from", "phantom", "6", "OUT", "--vocab-size", "300", "--short-side", "48"),
    ],
)
def test_the_command_builds_the_same_set(arguments: tuple[str, ...], tmp_path: Path) -> None:
    first = built(tmp_path / "first", *(str(tmp_path / "first") if word == "OUT" else word for word in arguments))
    name, verb, build, *words = shlex.split(build_command(first))
    assert (name, verb, build) == ("ecamp-fast", "shard", "build")
    again = built(tmp_path / "again", *(str(tmp_path / "again") if word == "NEW_SET" else word for word in words))
    assert again.digest == first.digest


@pytest.mark.parametrize(
    ("source", "command"),
    [
        ({"kind": "csv", "file": "my reports.csv"}, "--from csv 'my reports.csv' NEW_SET"),
        ({"kind": "csv", "file": "a.csv", "reports": "r.csv"}, "--from csv a.csv NEW_SET --reports r.csv"),
        (
            {"kind": "mimic-cxr", "file": "MIMIC", "use_last": True, "empty_reports": "keep"},
            "--from mimic-cxr MIMIC NEW_SET --empty-reports keep --use-last",
        ),
        (
            {"kind": "mimic-cxr", "file": "MIMIC", "use_last": False, "reports": "mimic-cxr-reports.zip"},
            "--from mimic-cxr MIMIC NEW_SET --reports mimic-cxr-reports.zip",
        ),
        (
            {
                "kind": "csv",
                "file": "a.csv",
                "views": ["AP", "AP AXIAL"],
                "distilled": "d.csv",
                "distilled_digest": "0",
            },
            "--from csv a.csv NEW_SET --views 'AP,AP AXIAL' --distilled d.csv",
        ),
        ({"kind": "folder", "file": "x", "vocab_size": None}, "--from folder x NEW_SET --tokenizer TOKENIZER"),
    ],
)
def test_sources_are_named_as_they_are_called(phantom_set: Path, source: dict, command: str) -> None:
    manifest = replace(read_manifest(phantom_set), source=source, short_side=1024)
    assert build_command(manifest) == f"ecamp-fast shard build {command}"


@pytest.mark.parametrize(("bad", "budget"), [(0, ""), (1, " --reject-budget 0.143"), (6, " --reject-budget 0.5")])
def test_rows_beyond_the_usual_budget_need_theirs(phantom_set: Path, bad: int, budget: str) -> None:
    """Of a set of six samples."""
    manifest = read_manifest(phantom_set)
    counts = manifest.counts | {"samples": 6}
    fault = {"origin": "x", "fault": "y", "kind": "z"}
    manifest = replace(manifest, source={"kind": "folder", "file": "x"}, short_side=1024, counts=counts)
    command = build_command(replace(manifest, quarantined=(fault,) * bad))
    assert command == f"ecamp-fast shard build --from folder x NEW_SET{budget}"
