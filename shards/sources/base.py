"""What a source of samples gives to the builder: records that are cheap to list, and pictures that are loaded late."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ecamp_fast.errors import DataError
from ecamp_fast.printable import items
from ecamp_fast.shards.format.labels import Labels

LISTED_FAULTS = 20

Box = tuple[str, float, float, float, float]  # finding, x, y, width, height in pixels of its image
BOX = ("x", "y", "width", "height")  # names of its numbers in metadata


@dataclass(frozen=True, slots=True)
class RecordFault:
    """Something wrong with one row.

    origin  where: the row, as messages name it
    what    what is wrong
    hint    how to fix it
    kind    class that the row is counted in; '' where the row is at fault, not its image
    """

    origin: str
    what: str
    hint: str
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.origin}: {self.what}; {self.hint}"


@dataclass(slots=True)
class Record:
    """One image with its report, or alone where ``report`` is '', before the image is read.

    origin      where it comes from, for error messages: ``reports.csv row 12 (images/a.jpg)``
    row         its number in the source
    study_id    first half of the key
    stem        second half of the key: the image's own name within its study
    place       where the picture is: a path as the table writes it, the number of a phantom
    report      '' for an image alone
    attention   where the attention map is, or ''
    masks       where the masks are, by the name of their plane; '' names what holds planes that have no names
    boxes       those that the listing states
    patient_id  '' where unknown
    split       '' where unknown
    view        the projection; '' where unknown
    labels      classes that are stated: 1 present, 0 absent, -1 uncertain
    distilled   None where the rules are to write it
    columns     further metadata to keep
    key         name of the sample in its shard; '' until ``assign_keys`` has given it
    """

    origin: str
    row: int
    study_id: str
    stem: str
    place: str
    report: str
    attention: str = ""
    masks: dict[str, str] = field(default_factory=dict)
    boxes: tuple[Box, ...] = ()
    patient_id: str = ""
    split: str = ""
    view: str = ""
    labels: Labels = field(default_factory=dict)
    distilled: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """A loaded picture.

    image            PIL picture of mode L, perhaps decoded at a smaller scale than it is stored at
    size             width and height of the picture as it is stored, upright
    attention        PIL picture of mode L over the whole image, any size; None: no map
    masks            (H, W) uint8 or uint16 over the whole image, any size, bit i = plane i; None: no masks
    mask_names       names of the planes, from bit 0; (): they have none
    boxes            (finding, x, y, width, height) in pixels of that size
    jpeg             a file of the same pixels as the builder would write it, kept where the picture is not reduced:
                     coding it again would cost quality
    view             the projection that the image file itself states, or ''
    states_polarity  whether the file says what is bright, as DICOM does; of others the builder looks for inverted ones
    """

    image: Any
    size: tuple[int, int]
    attention: Any = None
    masks: np.ndarray | None = None
    mask_names: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    jpeg: bytes | None = None
    view: str = ""
    states_polarity: bool = False


@dataclass(slots=True)
class Listing:
    """All records of a source, and what was found on the way.

    records        in the source's own order
    faults         must be fixed
    absent         faults of images alone, which a budget may excuse
    dropped_empty  how many rows were left out because their report is empty
    notes          what a person should know
    left_out       where reports are cut into sections: what is not learned from, by heading (``Tally.left_out``)
    labels         the classes in their order, where the source states which are absent (``Manifest.labels``)
    masks          names of the planes of the masks, from bit 0
    """

    records: list[Record]
    faults: list[RecordFault] = field(default_factory=list)
    absent: list[RecordFault] = field(default_factory=list)
    dropped_empty: int = 0
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()


class Source(Protocol):
    """Lists and loads samples. Picklable: workers receive a copy and load pictures with it.

    kind         the name on the command line
    description  what the manifest says about it: no private path; complete after ``list_records``
    """

    kind: str
    description: dict[str, Any]

    def list_records(self) -> Listing:
        """All records, in the source's own order.  Raises DataError where nothing can be listed."""

    def load(self, record: Record, short_side: int) -> SourceImage:
        """Read and decode one picture.  short_side: pixels it is reduced to afterwards.  Raises BadImage."""


@runtime_checkable
class Annotating(Protocol):
    """A source whose attention maps, masks and boxes lie beside its pictures."""

    def annotate(self, loaded: SourceImage, record: Record) -> SourceImage:
        """``loaded``, of which the size alone counts, with the annotations of its record.  Raises BadImage."""


def several(count: int, one: str, many: str) -> str:
    """A count in words: 1 sample, 2,000 samples."""
    return f"{count:,} {one if count == 1 else many}"


def refuse(name: str, faults: Sequence[RecordFault]) -> DataError:
    """One error for many faults: the first twenty, and how many there are."""
    return DataError(f"{name}: {several(len(faults), 'fault', 'faults')}, nothing was written:{listed(faults)}")


def over_budget(name: str, faults: Sequence[RecordFault], rows: int, allowed: int, hint: str) -> DataError:
    """The error of more rows without a good image, of ``rows`` in all, than may be left out."""
    what = f"{len(faults):,} of {rows:,} rows left out, {allowed:,} may be: --reject-budget"
    return DataError(f"{name}: {what}{listed(faults)}", hint)


def listed(faults: Sequence[RecordFault]) -> str:
    """The first twenty faults, each on a line of its own, and how many more there are.

    A hint that faults in a row have in common is said once, behind the last of them.
    """
    lines = []
    for hint, run in groupby(faults[:LISTED_FAULTS], key=lambda fault: fault.hint):
        first, *others = run
        if not others:
            lines.append(items([first]))
            continue
        lines.append(items(f"{fault.origin}: {fault.what}" for fault in (first, *others)))
        lines.append(f"\n    these {1 + len(others)}: {hint}")
    more = len(faults) - LISTED_FAULTS
    return "".join(lines) + (items([f"and {more:,} more"]) if more > 0 else "")
