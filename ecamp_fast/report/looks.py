"""Maps of cross-attention over the images of samples: chosen, computed, drawn.

Legend: S pixels per side of the image, H heads, N places of a map, G per side.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ecamp_fast.downstream.visualize.boxes import boxes_in_view
from ecamp_fast.downstream.visualize.look import encode_whole, look, map_of
from ecamp_fast.downstream.visualize.overlays import paper_overlay
from ecamp_fast.downstream.visualize.queries import Query, ReadText, entities_of, entity_query, read_text, word_query
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.report.build import evaluation_batches
from ecamp_fast.report.pictures import glow
from ecamp_fast.shards.format.manifest import REPORT
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.wordpiece import Wordpiece

SEARCHED = 256  # samples, at most, among which those to draw are sought
ENTITIES = 4  # drawn of a text where nothing is asked for
BOX = (255, 210, 60)
Overlay = Callable[[np.ndarray, np.ndarray], np.ndarray]
STYLES: dict[str, Overlay] = {"paper": paper_overlay, "plain": glow}


@dataclass(frozen=True)
class Asked:
    """What to look for.  words, entities: by name; neither: the first entities of each text   text: None: the report"""

    words: Sequence[str] = ()
    entities: Sequence[str] = ()
    text: str | None = None

    def queries(self, read: ReadText) -> list[Query]:
        """Those that the text has, words first."""
        entities = self.entities
        if not self.words and not entities:
            entities = entities_of(read.text, read.entities)[:ENTITIES]
        found = [word_query(read, word) for word in self.words] + [entity_query(read, one) for one in entities]
        return [query for query in found if query is not None]


@dataclass(frozen=True)
class Looked:
    """One sample.

    key       its name
    image     (S, S) uint8   the model's view of it
    text      that was read
    maps      by query (H, N) floating
    boxes     (n, 4) by finding, 0 to 1
    guidance  (28, 28) floating, the stored attention map over the view; None: none
    """

    key: str
    image: np.ndarray
    text: str
    maps: list[tuple[Query, np.ndarray]]
    boxes: dict[str, np.ndarray] = field(default_factory=dict)
    guidance: np.ndarray | None = None


def look_at(model: Ecamp, image: Tensor, key: str, read: ReadText, asked: Asked) -> Looked | None:
    """The maps of one image; None where the text has nothing of what is asked for.  image: (1, 1, S, S) uint8"""
    queries = asked.queries(read)
    if not queries:
        return None
    (probabilities,) = look(model, encode_whole(model, image)[0], [read.ids])
    maps = [(query, map_of(probabilities, query).numpy()) for query in queries]
    return Looked(key, image[0, 0].cpu().numpy(), read.text, maps)


def looks_of(
    model: Ecamp, shards: ShardSet, split: str, wordpiece: Wordpiece, asked: Asked, count: int
) -> list[Looked]:
    """The first samples of ``count`` patients that have what is asked for; those with boxes come first."""
    found: list[Looked] = []
    with_boxes = 0
    for one in _candidates(model, shards, split, wordpiece, asked):
        found.append(one)
        with_boxes += bool(one.boxes)
        if with_boxes >= count:
            break
    return sorted(found, key=lambda one: not one.boxes)[:count]


def _candidates(model: Ecamp, shards: ShardSet, split: str, wordpiece: Wordpiece, asked: Asked) -> Iterator[Looked]:
    """One of each patient, as the split has them."""
    seen: set[str] = set()
    for batch in evaluation_batches(model, shards, split, model.recipe, SEARCHED):
        for row, sample in enumerate(batch.samples.tolist()):
            about = shards.metadata(split, sample)
            patient = str(about.get("patient_id") or about["study_id"])
            if patient in seen:
                continue
            text = asked.text or shards.read(split, sample, (REPORT,)).get(REPORT, b"").decode()
            read = read_text(text, wordpiece, model.recipe.text.max_tokens, shards.manifest.entities)
            looked = look_at(model, batch.image[row : row + 1], shards.key(split, sample), read, asked)
            if looked is None:
                continue
            seen.add(patient)
            guidance = batch.attention[row].float().cpu().numpy()
            yield Looked(
                looked.key, looked.image, text, looked.maps, boxes_in_view(about), guidance if guidance.any() else None
            )


def draw_map(one: Looked, values: np.ndarray, style: str) -> np.ndarray:
    """A map over the image.  values: (N,)   style: of ``STYLES``   returns (S, S, 3) uint8"""
    grid = int(len(values) ** 0.5)
    return STYLES[style](one.image, values.reshape(grid, grid))


def draw_boxes(one: Looked, over: np.ndarray) -> np.ndarray:
    """The sample's boxes, as lines over a picture.  over: (S, S) or (S, S, 3) uint8   returns (S, S, 3) uint8"""
    picture = Image.fromarray(over).convert("RGB")
    pen, side = ImageDraw.Draw(picture), over.shape[0]
    for boxes in one.boxes.values():
        for box in boxes:
            pen.rectangle([float(edge) * (side - 1) for edge in box], outline=BOX, width=2)
    return np.asarray(picture)
