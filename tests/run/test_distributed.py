"""How many threads a rank computes with."""

import pytest
import torch

from ecamp_fast.run.distributed import _share_cores


@pytest.mark.parametrize(("cores", "ranks", "threads"), [(8, 2, 4), (2, 2, 1), (1, 4, 1), (6, 1, 6), (None, 2, 1)])
def test_ranks_on_one_machine_share_its_cores(
    cores: int | None, ranks: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    _share_cores()
    assert asked == []  # who sets the variable has chosen
    monkeypatch.delenv("OMP_NUM_THREADS")
    _share_cores()
    assert asked == [threads]
