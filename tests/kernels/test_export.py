"""The operations inside exported programs: torch.export sees operators with shapes, not Python."""

import pytest
import torch
from torch import Tensor, nn

from ecamp_fast.kernels.low_resolution import low_resolution
from ecamp_fast.kernels.masked_mse import masked_mse
from ecamp_fast.kernels.patch_gather import patch_gather
from ecamp_fast.kernels.sr_loss import Convolutions, sr_loss
from ecamp_fast.kernels.unshuffle import unshuffle
from ecamp_fast.kernels.weighted_cross_entropy import weighted_cross_entropy

MEAN, STD, PATCH = 0.4721, 0.3037, 4
OPERATIONS = ["low_resolution", "patch_gather", "unshuffle", "masked_mse", "sr_loss", "weighted_cross_entropy"]


class Small(nn.Module):
    """Every operation once, one feeding the next where it can."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.predict = nn.Linear(PATCH * PATCH, 8), nn.Linear(8, 3 * PATCH * PATCH)
        self.first, self.second = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
        self.mask_token, self.positions = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.vocabulary, self.bias = nn.Parameter(torch.randn(11, 8)), nn.Parameter(torch.randn(11))

    def forward(self, image: Tensor, keep: Tensor, masked: Tensor, labels: Tensor) -> Tensor:
        low = low_resolution(image, MEAN, STD, antialias=True, backend="triton")
        tokens = self.embed(patch_gather(low, keep, PATCH, backend="triton"))
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
        tokens = unshuffle(tokens, self.mask_token, self.positions, keep, backend="triton")
        prediction = self.predict(tokens[:, 1:])
        picture = prediction.reshape(2, 2, 2, PATCH, PATCH, 3).permute(0, 5, 1, 3, 2, 4).reshape(2, 3, 8, 8)
        head = Convolutions(self.first.weight, self.first.bias, self.second.weight, self.second.bias)
        loss = masked_mse(prediction, low, masked, PATCH, backend="triton")
        loss = loss + sr_loss(picture, head, image, None, MEAN, STD, backend="triton")
        weights = torch.ones_like(labels, dtype=torch.float32)
        hidden = tokens[:, 0]
        return loss + weighted_cross_entropy(hidden, self.vocabulary, self.bias, labels, weights, backend="triton")


@pytest.mark.slow
def test_an_exported_program_holds_the_operations_and_gives_the_same(device: str) -> None:
    small = Small().to(device)
    image = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8, device=device)
    keep, masked = torch.tensor([[0, 3], [2, 1]], device=device), torch.tensor([[1, 2], [3, 0]], device=device)
    inputs = (image, keep, masked, torch.tensor([4, 10], device=device))
    program = torch.export.export(small, inputs)
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {f"ecamp_fast.{name}.default" for name in OPERATIONS} <= called
    torch.testing.assert_close(program.module()(*inputs), small(*inputs))
