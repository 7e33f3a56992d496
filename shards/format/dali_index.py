"""DALI's index of a shard (``NAME.idx`` as its wds2idx writes it), which goes stale when the shard is written again."""

from collections.abc import Iterator
from pathlib import Path

from ecamp_fast.shards.format.manifest import Shard


def index_fault(path: Path, shard: Shard) -> str | None:
    """What is wrong with the index ``path`` of a shard; None if it points to exactly the shard's members.

    A stale index makes DALI decode bytes from the middle of something else.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        head, *samples = [line.split() for line in lines if line.strip()]
        version, count = head[0], int(head[1])
        indexed = [set(_members(sample, version)) for sample in samples]
    except (OSError, ValueError, IndexError) as error:
        return f"not an index for DALI: {type(error).__name__}"
    expected = [_expected(shard, row) for row in range(len(shard.keys))]
    if count != len(expected) or len(indexed) != len(expected):
        return f"stale: it lists {len(indexed)} samples, the shard holds {len(expected)}"
    for key, ours, theirs in zip(shard.keys, expected, indexed, strict=True):
        wrong = sorted(theirs - ours)
        if wrong:
            extension, offset, _ = wrong[0]
            return (
                f"stale: no {extension} of sample {key} lies at byte {offset}; remove the file or index the shard again"
            )
    return None


def _members(words: list[str], version: str) -> Iterator[tuple[str, int, int]]:
    """Extension, offset and size of the members of a line; version 1.2 also has each member's name."""
    step = {"v1.1": 3, "v1.2": 4}[version] if version in ("v1.1", "v1.2") else 0
    if not step or len(words) % step:
        raise ValueError(version)
    for start in range(0, len(words), step):
        yield words[start], int(words[start + 1]), int(words[start + 2])


def _expected(shard: Shard, row: int) -> set[tuple[str, int, int]]:
    return {
        (extension, int(columns.offset[row]), int(columns.size[row]))
        for extension, columns in shard.members.items()
        if columns.size[row] >= 0
    }
