"""The claims of the paper's figure on a shard set with boxes: of cross-attention, and of the stored attention maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecamp_fast.downstream.features import untrained
from ecamp_fast.downstream.visualize.boxes import boxes_in_view, findings_stated
from ecamp_fast.downstream.visualize.claims import Pair, Peaks, Pointing, compare_peaks, point
from ecamp_fast.downstream.visualize.look import encode_whole, look, map_of
from ecamp_fast.downstream.visualize.queries import Query, ReadText, entity_query, read_text, word_query
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.shards.format.manifest import REPORT
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.reading.entities import DEFAULT, EntityList, find_mentions
from ecamp_fast.text.wordpiece import Wordpiece, load_wordpiece

SENTENCE = "There is {}."  # that names a finding, the same words for every image
INITS = 2  # models with random weights


@dataclass(frozen=True)
class Claims:
    """What was measured; None where the set has nothing to measure it by.

    samples      how many images were read
    sentence     pointing game of the sentence that names the finding, the highest of all heads
    heads        the same, hits of each head by itself: which is best was not known beforehand
    own_report   pointing game of the entity's mentions in the image's own report, where it states it
    peaks        peaks of the sentence's map on healthy and ill images
    guidance     pointing game of the stored attention maps, any finding of the image
    """

    samples: int
    sentence: Pointing | None
    heads: list[float]
    own_report: Pointing | None
    peaks: Peaks | None
    guidance: Pointing | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        parts = {name: getattr(self, name) for name in ("sentence", "own_report", "peaks", "guidance")}
        plain = {name: part.as_dict() if part else None for name, part in parts.items()}
        return {"samples": self.samples, "heads": self.heads, **plain}


@dataclass(frozen=True)
class _Maps:
    """Of the images of a split, by one model.

    sentence  (N, F, H, P) of the sentence of each finding
    own       (H, P) by image and finding, of what the image's report says of it
    """

    sentence: np.ndarray
    own: dict[tuple[int, str], np.ndarray]


def measure(model: Ecamp, shards: ShardSet, split: str, count: int | None = None) -> Claims:
    """Read the first ``count`` samples of a split (None: all) and play the pointing game.

    Raises as ``Loader``, ``load_wordpiece``.
    """
    total = shards.count(split) if count is None else min(count, shards.count(split))
    about = [shards.metadata(split, index) for index in range(total)]
    patients = [str(one.get("patient_id") or one["study_id"]) for one in about]
    boxes = [boxes_in_view(one) for one in about]
    findings = sorted({finding for one in boxes for finding in one})
    if not findings:
        return Claims(total, None, [], None, None, None)
    pairs = [Pair(image, finding, one[finding]) for image, one in enumerate(boxes) for finding in one]
    device = next(model.parameters()).device
    random = [untrained(model.recipe, seed, model.vocab_size).to(device) for seed in range(INITS)]
    (maps, *others), guidance = _maps([model, *random], shards, split, findings, pairs, total)
    number = tuple(np.array([(pair.image, findings.index(pair.finding)) for pair in pairs]).T)
    per_head = maps.sentence[number]
    own = [pair for pair in pairs if (pair.image, pair.finding) in maps.own]
    healthy = np.array([not findings_stated(one) for one in about])
    ill = np.zeros((total, len(findings)), bool)
    ill[number] = True
    return Claims(
        samples=total,
        sentence=point(pairs, per_head.max(1), patients, [one.sentence[number].max(1) for one in others]),
        heads=[point(pairs, per_head[:, head], patients).hit.value for head in range(per_head.shape[1])],
        own_report=point(own, _own_maps(maps, own), patients, [_own_maps(o, own) for o in others]) if own else None,
        peaks=compare_peaks(_peaks(maps), [_peaks(one) for one in others], ill, healthy, findings, patients)
        if healthy.any()
        else None,
        guidance=_guidance(guidance, boxes, patients),
    )


def _own_maps(maps: _Maps, pairs: Sequence[Pair]) -> np.ndarray:
    """(E, P), the highest of all heads."""
    return np.array([maps.own[pair.image, pair.finding].max(0) for pair in pairs])


def _peaks(maps: _Maps) -> np.ndarray:
    """(N, F), as multiples of a flat map."""
    return np.asarray(maps.sentence.max((2, 3)) * maps.sentence.shape[-1])


def sentence_query(
    finding: str, wordpiece: Wordpiece, max_tokens: int, entities: EntityList = DEFAULT
) -> tuple[ReadText, Query]:
    """The sentence that names a finding, and its rows: of the entity where its name has one, else of all its words."""
    read = read_text(SENTENCE.format(finding.replace("_", " ").lower()), wordpiece, max_tokens, entities)
    entity = entity_name(finding, entities)
    query = entity_query(read, entity) if entity else word_query(read, finding.replace("_", " "))
    assert query is not None, "the sentence has the words it is made of"
    return read, query


def entity_name(finding: str, entities: EntityList = DEFAULT) -> str | None:
    """The entity that a set's name for a finding has in it: "Pleural Effusion" is of ``effusion``."""
    mentions = find_mentions(finding.replace("_", " "), entities)
    return mentions[0].entity if mentions else None


