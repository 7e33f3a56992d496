"""The decoder of DPT (Ranftl et al. 2021) as segmentation-models-pytorch has it, on the tokens of any trunk.

Its model there opens a ViT of timm's hub by name; here its decoder alone is taken, and our trunk reads the image.
"""

from importlib.util import find_spec

from torch import Tensor, nn
from torch.nn.functional import interpolate

from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.extras import install_hint

SCALES = 4  # maps of 4, 2, 1 and 1/2 cells a patch, from the lowest block to the highest
STRIDE = 16  # what the decoder must take a patch for, to draw these
CHANNELS = 256  # where the scales meet, for tokens of 768; a third of D below


class DPT(nn.Module):
    """Four scales, each drawn from a block's tokens, joined from the coarsest to the finest; two convolutions.

    levels: blocks whose tokens are given, 1 to 4; where they are fewer, the lowest serves the finest scales too
    """

    def __init__(self, width: int, grid: int, size: int, levels: int) -> None:
        """Raises EnvironmentFault where segmentation-models-pytorch is not installed."""
        super().__init__()
        require()
        from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder, DPTSegmentationHead

        self.grid, self.size, self.levels = grid, size, levels
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
        """tokens: (B, G*G, levels * D)   returns logits (B, 1, S, S)."""
        x = tokens.mT.unflatten(2, (self.grid, self.grid))
        if self.even != self.grid:
            x = interpolate(x, (self.even, self.even), mode="bilinear", align_corners=False)
        maps = list(x.chunk(self.levels, 1))
        logits = self.predict(self.decode([maps[0]] * (SCALES - self.levels) + maps, [None] * SCALES))
        return interpolate(logits, (self.size, self.size), mode="bilinear", align_corners=False)


def blocks_of(depth: int) -> list[int]:
    """The blocks that a ViT of ``depth`` gives: of 12 the third, sixth, ninth and twelfth, counted from 0."""
    return sorted({max(1, round(depth * part / SCALES)) - 1 for part in range(1, SCALES + 1)})


def require() -> None:
    """Raises EnvironmentFault where segmentation-models-pytorch is not installed."""
    if find_spec("segmentation_models_pytorch") is None:
        raise EnvironmentFault("segmentation-models-pytorch is not installed", install_hint("segment"))
