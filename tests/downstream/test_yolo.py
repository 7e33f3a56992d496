"""The YOLOv3 head: sizes of SPEC 7.3, assignment and loss against loops over boxes in float64, decoding by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ecamp_fast.downstream.heads.detections import Detections, keep_best, no_detections
from ecamp_fast.downstream.heads.neck import Bottleneck, Neck
from ecamp_fast.downstream.heads.yolo import ANCHORS, YoloDetector, assign, scale_loss

SIZE = 224
ALL_ANCHORS = torch.tensor(ANCHORS) * SIZE / 416


def counted(module: torch.nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


@pytest.mark.parametrize(("reduction", "millions"), [(8, 27.1), (4, 30.8)])
def test_the_papers_head_has_as_many_weights_as_released(reduction: int, millions: float) -> None:
    with torch.device("meta"):
        assert round(counted(YoloDetector(768, 14, 224, 1, reduction=reduction)) / 1e6, 1) == millions


@pytest.mark.parametrize("reduction", [8, 4])
def test_the_neck_has_the_parts_of_the_paper_and_no_others(reduction: int) -> None:
    def block(channels: int) -> int:
        inner = channels // reduction
        return 2 * channels * inner + 9 * inner**2 + 2 * (2 * inner + channels)  # three convolutions, three norms

    with torch.device("meta"):
        found = counted(Neck(768, 14, reduction=reduction))
    linear = 768 * 768 + 768
    convolutions = 768 * 2048 + 768 * 1024 + 1024 + 768 * 512 + 512  # the coarse one has no bias
    assert found == linear + convolutions + block(2048) + block(1024) + block(512)


def test_shapes_and_anchors_of_the_paper() -> None:
    with torch.device("meta"):
        outputs = YoloDetector(768, 14, 224, 1)(torch.empty(2, 196, 768))
    assert [tuple(one.shape) for one in outputs] == [(2, 18, 7, 7), (2, 18, 14, 14), (2, 18, 28, 28)]
    found = YoloDetector(16, 4, 224, 1, channels=16, reduction=2).anchors[0]  # SPEC 11.9
    assert torch.allclose(found, torch.tensor([[62.46, 48.46], [84.0, 106.6], [200.8, 175.5]]), atol=0.06)


@pytest.mark.parametrize(("grid", "cells"), [(8, [4, 8, 16]), (5, [3, 5, 10])])
def test_other_grids_widths_and_classes(grid: int, cells: list[int]) -> None:
    detector = YoloDetector(24, grid, 64, 3, channels=32, reduction=4)
    outputs = detector(torch.randn(2, grid * grid, 24))
    assert [tuple(one.shape) for one in outputs] == [(2, 24, side, side) for side in cells]


def test_a_bottleneck_adds_to_what_it_gets() -> None:
    block = Bottleneck(8, 2).eval()
    torch.nn.init.zeros_(block.residual[-2].weight)  # type: ignore[arg-type]
    features = torch.randn(2, 8, 3, 3)
    assert torch.equal(block(features), features.relu())


def random_boxes(seed: int, images: int = 5) -> tuple[list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    boxes, labels = [], []
    for count in (3, 0, 1, 6, 2)[:images]:
        corner = torch.rand(count, 2, generator=generator) * 180
        side = 3 + torch.rand(count, 2, generator=generator) ** 2 * 140
        boxes.append(torch.cat([corner, (corner + side).clamp(max=float(SIZE))], 1))
        labels.append(torch.randint(0, 2, (count,), generator=generator))
    return boxes, labels


def reference_loss(
    raw: Tensor, boxes: list[Tensor], labels: list[Tensor], anchors: Tensor, stride: float, mgca: bool
) -> Tensor:
    """SPEC 7.3 word by word: planes of targets, filled box by box, and means over all cells."""
    raw = raw.double()
    batch, kinds, cells = raw.shape[0], raw.shape[-1] - 5, raw.shape[2]
    held, background = torch.zeros(batch, 3, cells, cells), torch.ones(batch, 3, cells, cells)
    target = torch.zeros(batch, 3, cells, cells, 4 + kinds, dtype=torch.float64)
    for image in range(batch):
        for box, label in zip(boxes[image].tolist(), labels[image].tolist(), strict=True):
            x, y = (box[0] + box[2]) / 2 / stride, (box[1] + box[3]) / 2 / stride
            width, height = (box[2] - box[0]) / stride, (box[3] - box[1]) / stride
            column, row = min(int(x), cells - 1), min(int(y), cells - 1)
            overlaps = []
            for anchor_width, anchor_height in (anchors / stride).tolist():
                more = float(mgca)
                inner = (min(width, anchor_width) + more) * (min(height, anchor_height) + more)
                outer = (width + more) * (height + more) + (anchor_width + more) * (anchor_height + more) - inner
                overlaps.append(inner / outer)
            best = overlaps.index(max(overlaps))
            for anchor, overlap in enumerate(overlaps):
                if overlap > 0.5 or (anchor == best and not mgca):
                    background[image, anchor, row, column] = 0
            held[image, best, row, column] = 1
            anchor_width, anchor_height = (anchors / stride).tolist()[best]
            found = [x - column, y - row, math.log(width / anchor_width), math.log(height / anchor_height)]
            target[image, best, row, column] = torch.tensor(found + [float(label == kind) for kind in range(kinds)])
    mask, empty = held.double(), background.double()
    objectness = raw[..., 4].sigmoid()
    centre = sum(F.binary_cross_entropy(raw[..., i].sigmoid() * mask, target[..., i] * mask) for i in (0, 1))
    side = sum(F.mse_loss(raw[..., i] * mask, target[..., i] * mask) for i in (2, 3))
    surely = F.binary_cross_entropy(objectness * mask, mask)
    surely = surely + 0.5 * F.binary_cross_entropy(objectness * empty, torch.zeros_like(empty))
    many = mask[..., None]
    kind = F.binary_cross_entropy(raw[..., 5:].sigmoid() * many, target[..., 4:] * many)
    return 2.5 * centre + 2.5 * side + surely + kind


@pytest.mark.parametrize("mgca", [False, True])
@pytest.mark.parametrize("scale", [0, 1, 2])
def test_the_loss_and_its_gradient_are_those_of_loops_in_float64(scale: int, mgca: bool) -> None:
    cells, anchors = (7, 14, 28)[scale], ALL_ANCHORS[scale]
    boxes, labels = random_boxes(scale)
    raw = torch.randn(5, 3, cells, cells, 7, generator=torch.Generator().manual_seed(9), requires_grad=True)
    loss = scale_loss(raw, assign(boxes, labels, anchors, cells, SIZE / cells, mgca))
    expected = reference_loss(raw, boxes, labels, anchors, SIZE / cells, mgca)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    ours, theirs = (torch.autograd.grad(one, raw)[0] for one in (loss, expected))
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-8)


def test_the_released_conventions_change_what_is_assigned() -> None:
    small = [torch.tensor([[100.0, 100.0, 104.0, 104.0]])]
    plain, released = (assign(small, [torch.tensor([0])], ALL_ANCHORS[0], 7, 32.0, mgca) for mgca in (False, True))
    assert (~plain.background).sum() == 1  # the anchor that answers, however little it overlaps
    assert not plain.background[0, 0, 3, 3]
    assert released.background.all()


def test_of_boxes_in_one_cell_and_shape_the_last_stands() -> None:
    boxes = [torch.tensor([[96.0, 96.0, 126.0, 126.0], [97.0, 97.0, 127.0, 127.0], [96.0, 96.0, 126.0, 126.0]])]
    found = assign(boxes, [torch.tensor([0, 1, 1])], ALL_ANCHORS[0], 7, 32.0)
    assert found.label.tolist() == [1]
    assert found.offset.tolist() == [[(96 + 15) / 32 - 3, (96 + 15) / 32 - 3]]


def test_a_centre_on_the_edge_is_in_the_last_cell() -> None:
    found = assign([torch.tensor([[224.0, 224.0, 224.0, 224.0]])], [torch.tensor([0])], ALL_ANCHORS[0], 7, 32.0)
    assert (found.row.tolist(), found.column.tolist()) == ([6], [6])


class Fixed(YoloDetector):
    """Says what it is told to."""

    raw: list[Tensor]

    def forward(self, tokens: Tensor) -> list[Tensor]:
        return self.raw


def fixed(mgca: bool = False) -> Fixed:
    detector = Fixed(8, 4, 224, 2, channels=16, reduction=2, mgca=mgca)
    detector.raw = [torch.full((1, 21, side, side), -9.0) for side in (2, 4, 8)]
    return detector


def put(detector: Fixed, scale: int, anchor: int, row: int, column: int, values: list[float]) -> None:
    detector.raw[scale][0, anchor * 7 : anchor * 7 + 7, row, column] = torch.tensor(values)


def test_a_box_is_decoded_where_it_lies() -> None:
    detector = fixed()
    put(detector, 1, 2, 3, 1, [0.0, math.log(3), 0.0, math.log(0.5), 2.0, -1.0, 1.0])
    (found,) = detector.detect(torch.zeros(1, 16, 8))
    width, height = 59 * 224 / 416, 119 * 224 / 416 / 2
    x, y = (1 + 0.5) * 56, (3 + 0.75) * 56
    expected = torch.tensor([x - width / 2, y - height / 2, x + width / 2, min(y + height / 2, 224)])
    assert torch.allclose(found.boxes, expected[None], atol=1e-3)
    assert found.labels.tolist() == [1]
    assert found.scores.item() == pytest.approx(1 / (1 + math.exp(-2)))


def test_only_the_surer_of_two_alike_is_kept_and_only_within_a_class() -> None:
    def found(label: list[float]) -> Detections:
        """Two boxes almost alike, of two cells: their centres lie at the seam."""
        detector = fixed()
        put(detector, 2, 1, 4, 4, [9.0, 0.0, 0.0, 0.0, 1.0, *label])
        put(detector, 2, 1, 4, 5, [-9.0, 0.0, 0.0, 0.0, 2.0, 2.0, 1.0])
        return detector.detect(torch.zeros(1, 16, 8))[0]

    assert found([2.0, 1.0]).scores.tolist() == pytest.approx([1 / (1 + math.exp(-2))])
    assert found([1.0, 2.0]).labels.tolist() == [0, 1]
    detector = fixed()
    for column in (4, 5):
        put(detector, 2, 1, 4, column, [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0])
    assert len(detector.detect(torch.zeros(1, 16, 8))[0].scores) == 2  # 28 pixels apart, 8.6 wide


def test_below_half_sure_nothing_is_reported() -> None:
    detector = fixed()
    put(detector, 0, 0, 0, 0, [0.0, 0.0, 0.0, 0.0, -0.01, 0.0, 0.0])
    assert len(detector.detect(torch.zeros(1, 16, 8))[0].boxes) == 0


def test_suppression_with_a_pixel_more_is_mgcas() -> None:
    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 4.0], [0.0, 0.0, 9.0, 3.9]])
    scores, labels = torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.int64)

    def kept(pixel: float) -> list[float]:
        return [round(s, 1) for s in keep_best(boxes[[0, 1]], scores[:2], labels[:2], 0, 0.49, pixel).scores.tolist()]

    assert (kept(0.0), kept(1.0)) == ([0.9, 0.8], [0.9])  # 4/9 and 5/10


def test_at_most_a_hundred_are_kept_the_surest_first() -> None:
    corner = torch.arange(300.0)[:, None] * 2
    boxes = torch.cat([corner, corner, corner + 1, corner + 1], 1)
    found = keep_best(boxes, torch.linspace(0, 1, 300), torch.zeros(300, dtype=torch.int64), 0, 0.5)
    assert found.scores.tolist() == torch.linspace(0, 1, 300)[200:].flip(0).tolist()
    assert no_detections().boxes.shape == (0, 4)


def test_it_learns_where_boxes_are() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(4, 16, 24)
    boxes = [torch.tensor([[10.0 + 8 * i, 20.0, 60.0 + 8 * i, 90.0 - 4 * i]]) for i in range(3)] + [torch.zeros(0, 4)]
    labels = [torch.tensor([i % 2]) for i in range(3)] + [torch.zeros(0, dtype=torch.int64)]
    detector = YoloDetector(24, 4, 128, 2, channels=32, reduction=4)
    optimizer = torch.optim.AdamW(detector.parameters(), 5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        detector.loss(tokens, boxes, labels).backward()
        optimizer.step()
    found = detector.detect(tokens)  # in training mode: four images are too few for running means
    assert len(found[3].boxes) == 0
    for one, box, label in zip(found, boxes[:3], labels, strict=False):
        assert one.labels[0] == label
        assert (one.boxes[0] - box[0]).abs().max() < 4
