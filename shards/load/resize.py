"""A crop to the view's size on the CPU: an antialiased bicubic filter (Keys, a = -1/2), in place of DALI's slow one."""

import numpy as np
import torch
from torch.nn.functional import interpolate

LANES = 4  # PyTorch's vectorised resize of uint8 works on four channels at once, however many there are


def resize(image: np.ndarray, size: int, flipped: bool = False) -> np.ndarray:
    """image: (H, W) uint8   returns (size, size) uint8, mirrored left to right if ``flipped``.

    Resizes columns, then rows, each as columns of a picture whose neighbours are taken for its channels: under half
    of the time of a plain call, which fills three of four channels with nothing. Rounded and clamped to uint8 in
    between, as Pillow does with its axes in the other order: at hard edges the two differ by up to 22 grey levels, and
    are equally far from float64.  Raises ValueError for a size below 4.
    """
    if size < LANES:
        raise ValueError(f"a size of {size}: PyTorch resizes to fewer than {LANES} pixels wrongly")
    columns = _columns(image, size).T
    rows = _columns(columns, size)
    return np.ascontiguousarray((rows[::-1] if flipped else rows).T)


def _columns(image: np.ndarray, size: int) -> np.ndarray:
    """Resize along the first axis alone.  image: (H, W) uint8   returns (size, W)"""
    height, width = image.shape
    image = np.pad(image, ((0, 0), (0, -width % LANES))) if width % LANES else np.ascontiguousarray(image)
    lanes = torch.from_numpy(image).view(1, height, -1, LANES).permute(0, 3, 1, 2)
    out = interpolate(lanes, (size, lanes.shape[-1]), mode="bicubic", antialias=True)
    return out.permute(0, 2, 3, 1).reshape(size, -1)[:, :width].numpy()
