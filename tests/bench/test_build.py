"""The build bench runs on a few originals and its figures agree with each other."""

import json

import pytest
from click.testing import CliRunner

from ecamp_fast.bench.build import command
from ecamp_fast.bench.data.originals import HEIGHT, WIDTH, original
from ecamp_fast.shards.images.encode import decode


@pytest.mark.slow
def test_rates_of_a_few_originals():
    done = CliRunner().invoke(command, ["--images", "12", "--rounds", "2", "--workers", "2", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["images"] == 12 and result["workers"] == 2 and result["short_side"] == 1024
    assert result["share_of_floor"] == pytest.approx(
        result["images_per_second"] / result["floor_images_per_second"], rel=0.01
    )
    assert [len(times) for times in result["seconds"].values()] == [2, 2]


def test_originals_differ_and_have_the_size_of_a_hospitals():
    first, second = original(0, 0), original(0, 1)
    assert first == original(0, 0) != second and len(first) > 10**6
    assert decode(first).size == (WIDTH, HEIGHT)
