"""torchvision's FCOS on a simple pyramid over the tokens of a plain transformer (Tian et al. 2019, Li et al. 2022).

Without anchors there is nothing to fit to a data set's boxes, so it serves few images and small trunks. Head, loss and
matching are torchvision's; the points that boxes are measured from are the middles of cells here, where torchvision has
their corners.

Legend: B images, G tokens a side, D width of the trunk, W width of the pyramid, P points of all scales.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS

from ecamp_fast.downstream.heads.detections import Detections, keep_best
from ecamp_fast.downstream.trunk import as_map

_GROUPS = 32  # of torchvision's group norms


class Pyramid(nn.Module):
    """tokens (B, G * G, D) -> maps (B, W, 2G, 2G), (B, W, G, G), (B, W, G/2, G/2), the fine one first.

    Each channel of the tokens is standardised first: they come before the trunk's final norm, and most of their spread
    lies in a few channels, which a norm over channels would leave so.
    """

    def __init__(self, width: int, grid: int, channels: int) -> None:
        super().__init__()
        self.grid, self.out_channels = grid, channels
        self.norm = nn.BatchNorm2d(width)
        self.fine = nn.Sequential(nn.ConvTranspose2d(width, channels, 2, stride=2), nn.GroupNorm(1, channels))
        self.middle = nn.Sequential(nn.Conv2d(width, channels, 1), nn.GroupNorm(1, channels))
        self.coarse = nn.Sequential(
            nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(width, channels, 1), nn.GroupNorm(1, channels)
        )

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """tokens: (B, G * G, D)   returns the three maps."""
        features = self.norm(as_map(tokens, self.grid))
        return [scale(features) for scale in (self.fine, self.middle, self.coarse)]


class FcosDetector(nn.Module):
    """Pyramid, head, loss and decoding.

    width      D   grid: G   size: S, pixels a side of the image   classes
    channels   W, a multiple of 32
    min_score  below which nothing is reported; low, since precision is averaged over all recalls
    overlap    above which the less sure of two boxes goes
    """

    def __init__(
        self,
        width: int,
        grid: int,
        size: int,
        classes: int,
        *,
        channels: int = 96,
        min_score: float = 0.02,
        overlap: float = 0.5,
    ) -> None:
        super().__init__()
        if channels % _GROUPS:
            raise ValueError(f"channels must be a multiple of {_GROUPS}, not {channels}")
        self.size, self.min_score, self.overlap = size, min_score, overlap
        self.fcos = FCOS(Pyramid(width, grid, channels), classes)
        # torchvision clips distances at 0: where a step takes all of them below, none has a gradient and the fit stays
        # at no box found. Softplus is positive already, so the clip changes nothing.
        sides = self.fcos.head.regression_head
        sides.bbox_reg = nn.Sequential(sides.bbox_reg, nn.Softplus())
        self.levels = [(2 * grid) ** 2, grid**2, ((grid + 1) // 2) ** 2]  # points of each
        points = torch.cat([_cells(count, size) for count in (2 * grid, grid, (grid + 1) // 2)])
        self.points: Tensor
        self.register_buffer("points", points, persistent=False)  # (P, 4): cells as boxes in pixels

    def loss(self, tokens: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """Focal loss of classes, generalised IoU of boxes, cross-entropy of centredness; in float32, summed.

        tokens: (B, G * G, D)   boxes: B of (n, 4), x1, y1, x2, y2 in pixels   labels: B of (n,) int64
        returns () float32; an image without boxes is all background
        """
        targets = [{"boxes": box, "labels": label} for box, label in zip(boxes, labels, strict=True)]
        losses = self.fcos.compute_loss(targets, self._outputs(tokens), [self.points] * len(tokens), self.levels)
        return torch.stack(list(losses.values())).sum()

    @torch.no_grad()
    def detect(self, tokens: Tensor) -> list[Detections]:
        """Every class at every point is a candidate; its score is the geometric mean of class and centredness."""
        outputs = self._outputs(tokens)
        scores = (outputs["cls_logits"].sigmoid() * outputs["bbox_ctrness"].sigmoid()).sqrt()  # (B, P, C)
        found = []
        for score, offset in zip(scores, outputs["bbox_regression"], strict=True):
            point, label = (score >= self.min_score).nonzero(as_tuple=True)
            box = self.fcos.head.box_coder.decode(offset[point], self.points[point])
            found.append(keep_best(box, score[point, label], label, self.size, self.overlap))
        return found

    def _outputs(self, tokens: Tensor) -> dict[str, Tensor]:
        """(B, P, C) logits of classes, (B, P, 4) distances over the cell's size, (B, P, 1) centredness; float32."""
        outputs = self.fcos.head(self.fcos.backbone(tokens))
        return {name: values.float() for name, values in outputs.items()}


def _cells(count: int, size: int) -> Tensor:
    """(count * count, 4) float32: the cells of a grid over the image, row by row."""
    edge = torch.arange(count) * (size / count)
    y, x = torch.meshgrid(edge, edge, indexing="ij")
    corner = torch.stack([x, y], -1).reshape(-1, 2)
    return torch.cat([corner, corner + size / count], 1)
