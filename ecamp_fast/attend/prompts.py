"""Findings by their names alone, asked of a GLoRIA: zero-shot AUROC, as ``downstream.zero_shot`` judges it.

Legend: N samples, F findings, G cells a side.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ecamp_fast.attend.model import Gloria
from ecamp_fast.batch import Sentences
from ecamp_fast.downstream.data.labels import read_labels
from ecamp_fast.downstream.data.samples import TaskBatch, TaskData
from ecamp_fast.downstream.threads import threads_for
from ecamp_fast.downstream.zero_shot import Answers, ZeroShot, cells_in_boxes, judge
from ecamp_fast.errors import DataError
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.packing.captions import CaptionEncoder, pack_captions
from ecamp_fast.text.statements import finding_of, prompt

BATCH = 32  # images at once
BEFORE = 3  # words of a prompt before the finding's: [CLS], "there", "is"


def score_prompts(
    model: Gloria,
    shards: ShardSet,
    split: str,
    encode: CaptionEncoder,
    *,
    count: int | None = None,
    nouns: Mapping[str, str] | None = None,
) -> ZeroShot:
    """Ask and judge; arguments as of ``ask``."""
    return judge(ask(model, shards, split, encode, count=count, nouns=nouns))


@torch.no_grad()
def ask(
    model: Gloria,
    shards: ShardSet,
    split: str,
    encode: CaptionEncoder,
    *,
    count: int | None = None,
    nouns: Mapping[str, str] | None = None,
) -> Answers:
    """Show whole images of a split to a model, and ask "There is X." and "There is no X." of every finding of the set.

    How alike an image and a prompt are is the sum of both similarities, the local and the global one, which training
    gave the same temperature. The map of a finding is that of its words in "There is X.".

    model   in evaluation mode
    encode  with the vocabulary that the model was trained with (``shards.load.captions.caption_encoder``)
    count   samples at most, the first; None: all
    nouns   finding -> what it is called in the prompt. Default: its name in the list of entities, or in the set
    Raises DataError where the set names no finding, or the vocabulary is of another size than the model's.
    """
    labels = read_labels(shards, split)
    if not labels.names:
        raise DataError(f"{shards.path}: no sample of split '{split}' has a label", "name a set with labels")
    if encode.vocabulary.size != model.text.vocab_size:
        found = f"a vocabulary of {encode.vocabulary.size} words, the model was trained with {model.text.vocab_size}"
        raise DataError(found, "give tokenizer.json of the shard set that it was trained on")
    rows = np.arange(len(labels.patients) if count is None else min(count, len(labels.patients)))
    entities = shards.manifest.entities
    called = [(nouns or {}).get(name) or finding_of(name, entities) or name.lower() for name in labels.names]
    device = next(model.parameters()).device
    size = model.recipe.image.high_size
    data = TaskData(shards, split, labels, rows, size=size, boxes=labels.names, device=device)
    asked = _Prompts(model, encode, called)
    with threads_for(model.text.width, device):
        parts = [asked.answer(batch, size) for batch in data.ordered(BATCH)]
    affirmed, denied, maps, boxes = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    patients = labels.patients[: len(rows)]
    return Answers(tuple(labels.names), affirmed, denied, maps, labels.values[rows], boxes, patients)


class _Prompts:
    """The prompts of F findings, some of which may be called alike."""

    def __init__(self, model: Gloria, encode: CaptionEncoder, called: Sequence[str]) -> None:
        device = next(model.parameters()).device
        nouns = list(dict.fromkeys(called))
        self._model, self._columns = model, [nouns.index(noun) for noun in called]
        self._affirming = pack_captions([prompt(noun, False) for noun in nouns], encode).to(device)
        self._denying = pack_captions([prompt(noun, True) for noun in nouns], encode).to(device)
        self._spans = [_noun_words(encode, noun) for noun in nouns]

    def answer(self, batch: TaskBatch, size: int) -> tuple[np.ndarray, ...]:
        """``affirmed``, ``denied``, ``maps`` and ``boxes`` of ``Answers``.  size: pixels of the view"""
        sides = [self._alike(batch.images, sentences) for sentences in (self._affirming, self._denying)]
        every = self._model.attention(batch.images, self._affirming).float()
        maps = torch.stack([every[:, n, first:last].mean(1) for n, (first, last) in enumerate(self._spans)], 1)
        maps = maps[:, self._columns]
        assert batch.boxes is not None and batch.box_labels is not None  # they were asked for
        pairs = zip(batch.boxes, batch.box_labels, strict=True)
        grid, count = maps.shape[-1], len(self._columns)
        boxes = [cells_in_boxes(one.cpu().numpy(), own.tolist(), count, grid, size) for one, own in pairs]
        return (*(one[:, self._columns].cpu().numpy() for one in sides), maps.cpu().numpy(), np.stack(boxes))

    def _alike(self, images: Tensor, sentences: Sentences) -> Tensor:
        likeness = self._model.compare(images, sentences)
        return (likeness.local + likeness.whole).float()


def _noun_words(encode: CaptionEncoder, noun: str) -> tuple[int, int]:
    """The words of a finding in its prompt, from the first to before the last; the full stop is none of them."""
    last = max(encode(prompt(noun, False)).words)
    return BEFORE, max(last, BEFORE + 1)
