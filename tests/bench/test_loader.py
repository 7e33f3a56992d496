"""The loader bench runs on a small set and prints rates that agree with each other."""

import json

import pytest
from click.testing import CliRunner

from ecamp_fast.bench.data.loader_baselines import measure_baselines
from ecamp_fast.bench.loader import command
from ecamp_fast.config import load_recipe
from ecamp_fast.errors import ConfigError
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.read import ShardSet


def test_rates_of_a_small_set(tmp_path):
    build_phantoms(8, tmp_path / "set", size=64, options=Options(workers=1, vocab_size=300))
    small = ("--set", "image.high_size=64", "--set", "image.low_size=32", "--set", "batch.micro=4")
    arguments = [
        "--data",
        str(tmp_path / "set"),
        "--recipe",
        "demo",
        *small,
        "--set",
        "batch.total=8",
        "--images",
        "10",
    ]
    done = CliRunner().invoke(command, [*arguments, "--device", "cpu", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["images"] == 12 and result["batch"] == 4 and result["size"] == 64
    assert result["images_per_second"] > 0 and 0 < result["host_core_milliseconds"] < 100
    assert list(result["stages"]) == ["read", "checksum", "prepare", "decode", "resize"]
    done = CliRunner().invoke(command, [*arguments, "--device", "cpu"])
    assert "images/s" in done.stdout and "stages on one core" in done.stdout


@pytest.mark.slow
def test_other_loaders_stand_beside(tmp_path):
    build_phantoms(6, tmp_path / "set", size=96, options=Options(workers=1, vocab_size=300))
    small = load_recipe("demo", ["image.high_size=64", "image.low_size=32"])
    found = measure_baselines(ShardSet(tmp_path / "set"), small, 4)
    assert list(found) == ["ours", "libjpeg-turbo", "half size", "DataLoader", "webdataset", "release"]
    assert all(0 < times["p20"] <= times["median"] <= times["p80"] for times in found.values())
    assert found["release"]["median"] > found["libjpeg-turbo"]["median"]  # of 7.5 million pixels


@pytest.mark.parametrize(("option", "noted"), [("--baselines", False), ("--rivals", True)])
def test_the_former_option_is_taken_with_a_note(option: str, noted: bool) -> None:
    done = CliRunner().invoke(command, [option, "--data", "s3://bucket/set"])
    assert isinstance(done.exception, ConfigError) and "--baselines reads files" in str(done.exception)
    note = "note: bench loader --rivals is now bench loader --baselines; the old name goes with the next release\n"
    assert done.stderr == (note if noted else "") and not done.stdout
    assert "--rivals" not in CliRunner().invoke(command, ["--help"]).stdout
