"""Three scales from the one map of a vision transformer, for a detector that was built on ResNet-50 (SPEC 7.3).

Legend: B images, G tokens a side, D width of the trunk, C channels of the middle scale.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from ecamp_fast.downstream.trunk import as_map


class Neck(nn.Module):
    """tokens (B, G * G, D) -> maps (B, 2C, G/2, G/2), (B, C, G, G), (B, C/2, 2G, 2G), the coarse one first.

    An odd G is halved upwards. The paper has D = 768, G = 14, C = 1024.

    reduction: channels of a bottleneck over its inner ones; the paper has 8, and 4 for the whole training split.
    """

    def __init__(self, width: int, grid: int, channels: int = 1024, reduction: int = 8) -> None:
        super().__init__()
        self.grid = grid
        self.channels = (2 * channels, channels, channels // 2)
        coarse, middle, fine = self.channels
        self.project = nn.Linear(width, width)
        self.to_coarse = nn.Conv2d(width, coarse, 1, stride=2, bias=False)
        self.to_middle = nn.Conv2d(width, middle, 1)
        self.to_fine = nn.Conv2d(width, fine, 1)
        self.coarse = Bottleneck(coarse, coarse // reduction)
        self.middle = Bottleneck(middle, middle // reduction)
        self.fine = Bottleneck(fine, fine // reduction)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """tokens: (B, G * G, D)   returns the three maps."""
        features = as_map(self.project(tokens), self.grid)
        fine = F.interpolate(self.to_fine(features), scale_factor=2, mode="bilinear", align_corners=True)
        return self.coarse(self.to_coarse(features)), self.middle(self.to_middle(features)), self.fine(fine)


class Bottleneck(nn.Module):
    """The residual block of ResNet v1.5 without stride: 1x1, 3x3, 1x1, and the identity."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return F.relu(features + self.residual(features))
