"""Samples that are drawn: phantom radiographs with their reports, labels, boxes, masks and attention maps."""

from typing import Any

import numpy as np
from PIL import Image

from ecamp_fast.phantom import FINDINGS, describe, phantom
from ecamp_fast.shards.images.planes import stack
from ecamp_fast.shards.sources.base import Listing, Record, SourceImage
from ecamp_fast.shards.sources.selection.choice import ALL, Selection


class PhantomSource:
    """Phantoms 0 to ``studies`` - 1 of a seed, one image of ``size`` x ``size`` pixels each."""

    kind = "phantom"

    def __init__(self, studies: int, seed: int, size: int = 512, *, selection: Selection = ALL) -> None:
        self.seed = seed
        self.size = size
        self.studies = studies
        self.selection = selection
        self.description: dict[str, Any] = {"kind": self.kind, "studies": studies, "seed": seed, "size": size}

    def list_records(self) -> Listing:
        """A record for every phantom of a view that is taken."""
        views = self.selection.filter()
        records = [self._record(index) for index in range(self.studies)]
        taken = [record for record in records if views.takes(record.view)]
        listing = Listing(taken, labels=FINDINGS, masks=FINDINGS)
        self.selection.finish(listing, views, self.description)
        return listing

    def load(self, record: Record, short_side: int) -> SourceImage:
        """Draw a phantom."""
        drawn = phantom(self.seed, int(record.place), self.size)
        absent = np.zeros(drawn.image.shape, bool)
        return SourceImage(
            Image.fromarray(drawn.image),
            drawn.image.shape[::-1],
            attention=Image.fromarray(drawn.attention),
            masks=stack([drawn.masks.get(finding, absent) for finding in FINDINGS]),
            mask_names=FINDINGS,
            boxes=tuple(drawn.boxes),
            states_polarity=True,
        )

    def _record(self, index: int) -> Record:
        description = describe(self.seed, index)
        return Record(
            origin=f"phantom {index}",
            row=index,
            study_id=f"phantom{index:06d}",
            stem="1",
            place=str(index),
            report=description.report,
            patient_id=description.patient_id,
            view=description.view,
            labels={finding: int(finding in description.labels) for finding in FINDINGS},
        )
