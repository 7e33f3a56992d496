"""Findings by their names alone: what a model trained with ``losses.align`` says to "There is X." and "There is no X.".

Three questions to each finding whose truth is known. Do pictures with it lie nearer to "There is X." than pictures
without (AUROC)? Is of the two sentences the true one nearer, picture by picture? A model that does not read "no" is
right in half of the cases, however well it sees. And is the patch that is most like "There is X." in a box of X?
Legend: N samples, F findings, G cells per side, D resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from ecamp_fast.downstream.data.labels import Labels, read_labels
from ecamp_fast.downstream.data.samples import TaskData
from ecamp_fast.downstream.threads import threads_for
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.scores import Estimate, auroc, draw_patients, estimate
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.packing.single_sentences import SentenceEncoder, pack_sentences
from ecamp_fast.text.statements import finding_of, prompt
from ecamp_fast.text.wordpiece import Wordpiece

BATCH = 32  # images at once
Array = np.ndarray


@dataclass(frozen=True)
class Answers:
    """What a model says to the prompts, and what is true.

    findings   F names of the set
    affirmed   (N, F) float32   similarity of "There is X."
    denied     (N, F) float32   of "There is no X."
    maps       (N, F, G, G) float32   of the patches with "There is X." less those with "There is no X."
    truth      (N, F) float32   1, 0, NaN: not known
    boxes      (N, F, G, G) bool   cells whose middle lies in a box of the finding
    patients   N names
    """

    findings: tuple[str, ...]
    affirmed: Array
    denied: Array
    maps: Array
    truth: Array
    boxes: Array
    patients: list[str]


@dataclass(frozen=True)
class PromptScores:
    """Of a finding, or means over findings; None where the set cannot tell. Intervals are over patients.

    auroc     of the difference between both sentences
    plain     of "There is X." alone
    negation  share of pictures to which the true one of the two sentences is nearer: mean of those with and without
    pointing  share of pictures with boxes whose highest cell lies in one
    chance    of ``pointing``: the share of cells that do
    """

    auroc: Estimate | None
    plain: Estimate | None
    negation: Estimate | None
    pointing: Estimate | None
    chance: Estimate | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value and value.as_dict() for name, value in found.items()}


@dataclass(frozen=True)
class SeenImages:
    """Of a finding, how many images are known to have it, to lack it, and have a box of it."""

    present: int
    absent: int
    boxed: int


@dataclass(frozen=True)
class ZeroShot:
    """mean: over findings, each alike   findings: each by itself   samples: looked at   seen: of each finding"""

    mean: PromptScores
    findings: dict[str, PromptScores]
    samples: int
    seen: dict[str, SeenImages]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        each = {name: scores.as_dict() for name, scores in self.findings.items()}
        seen = {name: asdict(counts) for name, counts in self.seen.items()}
        return {"samples": self.samples, "mean": self.mean.as_dict(), "findings": each, "seen": seen}


def score_prompts(
    model: Ecamp,
    shards: ShardSet,
    split: str,
    wordpiece: Wordpiece,
    *,
    count: int | None = None,
    nouns: Mapping[str, str] | None = None,
) -> ZeroShot:
    """Ask and judge; arguments as of ``ask``."""
    return judge(ask(model, shards, split, wordpiece, count=count, nouns=nouns))


def ask(
    model: Ecamp,
    shards: ShardSet,
    split: str,
    wordpiece: Wordpiece,
    *,
    count: int | None = None,
    nouns: Mapping[str, str] | None = None,
) -> Answers:
    """Show whole images of a split to a model, and ask for every finding that the set names.

    model      in evaluation mode
    wordpiece  the tokenizer that the model was trained with
    count      samples at most, the first; None: all
    nouns      finding -> what it is called in the prompt. Default: its name in the list of entities, or in the set
    Raises ConfigError where the model was trained without ``losses.align`` or with another tokenizer, DataError where
    the set names no finding.
    """
    if model.align is None:
        raise ConfigError("the model was trained without losses.align", "train it with --set losses.align=true")
    if wordpiece.vocab_size != model.vocab_size:
        what = f"a tokenizer of {wordpiece.vocab_size} words, the model was trained with {model.vocab_size}"
        raise ConfigError(what, "give tokenizer.json of the shard set that it was trained on")
    labels = read_labels(shards, split)
    if not labels.names:
        raise DataError(f"{shards.path}: no sample of split '{split}' has a label", "name a set with labels")
    rows = np.arange(len(labels.patients) if count is None else min(count, len(labels.patients)))
    entities = shards.manifest.entities
    called = [(nouns or {}).get(name) or finding_of(name, entities) or name.lower() for name in labels.names]
    affirmed, denied, maps, boxes = _show(model, shards, split, labels, rows, wordpiece, called)
    patients = labels.patients[: len(rows)]
    return Answers(tuple(labels.names), affirmed, denied, maps, labels.values[rows], boxes, patients)


def _show(
    model: Ecamp,
    shards: ShardSet,
    split: str,
    labels: Labels,
    rows: Array,
    wordpiece: Wordpiece,
    called: Sequence[str],
) -> tuple[Array, ...]:
    """``affirmed``, ``denied``, ``maps`` and ``boxes`` of ``Answers``.

    rows: numbers of the samples   called: F nouns, some of which may be the same
    """
    recipe, device = model.recipe, next(model.parameters()).device
    nouns = list(dict.fromkeys(called))
    columns, grid, size = [nouns.index(noun) for noun in called], recipe.grid, recipe.image.high_size
    prompts = (prompt(noun, denied) for denied in (False, True) for noun in nouns)
    sentences = pack_sentences(prompts, SentenceEncoder(wordpiece, recipe.text.max_tokens)).to(device)
    data = TaskData(shards, split, labels, rows, size=size, boxes=labels.names, device=device)
    parts = []
    with threads_for(recipe.model.vision.width, device):
        for batch in data.ordered(BATCH):
            pictures, patches = (found.float().cpu().numpy() for found in model.compare(batch.images, sentences))
            sides = pictures.reshape(len(pictures), 2, len(nouns))[:, :, columns]
            cells = patches.reshape(len(pictures), grid, grid, 2, len(nouns))[..., columns].transpose(3, 0, 4, 1, 2)
            assert batch.boxes is not None and batch.box_labels is not None  # they were asked for
            pairs = zip(batch.boxes, batch.box_labels, strict=True)
            boxes = np.stack(
                [cells_in_boxes(one.cpu().numpy(), own.tolist(), len(called), grid, size) for one, own in pairs]
            )
            parts.append((sides[:, 0], sides[:, 1], cells[0] - cells[1], boxes))
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def judge(answers: Answers) -> ZeroShot:
    """How right the answers are."""
    weights = draw_patients(answers.patients)
    found = [_judge(answers, number, weights) for number in range(len(answers.findings))]
    columns = {name: np.stack([one[name] for one in found]) for name in found[0]}
    return ZeroShot(
        mean=_scores({name: _mean_known(values) for name, values in columns.items()}),
        findings=dict(zip(answers.findings, map(_scores, found), strict=True)),
        samples=len(answers.truth),
        seen=dict(zip(answers.findings, _seen(answers), strict=True)),
    )


def _seen(answers: Answers) -> list[SeenImages]:
    columns = (answers.truth == 1, answers.truth == 0, answers.boxes.any((2, 3)))
    return [SeenImages(*map(int, counts)) for counts in zip(*(column.sum(0) for column in columns), strict=True)]


def _judge(answers: Answers, number: int, weights: Array) -> dict[str, Array]:
    """The numbers of ``PromptScores`` of a finding, (1 + D,) each, NaN where there are none."""
    truth = answers.truth[:, number]
    known = ~np.isnan(truth)
    positive, counts = truth[known] == 1, weights[:, known]
    affirmed, denied = (side[known, number] for side in (answers.affirmed, answers.denied))
    right = np.where(affirmed == denied, 0.5, (affirmed > denied) == positive)
    boxes = answers.boxes[:, number].reshape(len(truth), -1)
    boxed = boxes.any(1)
    highest = answers.maps[boxed, number].reshape(int(boxed.sum()), boxes.shape[1]).argmax(1)
    hits = boxes[boxed][np.arange(len(highest)), highest]
    return {
        "auroc": auroc((affirmed - denied)[:, None], positive[:, None], counts)[:, 0],
        "plain": auroc(affirmed[:, None], positive[:, None], counts)[:, 0],
        "negation": (_share(right[positive], counts[:, positive]) + _share(right[~positive], counts[:, ~positive])) / 2,
        "pointing": _share(hits, weights[:, boxed]),
        "chance": _share(boxes[boxed].mean(1), weights[:, boxed]),
    }


def _share(values: Array, weights: Array) -> Array:
    """Weighted mean.  values: (n,)   weights: (1 + D, n)   returns (1 + D,), NaN where nothing counts"""
    with np.errstate(invalid="ignore"):
        return np.asarray(weights @ values.astype(np.float64) / weights.sum(1))


def _mean_known(values: Array) -> Array:
    """Mean over findings that have a number at all.  values: (F, 1 + D)   returns (1 + D,)"""
    known = values[~np.isnan(values[:, 0])]
    if not len(known):
        return values[0]
    count = (~np.isnan(known)).sum(0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(known, 0) / count)


def _scores(values: Mapping[str, Array]) -> PromptScores:
    return PromptScores(**{name: None if np.isnan(one[0]) else estimate(one) for name, one in values.items()})


def cells_in_boxes(boxes: Array, findings: Sequence[int], count: int, grid: int, size: int) -> Array:
    """(F, G, G) bool: cells whose middle lies in a box.

    boxes: (n, 4) x1, y1, x2, y2 in pixels of the view   findings: n numbers   count: F   size: pixels of the view
    """
    middles = (np.arange(grid) + 0.5) * size / grid
    found = np.zeros((count, grid, grid), bool)
    for (x1, y1, x2, y2), finding in zip(boxes, findings, strict=True):
        found[finding] |= ((y1 <= middles) & (middles < y2))[:, None] & ((x1 <= middles) & (middles < x2))
    return found
