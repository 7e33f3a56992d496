"""Whether a JPEG can be stored as it is: what the builder itself would write, and nothing in it but the picture."""

_PLAIN = frozenset({0xC0, 0xC4, 0xDA, 0xDB, 0xDD, 0xE0})  # baseline frame, tables, scan, restarts, JFIF
_JFIF = b"\x00\x10JFIF\x00"
_RESTARTS = range(0xD0, 0xD8)


def as_built(data: bytes) -> bool:
    """Whether a file that decodes is a grey baseline JPEG of 8 bits without metadata, which could name a patient."""
    if not (data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")):
        return False
    at = 2
    while at + 4 < len(data) and data[at] == 0xFF and data[at + 1] in _PLAIN:
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 2 : at + 2 + size]
        if marker == 0xE0 and not segment.startswith(_JFIF):
            return False
        if marker == 0xC0 and (segment[2] != 8 or segment[7] != 1):
            return False
        at += 2 + size
        if marker == 0xDA:
            return _next_marker(data, at) == len(data) - 2
    return False


def _next_marker(data: bytes, at: int) -> int:
    """Where the scan that begins at byte ``at`` ends."""
    while True:
        at = data.find(b"\xff", at)
        if at < 0 or at + 1 >= len(data):
            return -1
        if data[at + 1] and data[at + 1] not in _RESTARTS:
            return at
        at += 2
