"""Where the view lies in the image: crops, flips, and the attention map and window that follow them.

Numpy only, over a whole batch at once. Coordinates are pixel edges: an image covers [0, height] x [0, width], and so
does its attention map, whatever its size.
"""

from collections.abc import Sequence

import numpy as np

from ecamp_fast.geometry import ATTENTION_GRID, window_size
from ecamp_fast.keyed_random import Stream, uniform

TRIES = 10  # of a random crop, as in torchvision
CHUNK = 64  # maps sampled at a time: half the time per map of 256 at a time, whose indices leave the cache

Sizes = np.ndarray  # (B,) integers


def random_boxes(
    heights: Sizes, widths: Sizes, keys: np.ndarray, area: tuple[float, float], aspect: tuple[float, float]
) -> np.ndarray:
    """A random resized crop of each image, by the algorithm of torchvision's RandomResizedCrop.

    heights, widths: (B,) pixels   keys: (B,) int64   area: share of the image   aspect: width over height
    returns (B, 4) int32: top, left, height, width.

    Up to ten boxes are drawn (area uniform, aspect log-uniform, place uniform) until one fits inside the image; then
    the largest centred box whose aspect is allowed.
    """
    heights, widths = np.asarray(heights, np.int64), np.asarray(widths, np.int64)
    uniforms = uniform(keys, Stream.CROP, 4 * TRIES).astype(np.float64).reshape(-1, TRIES, 4)
    target = (heights * widths)[:, None] * (area[0] + uniforms[..., 0] * (area[1] - area[0]))
    low, high = np.log(aspect)
    ratio = np.exp(low + uniforms[..., 1] * (high - low))
    box_h = np.rint(np.sqrt(target / ratio)).astype(np.int64)
    box_w = np.rint(np.sqrt(target * ratio)).astype(np.int64)
    fits = (box_h > 0) & (box_h <= heights[:, None]) & (box_w > 0) & (box_w <= widths[:, None])

    rows, first = np.arange(len(heights)), fits.argmax(1)
    height, width, place = box_h[rows, first], box_w[rows, first], uniforms[rows, first, 2:]
    top = (place[:, 0] * (heights - height + 1)).astype(np.int64)
    left = (place[:, 1] * (widths - width + 1)).astype(np.int64)
    boxes = np.stack((top, left, height, width), 1)
    return np.where(fits.any(1)[:, None], boxes, _clamped_boxes(heights, widths, aspect)).astype(np.int32)


