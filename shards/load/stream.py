"""A split as a stream of verified samples in webdataset's own form, for programs that are not ours.

``wds.DataPipeline(stream(path, "train"), wds.shuffle(1000), wds.decode("l"), wds.to_tuple("jpg", "txt"))``. webdataset
reads the tar files without us too, but then notices neither a missing sample nor a changed byte.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecamp_fast.shards.load.read import ShardSet


class VerifiedStream:
    """Every sample of a split in stored order; each iteration begins anew. Picklable, so it may go to worker processes.

    A sample is a dict of ``__key__`` and ``__url__`` (str, the shard's path) and the content of each member by its
    extension (bytes): jpg, json, txt, distilled.txt and tokens (none of the three of an image alone), and attn.pgm or
    masks.png where there is one.
    """

    def __init__(self, path: str | Path, split: str) -> None:
        self._set = ShardSet(path)
        self._split = split
        self._count = self._set.count(split)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for sample in self._set.samples(self._split):
            yield {"__key__": sample.key, "__url__": self._set.locate(sample.shard), **sample}

    def __call__(self) -> Iterator[dict[str, Any]]:
        """webdataset calls the first stage of a pipeline."""
        return iter(self)


def stream(path: str | Path, split: str) -> VerifiedStream:
    """The samples of ``split`` of the shard set ``path``, every byte checked.

    Raises DataError: at once where the set does not open or lacks the split, on the way where a member is damaged.
    """
    return VerifiedStream(path, split)
