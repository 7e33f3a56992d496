import pytest
import torch
from torch import Tensor

from ecamp_fast.kernels.unshuffle import unshuffle, unshuffle_ref


def as_mae_does(visible: Tensor, mask_token: Tensor, positions: Tensor, order: Tensor) -> Tensor:
    """Append mask tokens, gather by the inverse permutation, put the class token back, add the table."""
    batch, kept = visible.shape[0], visible.shape[1] - 1
    patches = torch.cat([visible[:, 1:], mask_token.expand(batch, order.shape[1] - kept, -1)], 1)
    restored = patches.gather(1, order.argsort(1)[..., None].expand(-1, -1, visible.shape[2]))
    return torch.cat([visible[:, :1], restored], 1) + positions


@pytest.fixture
def case() -> tuple[list[Tensor], Tensor]:
    batch, patches, kept, width = 3, 9, 2, 5
    order = torch.stack([torch.randperm(patches) for _ in range(batch)])
    leaves = [torch.randn(batch, 1 + kept, width), torch.randn(1, 1, width), torch.randn(1, 1 + patches, width)]
    return leaves, order


def test_output_and_gradients_equal_maes(case, gradients) -> None:
    leaves, order = case
    keep = order[:, : leaves[0].shape[1] - 1]
    ours = gradients(lambda *x: unshuffle(*x, keep), leaves, torch.float64)
    theirs = gradients(lambda *x: as_mae_does(*x, order), leaves, torch.float64)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_bfloat16_no_worse_than_the_definition(case, gradients, assert_no_worse) -> None:
    leaves, order = case
    keep = order[:, :2]
    leaves = [leaf.bfloat16().float() for leaf in leaves]
    ours, plain, truth = (
        gradients(lambda *x, f=f: f(*x, keep), leaves, dtype)
        for f, dtype in ((unshuffle, torch.bfloat16), (unshuffle_ref, torch.bfloat16), (unshuffle_ref, torch.float64))
    )
    for name, *values in zip(("full", "visible", "mask_token", "positions"), ours, plain, truth, strict=True):
        assert_no_worse(name, *values)


def test_table_may_be_wider_than_the_tokens(case) -> None:
    leaves, order = case
    out = unshuffle(leaves[0].bfloat16(), leaves[1].bfloat16(), leaves[2], order[:, :2])
    assert out.dtype == torch.bfloat16


def test_refuses_a_class_token_that_is_missing(case) -> None:
    leaves, order = case
    with pytest.raises(ValueError, match="3 visible tokens for 3 patches"):
        unshuffle(*leaves, order[:, :3])