def _clamped_boxes(heights: Sizes, widths: Sizes, aspect: tuple[float, float]) -> np.ndarray:
    """The largest centred box of each image whose aspect is allowed.  returns (B, 4) int64."""
    width = np.where(widths > heights * aspect[1], np.rint(heights * aspect[1]).astype(np.int64), widths)
    height = np.where(widths < heights * aspect[0], np.rint(widths / aspect[0]).astype(np.int64), heights)
    return np.stack(((heights - height) // 2, (widths - width) // 2, height, width), 1)


def whole_boxes(heights: Sizes, widths: Sizes) -> np.ndarray:
    """The view for evaluation: the centred square of the short side.  returns (B, 4) int32."""
    heights, widths = np.asarray(heights, np.int64), np.asarray(widths, np.int64)
    side = np.minimum(heights, widths)
    return np.stack(((heights - side) // 2, (widths - side) // 2, side, side), 1).astype(np.int32)


def flips(keys: np.ndarray, probability: float) -> np.ndarray:
    """Whether each view is mirrored left to right.  keys: (B,) int64   returns (B,) bool."""
    return uniform(keys, Stream.FLIP, 1)[:, 0] < probability


def sample_maps(
    maps: Sequence[np.ndarray | None], boxes: np.ndarray, flipped: np.ndarray, heights: Sizes, widths: Sizes
) -> np.ndarray:
    """The attention map of each image over its view: bilinear values at the centres of 28 x 28 cells.

    maps: per image (h, w) uint8 over the WHOLE image, any size, or None   boxes: (B, 4) top, left, height, width
    flipped: (B,) bool   heights, widths: (B,) pixels of the whole image
    returns (B, 28, 28) float32, 0 to 255; zeros where there is no map. Beyond the outermost cell centres of a map its
    border values go on.
    """
    out = np.zeros((len(maps), ATTENTION_GRID, ATTENTION_GRID), np.float32)
    stored = {number: one for number, one in enumerate(maps) if one is not None}
    with_map = np.array(list(stored), np.int64)
    boxes, flipped = np.asarray(boxes, np.float64), np.asarray(flipped, bool)
    sizes = np.stack((heights, widths), 1)
    for start in range(0, len(with_map), CHUNK):
        part = with_map[start : start + CHUNK]
        out[part] = _sample_stored([stored[n] for n in part.tolist()], boxes[part], flipped[part], sizes[part])
    return out


def _sample_stored(maps: list[np.ndarray], boxes: np.ndarray, flipped: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """``sample_maps`` where every image has a map.  sizes: (B, 2) height, width of the images."""
    shapes = np.array([one.shape for one in maps], np.int64)
    starts = np.concatenate(([0], np.cumsum(shapes.prod(1))[:-1]))
    values = np.concatenate([one.ravel() for one in maps])

    top, left, height, width = boxes.T
    y0, y1, fy = _neighbours(top, height, sizes[:, 0], shapes[:, 0])
    x0, x1, fx = _neighbours(left, width, sizes[:, 1], shapes[:, 1])
    x0, x1, fx = (np.where(flipped[:, None], axis[:, ::-1], axis) for axis in (x0, x1, fx))
    row0, row1 = (starts[:, None] + y * shapes[:, 1:] for y in (y0, y1))
    upper = _mix_columns(values, row0, x0, x1, fx)
    lower = _mix_columns(values, row1, x0, x1, fx)
    return upper + fy[:, :, None] * (lower - upper)


def _neighbours(start: np.ndarray, length: np.ndarray, side: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, ...]:
    """Along one axis, the two map cells around each of the 28 centres, and the weight of the second.

    start, length: (B,) of the view   side: (B,) of the image   cells: (B,) of the map   returns three (B, 28) arrays.
    """
    centres = (np.arange(ATTENTION_GRID) + 0.5) / ATTENTION_GRID
    place = (start[:, None] + length[:, None] * centres) * (cells / side)[:, None] - 0.5
    place = np.clip(place, 0, (cells - 1)[:, None])
    first = place.astype(np.int64)
    return first, np.minimum(first + 1, (cells - 1)[:, None]), (place - first).astype(np.float32)


def _mix_columns(values: np.ndarray, rows: np.ndarray, x0: np.ndarray, x1: np.ndarray, fx: np.ndarray) -> np.ndarray:
    """Values of map rows interpolated between two columns.  rows: (B, 28) index of each row's first value."""
    first = values[rows[:, :, None] + x0[:, None, :]].astype(np.float32)
    second = values[rows[:, :, None] + x1[:, None, :]].astype(np.float32)
    return first + fx[:, None, :] * (second - first)


def windows(attention: np.ndarray, grid: int) -> np.ndarray:
    """First patch (row, column) of the window that holds the most attention.

    attention: (B, 28, 28) >= 0, as ``sample_maps`` gives it: over the view for aligned windows, over the whole image
    for fixed ones   grid: patches per side of the view   returns (B, 2) int32, each 0 to grid - window_size(grid).
    The middle window stands where there is no attention, and where several windows hold the most.
    """
    size, places = window_size(grid), _places(grid)
    spans = np.zeros((places, grid))
    for first in range(places):
        spans[first, first : first + size] = 1.0
    spans = spans @ _areas(grid)
    sums = (spans @ np.asarray(attention, np.float64) @ spans.T).reshape(len(attention), -1)
    best = sums.max(1, keepdims=True)
    leading = sums >= best * (1 - 1e-9)  # equal up to the rounding of the sums
    chosen = np.stack(np.divmod(leading.argmax(1), places), 1).astype(np.int32)
    return np.where(leading.sum(1, keepdims=True) == 1, chosen, middle_windows(len(attention), grid))


def middle_windows(count: int, grid: int) -> np.ndarray:
    """First patch (row, column) of the middle window, for every sample.  returns (count, 2) int32."""
    return np.full((count, 2), _places(grid) // 2, np.int32)


def _places(grid: int) -> int:
    """Where a window can begin along one axis."""
    return grid - window_size(grid) + 1


def _areas(grid: int) -> np.ndarray:
    """Share of each of the 28 cells that lies in each patch, along one axis.  returns (grid, 28) float64."""
    edges = np.arange(grid + 1) * ATTENTION_GRID / grid
    cells = np.arange(ATTENTION_GRID)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    return np.clip(overlap, 0, None)


def centre_map() -> np.ndarray:
    """Attention where stored maps are ignored: 1 in the middle 12/14 of the view, else 0.  returns (28, 28) float32."""
    edge = (ATTENTION_GRID - window_size(ATTENTION_GRID)) // 2
    out = np.zeros((ATTENTION_GRID, ATTENTION_GRID), np.float32)
    out[edge:-edge, edge:-edge] = 1.0
    return out
