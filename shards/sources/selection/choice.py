"""What a command line takes of a source, and adds to it, whatever the source is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecamp_fast.shards.sources.base import Listing
from ecamp_fast.shards.sources.selection.distilled import attach
from ecamp_fast.shards.sources.selection.views import ViewFilter


@dataclass(frozen=True, slots=True)
class Selection:
    """What is chosen.

    views      projections whose images are taken; (): all
    distilled  table of distilled texts by study; None: the source's own, or those that the rules write
    """

    views: tuple[str, ...] = ()
    distilled: Path | None = None

    def filter(self) -> ViewFilter:
        """The filter of one listing."""
        return ViewFilter(self.views)

    def finish(self, listing: Listing, views: ViewFilter, description: dict[str, Any]) -> None:
        """End a listing: its notes, its distilled texts, and what the manifest says of both.

        description: of the source
        Raises DataError: a view that there is not, distilled texts that cannot be taken.
        """
        views.finish(listing, description)
        if self.distilled:
            description |= attach(listing, self.distilled, description["kind"])


ALL = Selection()
