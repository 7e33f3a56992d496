"""Ranks that meet in a store: all succeed or all fail, and nobody waits for ever."""

import threading
import time

import pytest
import torch.distributed as dist

from ecamp_fast.run.checkpoint.agreement import AgreementError, Alone, RankFault, StoreRanks, together


def test_each_gets_what_all_gave(lab) -> None:
    def job(ranks):
        return [ranks.gather("a", ranks.rank), ranks.gather("b", {"x": [ranks.rank]})]

    assert lab.in_threads(job, 3) == [[[0, 1, 2], [{"x": [0]}, {"x": [1]}, {"x": [2]}]]] * 3


def test_the_same_key_again_is_another_meeting(lab) -> None:
    """A slow rank must not find answers of before, nor lose those of now."""

    def job(ranks):
        heard = []
        for turn in range(30):
            if turn % 3 == ranks.rank:
                time.sleep(0.002)
            heard.append(ranks.gather("again", [turn, ranks.rank]))
        return heard

    assert lab.in_threads(job) == [[[[turn, 0], [turn, 1]] for turn in range(30)]] * 2


def test_the_store_does_not_grow(lab) -> None:
    store = dist.HashStore()

    def run(rank: int) -> None:
        ranks = StoreRanks(store, rank, 2)
        for turn in range(50):
            ranks.gather(str(turn), "x" * 100)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.num_keys() <= 2 * 3


@pytest.mark.parametrize("world", [1, 3])
def test_a_fault_on_one_rank_is_every_rank_s(lab, world: int) -> None:
    def job(ranks):
        def action():
            if ranks.rank == world - 1:
                raise OSError(28, "No space left on device")
            return ranks.rank

        with pytest.raises(RankFault) as caught:
            together(ranks, "a", action)
        return str(caught.value), caught.value.storage, together(ranks, "b", lambda: ranks.rank)

    told = f"rank {world - 1}: OSError: [Errno 28] No space left on device"
    assert lab.in_threads(job, world) == [(told, True, list(range(world)))] * world


def test_what_will_not_pass_is_told_before_what_may(lab) -> None:
    def job(ranks):
        def action():
            raise (OSError("full") if ranks.rank == 0 else KeyError("dtype"))

        with pytest.raises(RankFault) as caught:
            together(ranks, "a", action)
        return str(caught.value), caught.value.storage

    assert lab.in_threads(job) == [("rank 1: KeyError: 'dtype'", False)] * 2


@pytest.mark.fault("C1.no-hang")
def test_a_rank_that_is_gone_is_named(lab) -> None:
    began = time.monotonic()

    def job(ranks):
        if ranks.rank == 1:
            return None
        ranks.gather("a", 1)

    errors = lab.in_threads(job, 3, patience=0.3)
    assert [str(error) for error in errors] == ["no answer from rank 1 in 0 s", "None", "no answer from rank 1 in 0 s"]
    assert isinstance(errors[0], AgreementError) and time.monotonic() - began < 10


@pytest.mark.fault("C1.no-hang")
def test_a_store_that_is_gone_is_told() -> None:
    """It dies with the rank that has it."""

    class Gone(dist.HashStore):
        def set(self, *_: object) -> None:
            raise dist.DistNetworkError("Connection reset by peer")

    with pytest.raises(AgreementError, match="Connection reset"):
        StoreRanks(Gone(), 0, 2).gather("a", 1)


def test_one_rank_meets_itself() -> None:
    assert Alone().gather("a", 3) == [3] and (Alone.rank, Alone.world) == (0, 1)
