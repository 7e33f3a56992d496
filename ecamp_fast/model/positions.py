"""Fixed sine-cosine position tables for a square grid of patches.

Half the channels encode the column, half the row; within each half a sine block, then a cosine block. The first row of
the table, for the class token, is zero.
"""

from typing import Literal

import torch
from torch import Tensor


def position_table(width: int, grid: int, table: Literal["standard", "official"] = "standard") -> Tensor:
    """(1, 1 + grid * grid, width) float32.

    width  a multiple of 4
    grid   patches per side
    table  ``standard`` is MAE's; ``official`` has the released code's frequencies, which span 1 to 0.101, not 1 to
           1e-4: its exponent divides by twice the channels of an axis instead of by half of them
    """
    if width % 4:
        raise ValueError(f"width {width} is not a multiple of 4")
    axis = width // 2
    exponent = torch.arange(axis // 2, dtype=torch.float64) / (axis / 2 if table == "standard" else 2 * axis)
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * 10000.0**-exponent  # (grid, axis / 2)
    code = torch.cat([angles.sin(), angles.cos()], dim=1)
    column = code[None, :, :].expand(grid, grid, axis)
    row = code[:, None, :].expand(grid, grid, axis)
    patches = torch.cat([column, row], dim=2).flatten(0, 1)
    return torch.cat([patches.new_zeros(1, width), patches])[None].float()
