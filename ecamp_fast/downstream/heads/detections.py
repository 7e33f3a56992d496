"""What a detector finds in an image, and the surest of what overlaps.

Legend: B images, G tokens a side, D width, S pixels a side, n boxes of an image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

LIMIT = 100  # detections of an image that count, as in COCO
_CANDIDATES = 1000  # of an image that suppression looks at, as in torchvision


@dataclass(frozen=True)
class Detections:
    """Boxes of one image, the surest first.

    boxes   (n, 4) float32   x1, y1, x2, y2 in pixels of the image
    scores  (n,) float32     0 to 1
    labels  (n,) int64       class
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def cpu(self) -> "Detections":
        """On the host."""
        return Detections(self.boxes.cpu(), self.scores.cpu(), self.labels.cpu())


def keep_best(
    boxes: Tensor, scores: Tensor, labels: Tensor, size: int, overlap: float, pixel: float = 0.0
) -> Detections:
    """The surest of boxes that overlap, class by class (greedy non-maximum suppression), at most ``LIMIT``.

    boxes    (n, 4), scores (n,), labels (n,), in any order
    size     S; boxes are clipped to the image; 0: they are not
    overlap  intersection over union above which the less sure of two boxes goes
    pixel    added to widths and heights where overlap is measured; MGCA: 1
    """
    scores, order = scores.float().sort(descending=True, stable=True)
    scores, order = scores[:_CANDIDATES], order[:_CANDIDATES]
    boxes, labels = boxes[order].float(), labels[order]
    if size:
        boxes = clip_boxes_to_image(boxes, (size, size))
    grown = boxes + boxes.new_tensor([0, 0, pixel, pixel])
    kept = batched_nms(grown, scores, labels, overlap)[:LIMIT]
    return Detections(boxes[kept], scores[kept], labels[kept])


def no_detections(device: torch.device | str = "cpu") -> Detections:
    """Of an image in which nothing was found."""
    empty = torch.zeros(0, device=device)
    return Detections(empty.reshape(0, 4), empty, empty.long())
