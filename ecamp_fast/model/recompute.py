"""Less memory for more work: blocks that keep their input alone and compute the rest again in the backward."""

from functools import partial

from torch.utils.checkpoint import checkpoint

from ecamp_fast.model.compiled import blocks
from ecamp_fast.model.ecamp import Ecamp


def recompute_blocks(model: Ecamp) -> None:
    """Checkpoint every transformer block (Chen et al. 2016), dropout alike the second time. Before compilation.

    A third more work in the blocks; of a block only its input waits for the backward.
    """
    for block in blocks(model, fixed_text=True):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
