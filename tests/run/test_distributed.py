"""How many threads a rank computes with, and on which device."""

import pytest
import torch

from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.run.distributed import _device_of, _share_cores


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


def test_a_rank_without_a_gpu_of_its_own_is_refused() -> None:
    assert _device_of(1, 2) == 1
    with pytest.raises(EnvironmentFault, match="local rank 1 has no GPU") as error:
        _device_of(1, 1)
    assert "--gpus-per-node" in error.value.hint
