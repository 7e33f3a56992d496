"""The decoder of DPT (Ranftl et al. 2021) as segmentation-models-pytorch has it, on the tokens of any trunk.

DPT reads four blocks of a ViT. A trunk promises its last tokens alone, whichever library it comes from, so all four
scales are drawn from these, as a simple pyramid does (Li et al. 2022): every encoder gets the same head, and tokens of
a frozen one are kept once instead of four times.
"""

from importlib.util import find_spec

from torch import Tensor, nn
from torch.nn.functional import interpolate

from ecamp_fast.errors import EnvironmentFault

SCALES = 4  # maps of 4, 2, 1 and 1/2 cells a patch
STRIDE = 16  # what its decoder must take a patch for to draw these
CHANNELS = 256  # where the scales meet, for tokens of 768; a third of D below


class DPT(nn.Module):
    """Four scales of the token map, joined from the coarsest to the finest, then two convolutions and one logit."""

    def __init__(self, width: int, grid: int, size: int) -> None:
        """Raises EnvironmentFault where segmentation-models-pytorch is not installed."""
        super().__init__()
        require()
        from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder, DPTSegmentationHead

        self.grid, self.size = grid, size
        self.even = grid + grid % 2  # cells a side that can be halved and doubled again
        channels = min(CHANNELS, max(8, round(width / 24) * 8))
        self.decode = DPTDecoder(
            encoder_out_channels=[width] * SCALES,
            encoder_output_strides=[STRIDE] * SCALES,
            encoder_has_prefix_tokens=False,
            readout="ignore",
            intermediate_channels=[channels] * SCALES,
            fusion_channels=channels,
        )
        self.predict = DPTSegmentationHead(channels, 1, upsampling=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (B, G*G, D)   returns logits (B, 1, S, S)."""
        x = tokens.mT.unflatten(2, (self.grid, self.grid))
        if self.even != self.grid:
            x = interpolate(x, (self.even, self.even), mode="bilinear", align_corners=False)
        logits = self.predict(self.decode([x] * SCALES, [None] * SCALES))
        return interpolate(logits, (self.size, self.size), mode="bilinear", align_corners=False)


def require() -> None:
    """Raises EnvironmentFault where segmentation-models-pytorch is not installed."""
    if find_spec("segmentation_models_pytorch") is None:
        raise EnvironmentFault("segmentation-models-pytorch is not installed", "pip install ecamp-fast[segment]")
