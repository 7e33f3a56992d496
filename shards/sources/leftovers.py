"""What an operating system or an editor leaves beside the data: its names, and how many were passed over."""

from collections.abc import Iterable

# Whole names, in small letters. Names that begin with a dot need no row: all are passed over.
NAMES = frozenset(
    {
        "__macosx",  # the other halves of files, in archives that macOS makes
        "icon\r",  # a folder's picture: macOS
        "network trash folder",
        "temporary items",
        "thumbs.db",  # small pictures: Windows
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "@eadir",  # small pictures and indices: Synology
        "#recycle",
        "#snapshot",
        "@recycle",  # QNAP
        "lost+found",  # what a check of the disk found: ext4
    }
)
# (how a name begins, how it ends), in small letters
PATTERNS = (
    (".", ""),  # hidden: .DS_Store, ._a.jpg, .ipynb_checkpoints, .a.txt.swp, .nfs0001
    ("", "~"),  # an editor's copy of before
    ("", ".swp"),  # vim
    ("", ".swo"),
    ("", ".swn"),
    ("#", "#"),  # Emacs
    ("~$", ""),  # Word
)


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is no data.  name: the last part of a path"""
    low = name.lower()
    if low in ("", ".", ".."):
        return False
    return low in NAMES or any(low.startswith(start) and low.endswith(end) for start, end in PATTERNS)


def in_leftover(place: str) -> bool:
    """Whether a path within an archive, with /, is no data or lies in a folder that is none."""
    return any(map(is_leftover, place.split("/")))


class Leftovers:
    """Counts what was passed over; a folder counts once, whatever it holds.  what: the name of a file there."""

    def __init__(self, what: str = "file") -> None:
        self._what = what
        self._files = self._folders = 0

    def add(self, *, folder: bool = False) -> None:
        """One more."""
        self._folders += folder
        self._files += not folder

    def kept(self, places: Iterable[str]) -> list[str]:
        """The paths of an archive that are data; the others are counted, its folders (``a/``) are neither."""
        found = []
        for place in places:
            if not in_leftover(place):
                found.append(place)
            elif not place.endswith("/"):
                self.add()
        return found

    @property
    def notes(self) -> list[str]:
        """One line, or none where nothing was passed over."""
        counted = [(self._files, self._what), (self._folders, "folder")]
        parts = [f"{count:,} {what}{'s' if count > 1 else ''}" for count, what in counted if count]
        if not parts:
            return []
        were = "was" if self._files + self._folders == 1 else "were"
        return [f"{' and '.join(parts)} that the operating system or an editor left {were} passed over"]


def passed_over(notes: Iterable[str]) -> str:
    """What an error of nothing found goes on with: what there was, and was passed over; '' where nothing was."""
    return "".join(f"; {note}" for note in notes)
