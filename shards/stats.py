"""What a shard set holds, in numbers."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecamp_fast.shards.format import ATTENTION, METADATA, TOKENS
from ecamp_fast.shards.pack import unpack_tokens
from ecamp_fast.shards.read import ShardSet
from ecamp_fast.text.codes import Mark, has

_TOP = 20


def stats(path: str | Path) -> dict[str, Any]:
    """Counts of samples, studies, patients, views, labels, image sizes, text lengths and descriptors of a set.

    Reads tokens and metadata of every sample, no image.  Raises DataError as ShardSet does.
    """
    shards = ShardSet(path)
    manifest = shards.manifest
    views: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    marks: Counter[str] = Counter()
    shorter, longer = [], []
    for split in shards.splits:
        for index in range(shards.count(split)):
            sample = shards.read(split, index, (TOKENS, METADATA))
            metadata = json.loads(sample[METADATA])
            views[metadata["view"]] += 1
            labels.update(metadata["labels"])
            marks.update(_marks(sample[TOKENS]))
            shorter.append(min(metadata["width"], metadata["height"]))
            longer.append(max(metadata["width"], metadata["height"]))
    members = [columns.size for shard in manifest.shards for ext, columns in shard.members.items() if ext == ATTENTION]
    return {
        **manifest.counts,
        "splits": {split: shards.count(split) for split in shards.splits},
        "shards": len(manifest.shards),
        "bytes": sum(shard.bytes for shard in manifest.shards),
        "source": manifest.source,
        "vocab_size": manifest.vocab_size,
        "image": {"short_side": _range(shorter), "long_side": _range(longer)},
        "attention_maps": int(sum((sizes >= 0).sum() for sizes in members)),
        "text": manifest.text,
        "marks": dict(marks),
        "views": dict(views.most_common(_TOP)),
        "labels": dict(labels.most_common(_TOP)),
        "quarantined": len(manifest.quarantined),
        "notes": list(manifest.notes),
    }


def _marks(data: bytes) -> dict[str, int]:
    """Words of the report that are entities and descriptors, and descriptors that are negated."""
    report, _ = unpack_tokens(data)
    word = ~has(report, Mark.CONTINUATION)
    descriptor = word & has(report, Mark.DESCRIPTOR)
    negative = descriptor & (has(report, Mark.NEGATIVE_LEXICON) | has(report, Mark.NEGATIVE_PHRASE))
    return {
        "words": int(word.sum()),
        "entity_words": int((word & has(report, Mark.ENTITY)).sum()),
        "descriptor_words": int(descriptor.sum()),
        "negative_descriptor_words": int(negative.sum()),
    }


def _range(values: Sequence[int]) -> dict[str, int]:
    return {"min": min(values), "median": int(np.median(values)), "max": max(values)}
