"""Sizes on which the loader, the model and the losses must agree; without torch or numpy."""

ATTENTION_GRID = 28  # cells per side of an attention map over the high-resolution view (SPEC.md, decision on row 14)


def window_size(grid: int) -> int:
    """Patches per side of the super-resolution window: 12 of 14, or in proportion.  grid: of the view."""
    return grid * 12 // 14
