"""The YOLOv3 head that MGCA put on three scales, and ECAMP took over (SPEC 7.3; Redmon and Farhadi 2018).

Boxes are assigned, and the loss is taken, for all images at once and in float32; the released code loops over boxes
and computes in float64.

Legend: B images, G tokens a side, H cells a side of a scale, A = 3 anchors of a scale, C classes, P assigned boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou

from ecamp_fast.downstream.heads.detections import Detections, keep_best
from ecamp_fast.downstream.heads.neck import Neck

# Width and height in pixels of an image of 416, the coarse scale first (YOLOv3).
ANCHORS = (((116, 90), (156, 198), (373, 326)), ((30, 61), (62, 45), (59, 119)), ((10, 13), (16, 30), (33, 23)))
_ANCHOR_IMAGE = 416
_IGNORED = 0.5  # an anchor that overlaps a box by more is not taught to be background
_SUPPRESSED = 0.5
COORDINATES, BACKGROUND = 2.5, 0.5  # weights in the loss


@dataclass(frozen=True)
class Assigned:
    """Which cell and anchor of a scale answers for which box; one box each, the last where several fall together.

    image, anchor, row, column  (P,) int64
    offset      (P, 2) float32   of the box's centre in its cell, x and y, 0 to 1
    log_size    (P, 2) float32   ln of width and height over the anchor's
    label       (P,) int64
    background  (B, A, H, W) bool   what is taught to hold nothing
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    offset: Tensor
    log_size: Tensor
    label: Tensor
    background: Tensor


def assign(
    boxes: Sequence[Tensor], labels: Sequence[Tensor], anchors: Tensor, cells: int, stride: float, mgca: bool = False
) -> Assigned:
    """Each box goes to the cell of its centre, and there to the anchor of the most similar shape.

    boxes    B of (n, 4), x1, y1, x2, y2 in pixels   labels: B of (n,) int64
    anchors  (A, 2), width and height in pixels
    cells    a side   stride: pixels of a cell
    mgca     as the released code: shapes are compared with 1 added to sides in cells, which makes small boxes alike,
             and an assigned anchor that overlaps its box by 0.5 or less is taught to be background as well
    """
    device, batch = anchors.device, len(boxes)
    image = torch.repeat_interleave(torch.arange(batch), torch.tensor([len(one) for one in boxes])).to(device)
    box, label = torch.cat(list(boxes)).float() / stride, torch.cat(list(labels))
    centre, side, anchor_side = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2], anchors / stride
    column, row = centre.long().clamp(0, cells - 1).unbind(1)
    overlap = box_iou(_at_origin(side + mgca), _at_origin(anchor_side + mgca))
    anchor = overlap.argmax(1)

    background = torch.ones(batch, len(anchors), cells, cells, dtype=torch.bool, device=device)
    similar, which = (overlap > _IGNORED).nonzero(as_tuple=True)
    background[image[similar], which, row[similar], column[similar]] = False
    if not mgca:
        background[image, anchor, row, column] = False

    last = torch.zeros(background.numel(), dtype=torch.int64, device=device)
    slot = ((image * len(anchors) + anchor) * cells + row) * cells + column
    number = torch.arange(len(slot), device=device)
    kept = last.scatter_reduce(0, slot, number, "amax")[slot] == number
    offset = centre - torch.stack([column, row], 1)
    log_size = (side / anchor_side[anchor]).log()
    image, anchor, row, column, label = (values[kept] for values in (image, anchor, row, column, label))
    return Assigned(image, anchor, row, column, offset[kept], log_size[kept], label, background)


def _at_origin(sides: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(sides), sides], 1)


def scale_loss(raw: Tensor, target: Assigned) -> Tensor:
    """The loss of one scale. Every term is a mean over all cells and anchors, as MGCA has it.

    raw: (B, A, H, W, 5 + C), the head's output   returns () float32
    """
    raw, cells = raw.float(), target.background.numel()
    answers = raw[target.image, target.anchor, target.row, target.column]
    classes = F.one_hot(target.label, raw.shape[-1] - 5).float()
    centre = F.binary_cross_entropy_with_logits(answers[:, :2], target.offset, reduction="sum")
    side = F.mse_loss(answers[:, 2:4], target.log_size, reduction="sum")
    kind = F.binary_cross_entropy_with_logits(answers[:, 5:], classes, reduction="sum") / classes.shape[1]
    held = F.softplus(-answers[:, 4]).sum()
    empty = F.softplus(raw[..., 4][target.background]).sum()
    return (COORDINATES * (centre + side) + held + BACKGROUND * empty + kind) / cells


