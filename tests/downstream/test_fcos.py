"""FCOS on a pyramid: torchvision's own matching and post-processing on the same numbers, and images without boxes."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from ecamp_fast.downstream.heads.fcos import FcosDetector, Pyramid

NO_BOXES, NO_LABELS = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)


def detector(classes: int = 3, grid: int = 4, size: int = 64) -> FcosDetector:
    torch.manual_seed(1)
    return FcosDetector(16, grid, size, classes, channels=32)


def test_it_is_small_on_small_trunks() -> None:
    assert sum(one.numel() for one in FcosDetector(96, 8, 64, 8).parameters()) == pytest.approx(0.73e6, rel=0.01)


@pytest.mark.parametrize(("grid", "cells"), [(4, [8, 4, 2]), (7, [14, 7, 4])])
def test_the_pyramid_has_three_scales(grid: int, cells: list[int]) -> None:
    maps = Pyramid(16, grid, 32)(torch.randn(2, grid * grid, 16))
    assert [tuple(one.shape) for one in maps] == [(2, 32, side, side) for side in cells]
    assert detector(grid=grid).levels == [side * side for side in cells]


def test_tokens_of_any_scale_are_alike_to_the_pyramid() -> None:
    """In training, and after it by what it saw there."""
    tokens, pyramid = torch.randn(4, 16, 16), Pyramid(16, 4, 32)
    scale = torch.logspace(-1, 4, 16)
    other = deepcopy(pyramid)
    for _ in range(2):
        for one, moved in zip(pyramid(tokens), other(scale * tokens + 50), strict=True):
            assert torch.allclose(one, moved, atol=2e-2)
        for _ in range(200):
            pyramid(tokens)
            other(scale * tokens + 50)
        pyramid.eval()
        other.eval()


def test_points_are_torchvisions_moved_to_the_middle_of_their_cells() -> None:
    found = detector()
    maps = found.fcos.backbone(torch.zeros(1, 16, 16))
    anchors = AnchorGenerator(((8,), (16,), (32,)), ((1.0,),) * 3)(
        ImageList(torch.zeros(1, 1, 64, 64), [(64, 64)]), maps
    )
    size = found.points[:, 2:] - found.points[:, :2]
    assert torch.equal(found.points - torch.cat([size, size], 1) / 2, anchors[0])


def test_detections_are_those_of_torchvisions_post_processing() -> None:
    ours = detector()
    outputs = {
        "cls_logits": torch.randn(2, 84, 3) - 1,
        "bbox_regression": torch.rand(2, 84, 4) * 2,
        "bbox_ctrness": torch.randn(2, 84, 1),
    }
    ours._outputs = lambda tokens: outputs  # type: ignore[method-assign, assignment]
    found = ours.detect(torch.zeros(2, 16, 16))
    ours.fcos.score_thresh, ours.fcos.nms_thresh, ours.fcos.detections_per_img = ours.min_score, ours.overlap, 100
    split = {name: list(values.split(ours.levels, dim=1)) for name, values in outputs.items()}
    anchors = [list(ours.points.split(ours.levels))] * 2
    expected = ours.fcos.postprocess_detections(split, anchors, [(64, 64)] * 2)
    for one, other in zip(found, expected, strict=True):
        assert len(one.scores) == 100
        assert torch.allclose(one.scores, other["scores"], atol=1e-6)
        assert torch.allclose(one.boxes, other["boxes"], atol=1e-4)
        assert torch.equal(one.labels, other["labels"])


@pytest.mark.parametrize("alone", [True, False])
def test_an_image_without_boxes_teaches_background(alone: bool) -> None:
    ours = detector()
    boxes, labels = [NO_BOXES], [NO_LABELS]
    if not alone:
        boxes, labels = [*boxes, torch.tensor([[4.0, 4.0, 30.0, 40.0]])], [*labels, torch.tensor([2])]
    loss = ours.loss(torch.randn(len(boxes), 16, 16), boxes, labels)
    loss.backward()
    gradient = ours.fcos.head.classification_head.cls_logits.weight.grad
    assert torch.isfinite(loss)
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def learnt(images: int = 4) -> tuple[FcosDetector, Tensor, list[Tensor], list[Tensor]]:
    torch.manual_seed(0)
    tokens = torch.randn(images, 16, 16)
    boxes = [torch.tensor([[5.0 + 4 * i, 10.0, 30.0 + 4 * i, 45.0 - 2 * i]]) for i in range(images - 1)] + [NO_BOXES]
    labels = [torch.tensor([i % 2]) for i in range(images - 1)] + [NO_LABELS]
    ours = FcosDetector(16, 4, 64, 2, channels=32)
    optimizer = torch.optim.AdamW(ours.parameters(), 3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        ours.loss(tokens, boxes, labels).backward()
        optimizer.step()
    return ours.eval(), tokens, boxes, labels


def test_it_learns_where_boxes_are() -> None:
    ours, tokens, boxes, labels = learnt()
    found = ours.detect(tokens)
    for one, box, label in zip(found[:3], boxes[:3], labels[:3], strict=True):
        assert one.labels[0] == label
        assert one.scores[0] > 0.5
        assert (one.boxes[0] - box[0]).abs().max() < 3
    assert found[3].scores.max() < 0.3


def test_channels_must_fill_the_group_norms() -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        FcosDetector(16, 4, 64, 1, channels=40)
