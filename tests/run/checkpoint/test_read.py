"""Reading a checkpoint, whole or by range, laid out as its writers were or not."""

import itertools
from pathlib import Path

import pytest

from ecamp_fast.errors import DataError
from ecamp_fast.run.checkpoint.read import Checkpoint, load


@pytest.mark.fault("C7.any-ranks")
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_any_range_of_what_any_number_of_ranks_wrote(folder: Path, lab, world: int) -> None:
    (path,) = lab.saved(folder, 4, world=world)
    assert len(list(path.iterdir())) == world + 1
    checkpoint, truth = Checkpoint(path), lab.whole(4)
    assert checkpoint.names == truth.keys() and checkpoint.position == lab.at(4)
    for name in ("weight/a", "weight/b"):
        flat = truth[name].reshape(-1)
        assert checkpoint.shape(name) == tuple(truth[name].shape)
        for start, stop in itertools.combinations_with_replacement(range(len(flat) + 1), 2):
            read = checkpoint.read_range(name, start, stop)
            assert read.equal(flat[start:stop]) or start == stop == len(read)
    tensors, position = load(path)
    assert position.step == 4 and all(tensors[name].equal(truth[name]) for name in truth)


def test_what_is_not_there_is_said(two: Path) -> None:
    checkpoint = Checkpoint(two / "step-00000001")
    with pytest.raises(DataError, match="holds no weight/c"):
        checkpoint.read("weight/c")
    with pytest.raises(DataError, match="incomplete"):
        checkpoint.read_range("weight/a", 20, 31)


@pytest.mark.fault("C10.not-visible")
def test_a_rank_that_does_not_see_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no readable MANIFEST"):
        Checkpoint(tmp_path / "step-00000001")