class YoloDetector(nn.Module):
    """Neck, YOLOv3 head, loss and decoding.

    width      D   grid: G   size: S, pixels a side of the image   classes: C
    channels   of the neck's middle scale; the head's widths go with it
    reduction  of the neck's bottlenecks
    min_score  objectness below which nothing is reported; the paper has 0.5
    mgca       the released conventions: see ``assign``; suppression adds 1 to sides in pixels; boxes are not clipped
    """

    def __init__(
        self,
        width: int,
        grid: int,
        size: int,
        classes: int,
        *,
        channels: int = 1024,
        reduction: int = 8,
        min_score: float = 0.5,
        mgca: bool = False,
    ) -> None:
        super().__init__()
        self.size, self.min_score, self.mgca = size, min_score, mgca
        self.neck = Neck(width, grid, channels, reduction)
        self.scales = nn.ModuleList()
        self.lifts = nn.ModuleList()  # from a scale to the next finer one
        lifted = 0
        for channels_in in self.neck.channels:
            narrow, broad = channels_in // 4, channels_in // 2
            self.scales.append(_Scale(channels_in + lifted, narrow, broad, len(ANCHORS[0]) * (5 + classes)))
            lifted = narrow // 2
            self.lifts.append(_block(narrow, lifted, 1))
        del self.lifts[-1]
        anchors = torch.tensor(ANCHORS, dtype=torch.float32) * size / _ANCHOR_IMAGE
        self.anchors: Tensor
        self.register_buffer("anchors", anchors, persistent=False)  # (3, A, 2) in pixels

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """tokens: (B, G * G, D)   returns (B, A * (5 + C), H, W) of each scale, H = G/2, G, 2G."""
        found: list[Tensor] = []
        lifted: Tensor | None = None
        for number, features in enumerate(self.neck(tokens)):
            if lifted is not None:
                features = torch.cat([F.interpolate(lifted, features.shape[-2:], mode="nearest"), features], 1)
            raw, branch = self.scales[number](features)
            lifted = self.lifts[number](branch) if number < len(self.lifts) else None
            found.append(raw)
        return found

    def loss(self, tokens: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> Tensor:
        """The sum over scales.

        tokens: (B, G * G, D)   boxes: B of (n, 4), x1, y1, x2, y2 in pixels   labels: B of (n,) int64
        returns () float32
        """
        total = tokens.new_zeros((), dtype=torch.float32)
        for raw, anchors in zip(self._by_anchor(tokens), self.anchors, strict=True):
            cells = raw.shape[2]
            total = total + scale_loss(raw, assign(boxes, labels, anchors, cells, self.size / cells, self.mgca))
        return total

    @torch.no_grad()
    def detect(self, tokens: Tensor) -> list[Detections]:
        """Boxes whose objectness, their score, is at least ``min_score``, the surest of those that overlap by 0.5."""
        found = [self._decode(raw, anchors) for raw, anchors in zip(self._by_anchor(tokens), self.anchors, strict=True)]
        boxes, scores, labels = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        sure = scores >= self.min_score
        size, pixel = (0, 1.0) if self.mgca else (self.size, 0.0)
        return [
            keep_best(boxes[b, sure[b]], scores[b, sure[b]], labels[b, sure[b]], size, _SUPPRESSED, pixel)
            for b in range(len(tokens))
        ]

    def _by_anchor(self, tokens: Tensor) -> list[Tensor]:
        """(B, A, H, W, 5 + C) float32 of each scale: x, y, width, height, objectness, classes."""
        anchors = self.anchors.shape[1]
        return [raw.float().unflatten(1, (anchors, -1)).permute(0, 1, 3, 4, 2) for raw in self(tokens)]

    def _decode(self, raw: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (B, n, 4), scores (B, n), labels (B, n) of one scale, n = A * H * W."""
        cells = raw.shape[2]
        step = torch.arange(cells, device=raw.device)
        corner = torch.stack(torch.meshgrid(step, step, indexing="xy"), -1)  # (H, W, 2): x, y
        centre = (raw[..., :2].sigmoid() + corner) * (self.size / cells)
        half = raw[..., 2:4].exp() * anchors[:, None, None] / 2
        boxes = torch.cat([centre - half, centre + half], -1)
        return boxes.flatten(1, 3), raw[..., 4].sigmoid().flatten(1), raw[..., 5:].argmax(-1).flatten(1)


class _Scale(nn.Module):
    """Six blocks, 1x1 and 3x3 by turns, and the output; the fifth goes to the next scale too."""

    def __init__(self, channels: int, narrow: int, broad: int, out: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _block(channels, narrow, 1),
            _block(narrow, broad, 3),
            _block(broad, narrow, 1),
            _block(narrow, broad, 3),
            _block(broad, narrow, 1),
        )
        self.last = _block(narrow, broad, 3)
        self.out = nn.Conv2d(broad, out, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        branch = self.trunk(features)
        return self.out(self.last(branch)), branch


def _block(channels: int, out: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm, leaky ReLU."""
    convolution = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.LeakyReLU(0.1))
