"""This process's place among the ranks: process group, device, threads, seeds."""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from ecamp_fast import rendezvous
from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.machine import free_port

TIMEOUT = timedelta(minutes=10)  # of a collective


@dataclass(frozen=True)
class DistContext:
    """rank of world, the device it computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the one that writes and speaks."""
        return self.rank == 0


def init() -> DistContext:
    """Enter the process group that the variables of a launcher or of SLURM describe; alone where there are none.

    Raises EnvironmentFault where they are half set or contradict each other, or this rank has no GPU where there are.
    """
    rendezvous.adopt()
    if rendezvous.is_alone():
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    if torch.cuda.is_available():
        device = torch.device("cuda", _device_of(int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        _share_cores()
    import deepspeed

    if device.type == "cpu":
        # DeepSpeed would compile its shared-memory all-reduce here, for half a minute; gloo serves as well.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT, verbose=False)
    return DistContext(dist.get_rank(), dist.get_world_size(), device)


def shutdown() -> None:
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def agree(flag: bool, device: torch.device) -> bool:
    """Whether any rank says yes. Waits for the device."""
    vote = torch.tensor([flag], dtype=torch.int32, device=device)
    dist.all_reduce(vote, op=dist.ReduceOp.MAX)
    return bool(vote.item())


def gather(numbers: list[int], device: torch.device) -> list[list[int]]:
    """The numbers of every rank, in their order; as many on each. Waits for the device."""
    own = torch.tensor(numbers, dtype=torch.int64, device=device)
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    return [part.tolist() for part in parts]


def _device_of(local: int, seen: int) -> int:
    """The number of this rank's GPU.  local: its number on this machine   seen: GPUs that this process sees"""
    if local >= seen:
        what = f"local rank {local} has no GPU: it sees {seen}, and ranks take one each by their numbers"
        hint = "start fewer ranks, or let each see all of the machine: SLURM's --gpus-per-node, not --gpus-per-task"
        raise EnvironmentFault(what, hint)
    return local


def _share_cores() -> None:
    """Ranks on one machine share its cores; the count is fixed, since it decides the order of sums."""
    if "OMP_NUM_THREADS" not in os.environ:
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or os.environ["WORLD_SIZE"])
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // ranks))
