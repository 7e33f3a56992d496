import pytest
import torch

from ecamp_fast.kernels.forward_grads import scale_grad


def test_a_gradient_is_scaled_in_float32_and_rounded_once() -> None:
    grad, grad_loss = torch.randn(64).bfloat16(), torch.tensor(1 / 21120)
    with torch.no_grad():
        assert torch.equal(scale_grad(grad, grad_loss), (grad.float() * grad_loss).bfloat16())
    with pytest.raises(RuntimeError, match="create_graph is not possible"):
        scale_grad(grad, grad_loss)
