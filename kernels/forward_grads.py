"""Gradients of a loss that are made in its forward, so that the backward only scales them by the loss's own gradient.

An operation whose outputs are the loss and the gradients to its first inputs, in their order and for a loss of gradient
one, is registered with ``save_grads`` and ``scale_grads``.
"""

from typing import Any

import torch
from torch import Tensor


def save_grads(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """output: the loss, then the gradients; an empty tensor for one that nobody asks for."""
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])
    ctx.inputs = len(inputs)


def scale_grads(ctx: Any, grad_loss: Tensor | None, *unused: Tensor | None) -> tuple[Tensor | None, ...]:
    """A gradient for every input: of the first the saved ones that are needed, of the others none."""
    if grad_loss is None:
        return (None,) * ctx.inputs
    needed = zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
    grads = [scale_grad(grad, grad_loss) if needs else None for grad, needs in needed]
    return *grads, *(None,) * (ctx.inputs - len(grads))


def scale_grad(grad: Tensor, grad_loss: Tensor) -> Tensor:
    """A gradient made in the forward times the 0-d gradient of the loss, multiplied in float32 and rounded once.

    A plain product would round ``grad_loss`` first where ``grad`` is a half. Raises RuntimeError where a second
    derivative is asked for: what was made in the forward has none.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("a gradient made in the forward has no derivative: create_graph is not possible")
    if grad.dtype == grad_loss.dtype or grad.device.type == "cpu":  # which computes halves in float32 anyway
        return grad * grad_loss
    return torch.mul(grad, grad_loss.reshape(1), out=torch.empty_like(grad))