def _maps(
    models: Sequence[Ecamp], shards: ShardSet, split: str, findings: Sequence[str], pairs: Sequence[Pair], total: int
) -> tuple[list[_Maps], np.ndarray]:
    """Of each model, images read once; and the stored maps over the view, (N, 28, 28)."""
    wordpiece, recipe = load_wordpiece(shards.wordpiece_path), models[0].recipe
    text = wordpiece, recipe.text.max_tokens, shards.manifest.entities
    sentences = [sentence_query(finding, *text) for finding in findings]
    wanted: dict[int, list[str]] = {}
    for pair in pairs:
        wanted.setdefault(pair.image, []).append(pair.finding)
    grids: list[list[np.ndarray]] = [[] for _ in models]
    own: list[dict[tuple[int, str], np.ndarray]] = [{} for _ in models]
    stored: list[Tensor] = []
    device = next(models[0].parameters()).device
    for batch in Loader(shards, split, recipe, device=device, train=False).evaluation(total):
        stored.append(batch.attention.cpu())
        numbers = batch.samples.tolist()
        reports = {n: shards.read(split, n, (REPORT,)).get(REPORT, b"").decode() for n in numbers if n in wanted}
        reads = {n: read_text(report, *text) for n, report in reports.items()}
        for model, grid, mine in zip(models, grids, own, strict=True):
            for latent, image in zip(encode_whole(model, batch.image), numbers, strict=True):
                found = look(model, latent, [read.ids for read, _ in sentences])
                of = [map_of(one, query) for one, (_, query) in zip(found, sentences, strict=True)]
                grid.append(torch.stack(of).numpy())
                for finding, one in _own(model, latent, reads[image], wanted[image]).items() if image in reads else ():
                    mine[image, finding] = one
    return [_Maps(np.stack(grid), mine) for grid, mine in zip(grids, own, strict=True)], torch.cat(stored).numpy()


def _own(model: Ecamp, latent: Tensor, read: ReadText, findings: Sequence[str]) -> dict[str, np.ndarray]:
    """By finding (H, P), of those that the report states."""
    names = {finding: entity_name(finding, read.entities) for finding in findings}
    queries = {finding: entity_query(read, entity) for finding, entity in names.items() if entity}
    stated = {finding: query for finding, query in queries.items() if query and not query.denied}
    if not stated:
        return {}
    (found,) = look(model, latent, [read.ids])
    return {finding: map_of(found, query).numpy() for finding, query in stated.items()}


def _guidance(maps: np.ndarray, boxes: Sequence[dict[str, np.ndarray]], patients: Sequence[str]) -> Pointing | None:
    """Of the images that have both a stored map and boxes, whatever the finding."""
    both = [image for image, one in enumerate(boxes) if one and maps[image].any()]
    if not both:
        return None
    pairs = [Pair(image, "any finding", np.concatenate(list(boxes[image].values()))) for image in both]
    return point(pairs, maps[both].reshape(len(both), -1), patients)
