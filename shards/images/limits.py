"""Why a picture is not taken, and the limits that its header must keep."""

MAX_PIXELS = 64_000_000  # by the header, before anything is decoded
MAX_SIDE = 65_500  # of a JPEG
ANNOTATION = "annotation"  # kind of a fault of masks and boxes, which no budget excuses
_COPY = "copy the file again from its source, or remove the row"


class BadImage(ValueError):
    """A picture that is refused.

    what  why it is refused
    hint  what to do about it
    kind  class of refusals that it is counted in: damaged, unreadable, not-an-image, unsupported, too-large,
          several-pictures, dark, bright, pale, constant; of DICOM files also no-pixels, no-syntax, no-codec, colour,
          burned-in, dicomdir; annotation: its masks or boxes are at fault, and no budget excuses that
    """

    def __init__(self, what: str, hint: str = _COPY, kind: str = "damaged") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.kind = kind


def check_size(width: int, height: int) -> None:
    """Refuse a picture by the size that its header states, before anything is decoded.  Raises BadImage."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise BadImage(
            f"{width} x {height} pixels, the limits are {MAX_PIXELS // 10**6} megapixels and {MAX_SIDE} a side",
            "reduce the picture first",
            "too-large",
        )
