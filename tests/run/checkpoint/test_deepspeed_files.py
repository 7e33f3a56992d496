"""DeepSpeed's own files, which are for its tools."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ecamp_fast.errors import StorageError
from ecamp_fast.run.checkpoint.agreement import Alone
from ecamp_fast.run.checkpoint.deepspeed_files import save_for_deepspeed


def stand_in(barrier: threading.Barrier, rank: int, refuses: int | None = None, error: Exception | None = None) -> Any:
    """An engine that writes a file per rank, and waits for the others as DeepSpeed does."""

    def write(data: bytes, path: str) -> None:
        if rank == refuses:
            raise error
        Path(path).write_bytes(data)

    writer = SimpleNamespace(save=write)

    def save_checkpoint(folder: str, tag: str, save_latest: bool) -> None:
        assert not save_latest
        writer.save(b"state", f"{folder}/{tag}/rank-{rank}.pt")
        barrier.wait(20)

    return SimpleNamespace(checkpoint_engine=writer, save_checkpoint=save_checkpoint)


def test_the_newest_alone_is_there_and_named(tmp_path: Path, lab) -> None:
    barrier = threading.Barrier(2)

    def job(ranks):
        for step in (3, 4):
            save_for_deepspeed(stand_in(barrier, ranks.rank), tmp_path / "deepspeed", step, ranks)
        return True

    assert lab.in_threads(job) == [True, True]
    assert (tmp_path / "deepspeed" / "latest").read_text() == "step-00000004"
    assert sorted(path.name for path in (tmp_path / "deepspeed").rglob("*")) == [
        *("latest", "rank-0.pt", "rank-1.pt", "step-00000004")
    ]


@pytest.mark.fault("C2.deepspeed", "C2.no-hang")
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("unexpected pos 64 vs 0")])
def test_a_file_that_cannot_be_written_leaves_nobody_in_a_barrier(tmp_path: Path, lab, error: Exception) -> None:
    barrier = threading.Barrier(2)

    def job(ranks):
        save_for_deepspeed(stand_in(barrier, ranks.rank), tmp_path, 3, ranks)
        with pytest.raises(StorageError, match=f"DeepSpeed's files of step 4 not written: rank 1: .*{error.args[-1]}"):
            save_for_deepspeed(stand_in(barrier, ranks.rank, 1, error), tmp_path, 4, ranks)
        return (tmp_path / "latest").read_text()

    assert lab.in_threads(job) == ["step-00000003"] * 2


@pytest.mark.fault("C2.deepspeed", "C2.no-hang")
def test_nor_does_a_folder_that_cannot_be_made(tmp_path: Path, lab) -> None:
    (tmp_path / "step-00000004").touch()
    barrier = threading.Barrier(2)

    def job(ranks):
        with pytest.raises(StorageError, match="File exists"):
            save_for_deepspeed(stand_in(barrier, ranks.rank), tmp_path, 4, ranks)
        return True

    assert lab.in_threads(job) == [True, True]


def test_a_mistake_in_the_program_is_not_hidden(tmp_path: Path) -> None:
    engine = stand_in(threading.Barrier(1), 0, 0, KeyError("module"))
    with pytest.raises(KeyError):
        save_for_deepspeed(engine, tmp_path, 4, Alone())


def test_its_tools_read_them(make_engine, tmp_path: Path) -> None:
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    engine = make_engine(2, "fp32")
    save_for_deepspeed(engine, tmp_path / "deepspeed", 7, Alone())
    state = get_fp32_state_dict_from_zero_checkpoint(str(tmp_path / "deepspeed"))
    parameters = dict(engine.module.named_parameters())
    assert all(state[name].equal(value.detach().cpu()) for name, value in parameters.items())
