"""The maps that one shard gave, as a file: ``attend apply`` writes it, and ``attend score`` reads it."""

import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ecamp_fast.errors import DataError
from ecamp_fast.shards.format.manifest import Shard

_NAME = re.compile(r"maps-(?P<split>[^-]+)-[0-9]+(?:-[0-9]+)?\.npz")  # the second number: of a shard that was cut
_AGAIN = "remove it, and run `ecamp-fast attend apply` again"


@dataclass(frozen=True, slots=True)
class ShardMaps:
    """What one shard gave: its M maps, and of each of its N images the window.

    keys      (M,) str       of the image
    entities  (M,) str       name in the set's list
    maps      (M, G, G) uint8, 255 being the map's own greatest value
    peaks     (M,) float32   that value: maps * peaks / 255 is what ``entity_maps`` gave
    square    (M, 4) int32   top, left, height, width in stored pixels of what the map covers
    image     (M, 2) int32   height, width of the stored image
    samples   (N,) str       keys of all images of the shard, in order
    windows   (N, 2) int32   ``maps.window_labels``
    """

    keys: np.ndarray
    entities: np.ndarray
    maps: np.ndarray
    peaks: np.ndarray
    square: np.ndarray
    image: np.ndarray
    samples: np.ndarray
    windows: np.ndarray

    def as_bytes(self) -> bytes:
        """The file."""
        buffer = io.BytesIO()
        np.savez(buffer, **asdict(self))
        return buffer.getvalue()

    def belongs_together(self) -> bool:
        """Whether the arrays are as long as each other, and of the shapes above."""
        count, images = len(self.keys), len(self.samples)
        shapes = {"entities": (count,), "peaks": (count,), "square": (count, 4), "image": (count, 2)}
        shapes["windows"] = (images, 2)
        if any(getattr(self, name).shape != shape for name, shape in shapes.items()) or self.maps.ndim != 3:
            return False
        return self.maps.shape == (count, *2 * self.maps.shape[1:2]) and self.maps.dtype == np.uint8


def name_of(shard: Shard) -> str:
    """The file of a shard's maps."""
    return f"maps-{shard.name.removesuffix('.tar')}.npz"


def split_of(file: Path) -> str | None:
    """The split whose maps a file has by its name; None: it is no file of maps."""
    found = _NAME.fullmatch(file.name)
    return found["split"] if found else None


def read_maps(path: Path, keys: Sequence[str] | None = None) -> ShardMaps | None:
    """A shard's maps; None where there is no such file.

    keys: of the images that it must be of; None: of whichever
    Raises DataError where it is damaged, or of other images.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            held = ShardMaps(**{name: file[name] for name in ShardMaps.__slots__})
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(f"{path} is no file of maps ({type(error).__name__})", _AGAIN) from None
    if not held.belongs_together():
        raise DataError(f"{path}: its arrays do not belong together", _AGAIN)
    if keys is not None and held.samples.tolist() != list(keys):
        raise DataError(f"{path} is of other images", _AGAIN)
    return held
