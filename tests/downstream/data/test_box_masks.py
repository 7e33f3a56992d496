"""Boxes as masks, against counting sub-pixels."""

import pytest
import torch

from ecamp_fast.downstream.data.box_masks import box_masks


def test_the_union_of_boxes_is_the_share_of_each_pixel_that_they_cover() -> None:
    boxes = torch.tensor([[1.0, 2.0, 4.0, 5.0], [3.0, 3.0, 7.5, 4.25], [0.0, 0.0, 2.0, 1.0]])
    found = box_masks([boxes, torch.zeros(0, 4)], [torch.tensor([1, 1, 0]), torch.zeros(0, dtype=torch.int64)], 2, 8)
    assert found.shape == (2, 2, 8, 8) and not found[1].any()
    fine = torch.zeros(2, 32, 32)  # four by four sub-pixels a pixel
    for (x1, y1, x2, y2), name in zip((boxes * 4).int().tolist(), (1, 1, 0), strict=True):
        fine[name, y1:y2, x1:x2] = 1
    assert torch.equal(found[0], torch.nn.functional.avg_pool2d(fine[None], 4)[0])
    assert found[0, 1, 3, 3] == 1 and float(found[0, 1, 3, 7]) == pytest.approx(0.5)
