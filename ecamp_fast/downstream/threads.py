"""One thread for small matrices: on a machine that does anything else beside, more make them 5 to 20 times slower."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

SMALL = 256  # width of an encoder up to which one CPU thread is best


def threads_for(width: int, device: torch.device) -> AbstractContextManager[None]:
    """One thread for an encoder that is ``width`` wide, on a CPU, if it is small; else as many as there are."""
    return one_thread() if device.type == "cpu" and width <= SMALL else nullcontext()


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes on one CPU thread inside; measured on 2 cores with the demo's encoder and probe."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
