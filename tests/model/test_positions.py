import numpy as np
import pytest
import torch
from timm.layers import build_sincos2d_pos_embed

from ecamp_fast.model.positions import position_table

FIRST_SINES = {"standard": [0.84147, 0.81525, 0.78859], "official": [0.84147, 0.83497, 0.82843]}


@pytest.mark.parametrize("table", ["standard", "official"])
def test_golden_values(table: str) -> None:
    """Width 768, 14 x 14: row 0, column 1 in the first half; row 1, column 0 in the second."""
    positions = position_table(768, 14, table)[0]
    assert positions.shape == (197, 768)
    assert positions[0].abs().max() == 0
    assert positions[1 + 1, :3].tolist() == pytest.approx(FIRST_SINES[table], abs=1e-5)
    assert positions[1 + 14, 384:387].tolist() == pytest.approx(FIRST_SINES[table], abs=1e-5)


def test_standard_table_is_timms_in_maes_order() -> None:
    sine_row, sine_column, cosine_row, cosine_column = build_sincos2d_pos_embed([5, 5], 64).chunk(4, dim=1)
    theirs = torch.cat([sine_column, cosine_column, sine_row, cosine_row], dim=1)
    torch.testing.assert_close(position_table(64, 5)[0, 1:], theirs, atol=1e-6, rtol=1e-5)


def test_frequencies_of_the_released_table() -> None:
    """They span 1 to 0.101 (correct: to 1.05e-4): the cosine of the last channel at column 1 tells."""
    for table, lowest in (("official", 0.101), ("standard", 1.05e-4)):
        sines = position_table(768, 14, table)[0, 2, :192]
        assert np.arcsin(sines[-1].item()) == pytest.approx(lowest, rel=0.01)


def test_refuses_a_width_without_quarters() -> None:
    with pytest.raises(ValueError, match="30 is not a multiple of 4"):
        position_table(30, 4)
