"""Which projections are taken: those that were named, whatever their letters' case."""

import difflib
import re
from collections import Counter
from typing import Any

from ecamp_fast.errors import DataError
from ecamp_fast.shards.sources.base import Listing
from ecamp_fast.shards.sources.redact import redact

_LISTED = 12  # views that a message names
_WORDS = re.compile(r"(?:AP|PA|XTABLE|LEFT|RIGHT) [A-Z]{1,12}", re.IGNORECASE)  # AP AXIAL: what has a blank is no text


class ViewFilter:
    """Takes the images whose view is among ``names``; all, where there are no names. Good for one listing."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = {_folded(name): name for name in names}
        self._found: Counter[str] = Counter()  # as the source spells them

    def takes(self, view: str) -> bool:
        """Whether an image is to be taken.  view: '' where unknown"""
        if self._names:
            self._found[view.strip()] += 1
        return not self._names or _folded(view) in self._names

    def finish(self, listing: Listing, description: dict[str, Any]) -> None:
        """Say how many were left out, and record the views as the source spells them.

        Raises DataError where a name is no view of any image.
        """
        if not self._names or not self._found:
            return
        spelled = {_folded(view): view for view, _ in sorted(self._found.items(), key=lambda item: (item[1], item[0]))}
        for folded, name in self._names.items():
            if folded not in spelled:
                raise DataError(*self._missing(name, spelled))
        left_out = Counter({view: n for view, n in self._found.items() if _folded(view) not in self._names})
        taken = ", ".join(sorted(spelled[folded] for folded in self._names))
        if left_out:
            count = left_out.total()
            images = "1 image is" if count == 1 else f"{count:,} images are"
            listing.notes.append(f"{images} left out, of other views than {taken}: {_listed(left_out)}")
        description["views"] = sorted(spelled[folded] for folded in self._names)

    def _missing(self, name: str, spelled: dict[str, str]) -> tuple[str, str]:
        if set(spelled) == {""}:
            return f"--views {name}: no image here states its view", "leave out --views"
        close = difflib.get_close_matches(_folded(name), [folded for folded in spelled if folded], n=1, cutoff=0.5)
        guess = f"; is it {_printed(spelled[close[0]])}?" if close else ""
        return f"--views {name}: no image has this view{guess}", f"there are {_listed(self._found)}"


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())


def _printed(view: str) -> str:
    if not view:
        return "(not stated)"
    return view if _WORDS.fullmatch(view) else redact(view)


def _listed(counts: Counter[str]) -> str:
    """Views and how many images have each, the commonest first; spelled alike they are one."""
    named: Counter[str] = Counter()
    for view, count in counts.items():
        named[_printed(view)] += count
    ordered = sorted(named.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(ordered) - _LISTED} more" if len(ordered) > _LISTED else ""
    return ", ".join(f"{view} ({count:,})" for view, count in ordered[:_LISTED]) + more
