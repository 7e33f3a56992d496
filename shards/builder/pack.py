"""One record and its picture become the members of a sample; runs in the worker processes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ecamp_fast.shards.format.manifest import ATTENTION, DISTILLED, IMAGE, MASKS, METADATA, REPORT, TOKENS
from ecamp_fast.shards.format.tokens import pack_tokens
from ecamp_fast.shards.images.encode import BadImage, jpeg, looks_inverted, pgm, png, radiograph
from ecamp_fast.shards.images.planes import nearest
from ecamp_fast.shards.sources.base import BOX, Record, RecordFault, Source, SourceImage
from ecamp_fast.text.reading.annotate import Annotator, describe
from ecamp_fast.text.reading.entities import DEFAULT, EntityList
from ecamp_fast.text.reading.rules import distill
from ecamp_fast.text.wordpiece import load_wordpiece

CHUNK = 4  # samples per task: small enough to balance a small set, and to bound what waits in memory
TASKS_PER_WORKER = 3  # that may run or wait for the writer


@dataclass(frozen=True, slots=True)
class Packed:
    """A sample ready to be written.

    key       its name in the shard
    members   content by extension
    tokens    how many codes report and distilled text have; None: an image alone
    inverted  whether the picture looks inverted, where its file does not say what is bright
    """

    key: str
    members: dict[str, bytes]
    tokens: tuple[int, int] | None
    inverted: bool = False


Outcome = Packed | RecordFault | None


class Packer:
    """Packs records of one source.

    tokenizer: its file, which need not exist where no record has text; None: pictures are checked only
    entities: what reports are read for; texts that are missing are written by rule
    Raises ConfigError for a file that is no tokenizer.
    """

    def __init__(self, source: Source, short_side: int, tokenizer: Path | None, entities: EntityList = DEFAULT) -> None:
        self._source = source
        self._short_side = short_side
        self._packs = tokenizer is not None
        self._entities = entities
        known = load_wordpiece(tokenizer) if tokenizer and tokenizer.exists() else None
        self._annotator = Annotator(known, entities) if known else None

    def pack(self, record: Record) -> Packed | RecordFault | None:
        """The sample; the fault of its image; None for a good picture where nothing is to be made."""
        try:
            picture = self._source.load(record, self._short_side)
            image = radiograph(picture.image, self._short_side)
        except BadImage as bad:
            return RecordFault(record.origin, bad.what, bad.hint, bad.kind)
        if not self._packs:
            return None
        members = {
            IMAGE: picture.jpeg if picture.jpeg and image.size == picture.size else jpeg(image),
            METADATA: json.dumps(_metadata(record, picture, image), ensure_ascii=False).encode(),
        }
        tokens = None
        distilled(record, self._entities)
        if record.report:
            assert self._annotator is not None, "a build whose records have text has a tokenizer"
            codes = [self._annotator.codes(text) for text in (record.report, record.distilled or "")]
            members[REPORT] = record.report.encode()
            members[DISTILLED] = (record.distilled or "").encode()
            members[TOKENS] = pack_tokens(*codes)
            tokens = len(codes[0]), len(codes[1])
        if picture.attention is not None:
            members[ATTENTION] = stored_map(record, picture.attention, self._entities)
        if picture.masks is not None:
            members[MASKS] = png(nearest(picture.masks, image.size))
        return Packed(record.key, members, tokens, not picture.states_polarity and looks_inverted(image))


def distilled(record: Record, entities: EntityList = DEFAULT) -> Record:
    """``record`` itself, with its distilled text written by rule if it has none."""
    if record.distilled is None:
        record.distilled = distill(record.report, entities)
    return record


def stored_map(record: Record, attention: Image.Image, entities: EntityList = DEFAULT) -> bytes:
    """The attention map of a sample.  attention: as its source has it"""
    # a report without a positive entity has nothing to look at: every pixel weighs alike, as a zero map says
    positive = not record.report or any(not description.denied for description in describe(record.report, entities))
    return pgm(attention if positive else attention.point(lambda value: 0))


def stored_place(record: Record) -> str:
    """Where the picture came from, as the metadata says it: no private path."""
    return Path(record.place).name if Path(record.place).is_absolute() else record.place


def of_masks_and_boxes(picture: SourceImage, width: int) -> dict[str, Any]:
    """What the metadata of a sample says of its masks and boxes.  width: of the image that is stored"""
    tree: dict[str, Any] = {}
    if picture.masks is not None and picture.mask_names:
        tree["masks"] = list(picture.mask_names)
    if picture.boxes:
        scale = width / picture.size[0]
        tree["boxes"] = [
            {"finding": finding, **{n: round(v * scale, 2) for n, v in zip(BOX, box, strict=True)}}
            for finding, *box in picture.boxes
        ]
    return tree


def _metadata(record: Record, picture: SourceImage, image: Image.Image) -> dict[str, Any]:
    return {
        "study_id": record.study_id,
        "patient_id": record.patient_id,
        "view": record.view or picture.view,
        "labels": record.labels,
        "split": record.split,
        "row": record.row,
        "image": stored_place(record),
        "width": image.width,
        "height": image.height,
        "source_width": picture.size[0],
        "source_height": picture.size[1],
        "columns": record.columns,
        **of_masks_and_boxes(picture, image.width),
    }
