"""What is turned together stays together: against torchvision's ``affine``, and by a planted square."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as vision

from ecamp_fast.downstream.data.augment import Turns, draw_turns, turn_boxes, turn_images, turn_masks

SIZE = 96
TURNS = Turns(np.array([0.0, 10.0, -10.0, 4.0]), np.array([1.0, 1.1, 0.9, 1.05]))


def square(top: int, left: int, side: int, count: int = 4) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The same white square in an image, a mask and a box."""
    masks = torch.zeros(count, 1, SIZE, SIZE)
    masks[:, :, top : top + side, left : left + side] = 1
    boxes = torch.tensor([[left, top, left + side, top + side]], dtype=torch.float32)
    return (masks * 200).to(torch.uint8), masks, [boxes] * count


def test_a_square_moves_alike_in_image_mask_and_box() -> None:
    images, masks, boxes = square(20, 56, 20)
    bright = turn_images(images, TURNS) > 100
    masks = turn_masks(masks, TURNS)
    boxes, _ = turn_boxes(boxes, [torch.tensor([3])] * 4, TURNS, SIZE)
    for row in range(4):
        assert (bright[row] != masks[row].bool()).sum() <= 20  # of about 400, along the border
        y, x = masks[row, 0].nonzero().float().unbind(1)
        extent = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1])
        assert torch.allclose(boxes[row][0], extent, atol=1.5)
    assert torch.equal(bright[0], images[0] > 100) and torch.equal(boxes[0][0], torch.tensor([56.0, 20, 76, 40]))
    for row in (1, 2):  # by the matrix, written out: the square's centre is (18, -18) from the image's
        radians, scale = np.deg2rad(TURNS.angles[row]), TURNS.scales[row]
        cosine, sine = np.cos(radians) * scale, np.sin(radians) * scale
        expected = 48 + 18 * cosine + 18 * sine, 48 + 18 * sine - 18 * cosine
        y, x = masks[row, 0].nonzero().double().mean(0) + 0.5
        assert (float(x), float(y)) == pytest.approx(expected, abs=0.3)
        assert masks[row].sum() == pytest.approx(400 * scale**2, rel=0.06)


def test_equals_torchvision_one_by_one() -> None:
    images = torch.randint(256, (4, 1, SIZE, SIZE), dtype=torch.uint8)
    masks = (torch.rand(4, 3, SIZE // 8, SIZE // 8) < 0.5).float().repeat_interleave(8, 2).repeat_interleave(8, 3)
    ours, our_masks = turn_images(images, TURNS), turn_masks(masks, TURNS)
    for row in range(4):
        geometry = (float(TURNS.angles[row]), [0, 0], float(TURNS.scales[row]), [0.0, 0.0])
        theirs = vision.affine(images[row], *geometry, interpolation=InterpolationMode.BILINEAR)
        assert (ours[row].int() - theirs.int()).abs().max() <= 1
        theirs = vision.affine(masks[row], *geometry, interpolation=InterpolationMode.NEAREST)
        assert (our_masks[row] != theirs).float().mean() < 1e-3  # where a pixel lies between two


def test_beyond_the_border_there_is_black() -> None:
    turned = turn_images(torch.full((4, 1, SIZE, SIZE), 255, dtype=torch.uint8), TURNS)
    assert (turned[0] == 255).all() and turned[2, 0, 0, 0] == 0 and turned[2, 0, 48, 48] == 255


def test_a_box_that_leaves_the_image_goes_with_its_label() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [40, 40, 60, 60]])
    kept, labels = turn_boxes([boxes], [torch.tensor([7, 8])], Turns(np.array([10.0]), np.array([1.1])), SIZE)
    assert labels[0].tolist() == [8] and len(kept[0]) == 1
    none, labels = turn_boxes([torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)], TURNS, SIZE)
    assert none[0].shape == (0, 4) and labels[0].shape == (0,)


def test_turns_are_keyed_by_seed_epoch_and_sample() -> None:
    samples = np.arange(4000)
    turns = draw_turns(42, 3, samples)
    again = draw_turns(42, 3, samples[1000:1010])
    assert np.array_equal(again.angles, turns.angles[1000:1010]) and np.array_equal(
        again.scales, turns.scales[1000:1010]
    )
    for other in (draw_turns(42, 4, samples), draw_turns(43, 3, samples)):
        assert (other.angles != turns.angles).mean() > 0.5
    moved = turns.angles != 0
    assert moved.mean() == pytest.approx(0.5, abs=0.03) and np.array_equal(moved, turns.scales != 1)
    for values in (turns.angles[moved] / 10, (turns.scales[moved] - 1) / 0.1):  # uniform in -1 to 1
        assert np.abs(values).max() <= 1 and values.mean() == pytest.approx(0, abs=0.05)
        assert values.std() == pytest.approx(3**-0.5, abs=0.02)
    assert abs(np.corrcoef(turns.angles[moved], turns.scales[moved])[0, 1]) < 0.06
