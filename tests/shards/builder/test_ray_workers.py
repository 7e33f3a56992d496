"""A build on a Ray cluster gives the bytes of a build on one machine."""

import hashlib
import sys

import pytest

from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.builder.workers import pack_all
from ecamp_fast.shards.sources.phantom import PhantomSource


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    records = PhantomSource(2, 1, 64).list_records().records
    with pytest.raises(EnvironmentFault, match="not installed") as caught:
        list(pack_all(PhantomSource(2, 1, 64), records, 64, None, 1, "ray"))
    assert "[ray]" in caught.value.hint


@pytest.fixture
def cluster():
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_a_cluster_of_two_gives_the_same_bytes(cluster, tmp_path):
    for runner in ("processes", "ray"):
        options = Options(workers=2, shard_size=4, vocab_size=200, runner=runner)
        build_phantoms(13, tmp_path / runner, size=64, options=options)
    one, two = (
        {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / runner).iterdir()}
        for runner in ("processes", "ray")
    )
    assert one == two
