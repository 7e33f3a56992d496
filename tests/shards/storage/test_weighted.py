"""What ``--data`` says: only a number behind the last colon is a weight, and a port, a drive or a scheme is none."""

from pathlib import Path

import pytest

from ecamp_fast.errors import ConfigError, DataError, PolicyError
from ecamp_fast.shards.storage.weighted import Weighted, as_recorded, parse_data, parse_weighted, require_sets_at


@pytest.mark.parametrize(
    ("named", "place", "weight"),
    [
        ("sets/a", "sets/a", 1.0),
        ("sets/a:0.3", "sets/a", 0.3),
        ("sets/a:2", "sets/a", 2.0),
        ("sets/a:.5", "sets/a", 0.5),
        ("sets/a:1e-2", "sets/a", 0.01),
        ("sets/a:100", "sets/a", 100.0),
        ("a:b", "a:b", 1.0),
        ("./a:2:1", "./a:2", 1.0),
        ("a:0.3b", "a:0.3b", 1.0),
        ("a:1.2.3", "a:1.2.3", 1.0),
        ("C:/sets/a", "C:/sets/a", 1.0),
        ("s3://bucket/set", "s3://bucket/set", 1.0),
        ("s3://bucket/set:0.3", "s3://bucket/set", 0.3),
        ("https://host:8443/set", "https://host:8443/set", 1.0),
        ("https://host:8443/set:0.25", "https://host:8443/set", 0.25),
        ("http://localhost:9000", "http://localhost:9000", 1.0),
        ("http://localhost:9000/:3", "http://localhost:9000/", 3.0),
        ("http://[::1]:9000/set:3", "http://[::1]:9000/set", 3.0),
    ],
)
def test_only_a_number_behind_the_last_colon_is_a_weight(named: str, place: str, weight: float) -> None:
    found = parse_weighted(named)
    assert found == Weighted(place, weight)
    assert parse_weighted(str(found)) == found  # what is recorded means the same


def test_one_name_and_several() -> None:
    assert parse_data("a:0.5") == (Weighted("a", 0.5),)
    assert parse_data(["a", "b:2"]) == (Weighted("a"), Weighted("b", 2.0))


@pytest.mark.parametrize("weight", ["0", "-1", "-0.3", "0.0", "nan", "inf", "-inf", "100.5", "1e9"])
def test_a_weight_that_is_none(weight: str) -> None:
    with pytest.raises(ConfigError, match=f"a:{weight}: a weight is above 0 and at most 100") as caught:
        parse_weighted(f"a:{weight}")
    assert f"--data a:{weight}:1" in str(caught.value.hint)


def test_each_place_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        require_sets_at([f"{tmp_path / 'none'}:0.3"])
    with pytest.raises(PolicyError):
        require_sets_at(["ftp://host/set:0.3"])
    require_sets_at(["s3://bucket/set:0.3"])  # an address is not opened


@pytest.mark.parametrize(
    ("recorded", "place"),
    [
        ("/sets/a", "/sets/a"),
        ("/sets/a:2", "/sets/a:2"),  # by a version that recorded the bare place, since this is no weight of 1
        ("/sets/a:1", "/sets/a:1"),
        ("/sets/a:2:1.0", "/sets/a:2"),
        ("/sets/a:2:3", "/sets/a:2:3"),
        ("/sets/a:0", "/sets/a:0"),
        ("s3://bucket/set:4", "s3://bucket/set:4"),
        ("https://host:8443/set", "https://host:8443/set"),
    ],
)
def test_what_was_recorded_of_one_set_is_a_place(recorded: str, place: str) -> None:
    assert parse_data(as_recorded(recorded)) == (Weighted(place),)
    assert parse_data(as_recorded([f"{place}:0.5", "/sets/b"])) == (Weighted(place, 0.5), Weighted("/sets/b"))


def test_what_was_recorded_is_the_folder_of_that_name_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "a:2:1").mkdir()
    assert parse_data(as_recorded(f"{tmp_path}/a:2:1")) == (Weighted(f"{tmp_path}/a:2:1"),)
