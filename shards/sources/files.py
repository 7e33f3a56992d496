"""Files of a source: found out about by one call, read under a limit, loaded as pictures."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecamp_fast.shards.images import dicom
from ecamp_fast.shards.images.encode import decode_reduced
from ecamp_fast.shards.images.limits import BadImage
from ecamp_fast.shards.sources.base import RecordFault, SourceImage
from ecamp_fast.shards.sources.redact import redact_place

MAX_BYTES = 256 * 2**20  # of a file: 64 megapixels of 16 bits are half of it
IMAGES = (".jpg", ".jpeg", ".png", ".dcm", ".tif", ".tiff", ".bmp", ".pgm")


def own_name(path: Path) -> str:
    """The last part of a path, of ``.`` and ``..`` too; it goes into the manifest, the folders above do not."""
    return Path(os.path.abspath(path)).name


def read_bytes(path: Path) -> bytes:
    """The content of an image file.  Raises BadImage."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise BadImage(f"a file of {size / 2**20:,.0f} MiB", "reduce the picture first", "too-large")
            return file.read()
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise BadImage(what, "check the file and its permissions", "unreadable") from None


def picture(data: bytes, short_side: int) -> SourceImage:
    """A picture from the content of its file; a JPEG perhaps at a smaller scale, but of ``short_side`` at least.

    Raises BadImage, EnvironmentFault where pydicom is missing.
    """
    if dicom.is_dicom(data):
        read = dicom.read(data)
        return SourceImage(read.image, read.image.size, view=read.view, states_polarity=True)
    image, size = decode_reduced(data, short_side)
    return SourceImage(image, size)


@contextmanager
def named(what: str) -> Iterator[None]:
    """Says of a BadImage raised within that it is ``what`` of a sample that is bad, not its image."""
    try:
        yield
    except BadImage as bad:
        raise BadImage(f"{what}: {bad.what}", bad.hint, bad.kind) from None


def absent(origin: str, folder: Path, place: str) -> RecordFault | None:
    """The fault of an image file that is not there, or is no file; None where it is."""
    try:
        kind = os.stat(folder / place).st_mode
    except (OSError, ValueError) as error:
        hint = f"image paths are relative to {folder}"
        return RecordFault(origin, f"{redact_place(place)}: {reason(error)}", hint, "missing")
    if stat.S_ISREG(kind):
        return None
    return RecordFault(origin, f"{redact_place(place)}: not a file", "name an image file", "missing")


def reason(error: Exception) -> str:
    """Why a file cannot be read, without its path, which an OSError repeats."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return f"cannot be read: {error.strerror if isinstance(error, OSError) and error.strerror else error}"
