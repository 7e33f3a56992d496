"""A trained image encoder with its preprocessing: any radiograph file in, features out. ``ecamp_fast.load`` gives one.

Legend: B pictures, S pixels per side, N patches, D width.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ecamp_fast.config import Recipe
from ecamp_fast.errors import DataError
from ecamp_fast.model.ecamp import image_features, image_tokens
from ecamp_fast.model.vision import Encoder
from ecamp_fast.run.trained import load_trained
from ecamp_fast.shards.images.encode import decode
from ecamp_fast.shards.images.limits import BadImage
from ecamp_fast.shards.load.crop import whole_boxes
from ecamp_fast.shards.load.resize import resize

_PLAIN = ("1", "L", "RGB", "YCbCr")  # modes of Pillow that become grey in one way alone
Picture = str | Path | bytes | Image.Image | np.ndarray


class PretrainedEncoder(nn.Module):
    """The image side of a trained model, all patches seen.

    recipe   that it was trained by
    encoder  its ViT, whose weights may be trained on
    """

    def __init__(self, recipe: Recipe, encoder: Encoder) -> None:
        super().__init__()
        self.recipe, self.encoder = recipe, encoder

    @classmethod
    def from_pretrained(cls, path: str | Path, device: torch.device | str = "cpu") -> "PretrainedEncoder":
        """Of a run, or of the folder ``ours`` of an export; in evaluation mode and float32.

        Raises ConfigError where ``path`` is neither, DataError where its weights are damaged or do not fit.
        """
        model = load_trained(Path(path), device)
        return cls(model.recipe, model.encoder).eval()

    @property
    def width(self) -> int:
        """D: numbers of a feature."""
        return self.recipe.model.vision.width

    def preprocess(self, pictures: Sequence[Picture]) -> Tensor:
        """Pictures as the encoder was trained to see them: grey, the centred square, resized; no normalisation yet.

        pictures: files or their content, read as ``shard build`` reads them; Pillow pictures of 8 bits without
        transparency; grey arrays (H, W) of uint8
        returns (B, 1, S, S) uint8 at high resolution

        Raises DataError, naming the picture by its number, where one cannot be read.
        """
        return read_pictures(pictures, self.recipe.image.high_size)

    def forward(self, images: Tensor, pooling: int = 1) -> Tensor:
        """Means of patch tokens.  images: as of ``preprocess``, on any device   pooling, returns: ``image_features``"""
        return image_features(self.encoder, self.recipe, images.to(self._device), pooling)

    def tokens(self, images: Tensor) -> Tensor:
        """All tokens after the final norm, the class token first.  returns (B, 1+N, D)"""
        return image_tokens(self.encoder, self.recipe, images.to(self._device))

    @property
    def _device(self) -> torch.device:
        return self.encoder.class_token.device


def load(path: str | Path, device: torch.device | str = "cpu") -> PretrainedEncoder:
    """A trained image encoder with its preprocessing: of a run, or of the folder ``ours`` of an export.

    Raises ConfigError where ``path`` is neither, DataError where its weights are damaged or do not fit.
    """
    return PretrainedEncoder.from_pretrained(path, device)


def read_pictures(pictures: Sequence[Picture], size: int) -> Tensor:
    """As ``PretrainedEncoder.preprocess``, at any ``size``: (B, 1, size, size) uint8.  Raises DataError as there."""
    squares = []
    for number, picture in enumerate(pictures):
        try:
            grey = _grey(picture)
        except (BadImage, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise DataError(f"picture {number} cannot be read: {reason}", "leave it out") from None
        (y, x, height, width) = whole_boxes(np.asarray(grey.shape[:1]), np.asarray(grey.shape[1:]))[0]
        squares.append(resize(grey[y : y + height, x : x + width].copy(), size))
    if not squares:
        return torch.empty(0, 1, size, size, dtype=torch.uint8)
    return torch.from_numpy(np.stack(squares))[:, None]


def _grey(picture: Picture) -> np.ndarray:
    """(H, W) uint8.  Raises BadImage, OSError"""
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 2 or not picture.size:
            raise BadImage(f"an array of {picture.dtype} and shape {picture.shape}, not (H, W) of uint8")
        return picture
    if isinstance(picture, Image.Image):
        if picture.mode not in _PLAIN:  # Pillow would cut 16 bits off at 255, and drop transparency
            raise BadImage(f"a Pillow picture of mode {picture.mode}: give its file, which is converted by rule")
        return np.asarray(picture.convert("L"))
    return np.asarray(decode(picture if isinstance(picture, bytes) else Path(picture).read_bytes()))
