"""Texts that are not UTF-8: read all the same, and told of in one line."""

_NAMED = 3  # in the note


class Encodings:
    """Collects the texts of a source that were read otherwise than as UTF-8."""

    def __init__(self) -> None:
        self._foreign: list[str] = []

    def add(self, name: str, encoding: str) -> None:
        """name: of the text, for the note   encoding: as ``read_text`` gives it"""
        if encoding != "utf-8":
            self._foreign.append(f"{name} as {encoding}")

    @property
    def notes(self) -> list[str]:
        """One line, or none where all texts so far are UTF-8."""
        if not self._foreign:
            return []
        count, named = len(self._foreign), self._foreign[:_NAMED]
        more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
        texts = "1 text is" if count == 1 else f"{count:,} texts are"
        return [f"{texts} not UTF-8, read otherwise: {', '.join(named)}{more}"]
