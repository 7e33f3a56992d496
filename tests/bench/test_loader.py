"""The loader bench runs on a small set and prints rates that agree with each other."""

import json

from click.testing import CliRunner

from ecamp_fast.bench.loader import command
from ecamp_fast.shards.build import Options, build_phantoms


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
    done = CliRunner().invoke(command, [*arguments, "--device", "cpu"])
    assert "images/s" in done.stdout and "per image" in done.stdout
