"""One thread for small matrices: on a machine that does anything else beside, more make them 5 to 20 times slower."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes on one CPU thread inside; measured on 2 cores with the demo's encoder and probe."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
