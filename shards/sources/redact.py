"""How values of a source stand in messages, notes and manifests: no report, no private path.

In a table whose columns are mixed up any value may be a report, so only what looks like an identifier is repeated.
"""

import re
from pathlib import PurePath

_PLAIN = re.compile(r"[A-Za-z0-9_.,:;=@+#~()/\\-]{1,60}")  # no blank: no sentence
_IMAGE_NAME = re.compile(r"[^\r\n\t]{1,80}\.(?:jpe?g|png|dcm|tiff?|bmp|pgm)", re.IGNORECASE)


def redact(value: str) -> str:
    """The value itself where it is an identifier without blanks; else how long it is."""
    return value if _PLAIN.fullmatch(value) else f"(a text of {len(value):,} characters)"


def redact_place(place: str) -> str:
    """The path of a picture as the source writes it, its name alone where it is absolute; no text that is no path.

    Blanks are let through only in what ends as an image file does.
    """
    path = PurePath(place)
    name = path.name if path.is_absolute() else place
    return name if _IMAGE_NAME.fullmatch(name) else redact(name)
