"""What a shard set holds, in numbers."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecamp_fast.shards.describe.terms import Terms
from ecamp_fast.shards.format.labels import NEGATIVE, POSITIVE, UNCERTAIN
from ecamp_fast.shards.format.manifest import ATTENTION, MASKS, METADATA, REPORT, TOKENS, Manifest
from ecamp_fast.shards.format.metadata import read_metadata
from ecamp_fast.shards.format.tokens import unpack_tokens
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.codes import INSIDE, Mark, has

MAX_TOKENS = 256  # of the recipes
_TOP = 20
VALUES = {POSITIVE: "present", NEGATIVE: "absent", UNCERTAIN: "uncertain"}
_WORD, _HEAD = 4, 3  # bytes of a code, and numbers before the codes, in `KEY.tokens`


def stats(path: str | Path, max_tokens: int = MAX_TOKENS, threshold: int | None = None) -> dict[str, Any]:
    """Counts of samples, studies, patients, views, labels, image sizes, text lengths and descriptors of a set.

    max_tokens  ``text.max_tokens`` of a recipe: how many texts it would cut, by how many tokens in all
    threshold   descriptive terms used less often are counted as others, see ``Terms.table``
    Reads text and metadata of every sample, no image.  Raises DataError as ShardSet does.
    """
    shards = ShardSet(path)
    manifest = shards.manifest
    views: Counter[str] = Counter()
    labels: Counter[tuple[str, str]] = Counter()
    marks: Counter[str] = Counter()
    terms = Terms(manifest.entities)
    shorter, longer = [], []
    for split in shards.splits:
        for sample in shards.samples(split, (REPORT, TOKENS, METADATA)):
            metadata = read_metadata(sample[METADATA], f"{shards.locate(sample.shard)}: {sample.key}")
            views[metadata["view"]] += 1
            labels.update((name, VALUES[value]) for name, value in metadata["labels"].items())
            if TOKENS in sample:
                marks.update(_marks(sample[TOKENS]))
                terms.add(metadata["study_id"], sample[REPORT].decode())
            shorter.append(min(metadata["width"], metadata["height"]))
            longer.append(max(metadata["width"], metadata["height"]))
    return {
        **manifest.counts,
        "splits": {split: shards.count(split) for split in shards.splits},
        "shards": len(manifest.shards),
        "bytes": sum(shard.bytes for shard in manifest.shards),
        "source": manifest.source,
        "vocab_size": manifest.vocab_size,
        "image": {"short_side": _range(shorter), "long_side": _range(longer)},
        "attention_maps": sum(int((sizes >= 0).sum()) for sizes in _sizes(manifest, ATTENTION)),
        "text": manifest.text,
        "truncated": _truncated(manifest, max_tokens),
        "marks": dict(marks),
        **terms.table(threshold),
        "views": dict(views.most_common(_TOP)),
        **_labels(labels, manifest),
        "quarantined": len(manifest.quarantined),
        "notes": list(manifest.notes),
    }


def _labels(counted: Counter[tuple[str, str]], manifest: Manifest) -> dict[str, Any]:
    """How often each class is present; and each value of it where a set states more, and how many samples have masks.

    counted: of (class, value)
    """
    positive = Counter({name: count for (name, value), count in counted.items() if value == "present"})
    total = manifest.counts["samples"]
    values = {}
    for name in manifest.labels:
        known = {value: counted[name, value] for value in VALUES.values()}
        values[name] = known | {"unknown": total - sum(known.values())}
    masks = {"names": list(manifest.masks), "samples": sum(int((one >= 0).sum()) for one in _sizes(manifest, MASKS))}
    return {"labels": dict(positive.most_common(_TOP)), "label_values": values, "masks": masks}


def _truncated(manifest: Manifest, max_tokens: int) -> dict[str, int]:
    """Texts longer than ``max_tokens``, [CLS] and distilled text included, and the tokens beyond; by size alone."""
    lengths = [1 + sizes[sizes >= 0] // _WORD - _HEAD for sizes in _sizes(manifest, TOKENS)]
    beyond = [length[length > max_tokens] - max_tokens for length in lengths]
    return {
        "max_tokens": max_tokens,
        "texts": sum(map(len, beyond)),
        "tokens": sum(int(excess.sum()) for excess in beyond),
    }


def _sizes(manifest: Manifest, extension: str) -> list[np.ndarray]:
    """Bytes of a member of all samples, -1 where there is none: (n,) per shard that has any."""
    return [shard.members[extension].size for shard in manifest.shards if extension in shard.members]


def _marks(data: bytes) -> dict[str, int]:
    """Words of the report that are entities and descriptors, and descriptors that are negated."""
    report, _ = unpack_tokens(data)
    word = ~has(report, INSIDE)
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
