"""Samples that are drawn: phantom radiographs with their reports, labels, boxes, masks and attention maps."""

from typing import Any

import numpy as np
from PIL import Image

from ecamp_fast.phantom import FINDINGS, phantom
from ecamp_fast.shards.source import Listing, Picture, Record

_SKETCH = 32  # pixels: what a phantom says does not depend on the size it is drawn at


class PhantomSource:
    """Phantoms 0 to ``studies`` - 1 of a seed, one image of ``size`` x ``size`` pixels each."""

    kind = "phantom"

    def __init__(self, studies: int, seed: int, size: int = 512) -> None:
        self.seed = seed
        self.size = size
        self.studies = studies
        self.description: dict[str, Any] = {"kind": self.kind, "studies": studies, "seed": seed, "size": size}

    def survey(self) -> Listing:
        """A record for every phantom."""
        return Listing([self._record(index) for index in range(self.studies)])

    def load(self, record: Record) -> Picture:
        """Draw a phantom."""
        drawn = phantom(self.seed, int(record.place), self.size)
        kind = np.uint8 if len(FINDINGS) <= 8 else np.uint16
        masks = np.zeros(drawn.image.shape, kind)
        for bit, finding in enumerate(FINDINGS):
            if finding in drawn.masks:
                masks |= drawn.masks[finding].astype(kind) << kind(bit)
        return Picture(
            Image.fromarray(drawn.image),
            attention=Image.fromarray(drawn.attention),
            masks=masks,
            boxes=tuple((finding, *map(int, box)) for finding, *box in drawn.boxes),
        )

    def _record(self, index: int) -> Record:
        sketch = phantom(self.seed, index, _SKETCH)
        return Record(
            origin=f"phantom {index}",
            row=index,
            study_id=f"phantom{index:06d}",
            stem="1",
            place=str(index),
            report=sketch.report,
            patient_id=sketch.patient_id,
            view=sketch.view,
            labels=tuple(sketch.labels),
        )
