"""The super-resolution head: twice the side, around a bilinear residual (paper 3.3)."""

from torch import Tensor, nn

from ecamp_fast.kernels.sr_torch import Convolutions, super_resolve
from ecamp_fast.model.vision import CHANNELS


class SuperResolution(nn.Module):
    """Holds the two convolutions; the loss runs them itself (``kernels.sr_loss``)."""

    def __init__(self, final_relu: bool) -> None:
        super().__init__()
        self.final_relu = final_relu
        self.conv1 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)

    @property
    def convolutions(self) -> Convolutions:
        assert self.conv1.bias is not None and self.conv2.bias is not None
        return Convolutions(self.conv1.weight, self.conv1.bias, self.conv2.weight, self.conv2.bias)

    def forward(self, low: Tensor) -> Tensor:
        """low: (B, 3, S/2, S/2)   returns (B, 3, S, S)."""
        return super_resolve(low, self.convolutions, self.final_relu)
