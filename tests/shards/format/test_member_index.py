"""The index gives back what was put in, refuses anything else, and holds a million samples."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecamp_fast.shards.format.member_index import Keys, Members, pack_block, unpack_block

KEYS = st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True), max_size=12)
EXTENSIONS = ("jpg", "distilled.txt", "json")


def members(count: int, seed: int) -> dict[str, Members]:
    draw = np.random.default_rng(seed)
    return {
        extension: Members(
            draw.integers(-1, 2**40, count), draw.integers(-1, 2**31 - 1, count), draw.integers(0, 2**32, count)
        )
        for extension in EXTENSIONS
    }


def as_block(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


@given(KEYS, st.integers(0, 99))
def test_what_goes_in_comes_out(keys: list[str], seed: int) -> None:
    columns = members(len(keys), seed)
    found, back = unpack_block(as_block(pack_block(keys, columns)), len(keys), EXTENSIONS)
    assert found == keys and list(found) == keys and [found[row] for row in range(len(keys))] == keys
    for extension in EXTENSIONS:
        for name in Members.__dataclass_fields__:
            assert getattr(back[extension], name).tolist() == getattr(columns[extension], name).tolist()


def test_keys_are_a_sequence() -> None:
    keys = Keys(np.array([0, 1, 3]), as_block(b"abc"))
    assert keys[-1] == "bc" and keys[:1] == ["a"] and "bc" in keys and keys.index("bc") == 1 and keys == ("a", "bc")
    with pytest.raises(IndexError):
        keys[2]


@settings(max_examples=60)
@given(st.data())
def test_other_content_is_refused(data: st.DataObject) -> None:
    """Another length, another number of samples, keys that are no names."""
    keys = ["one", "two", "three"]
    block = pack_block(keys, members(3, 0))
    cut = data.draw(st.integers(1, len(block)))
    for content, count in ((block[:-cut], 3), (block + b"\0" * 8, 3), (block, 2), (block, 9)):
        with pytest.raises(ValueError):
            unpack_block(as_block(content), count, EXTENSIONS)
    with pytest.raises(ValueError, match="other characters"):
        unpack_block(as_block(pack_block(["one", "../two", "three"], members(3, 0))), 3, EXTENSIONS)


def test_a_member_that_does_not_fit_is_refused() -> None:
    big = {"jpg": Members(np.array([0]), np.array([2**31]), np.array([0]))}
    with pytest.raises(ValueError, match="2,147,483,648 bytes"):
        pack_block(["one"], big)


MILLION = """
    import sys, time
    import numpy as np
    from pathlib import Path
    from ecamp_fast.shards.format.manifest import EXTENSIONS, TOKENIZER, Manifest, Shard, write_manifest
    from ecamp_fast.shards.format.member_index import Members
    folder = Path(sys.argv[1])
    columns = {e: Members(np.arange(1000) * 70_000, np.full(1000, 60_000), np.arange(1000)) for e in EXTENSIONS}
    keys = lambda n: [f"s{50_000_000 + n * 1000 + i}-{i:08x}" for i in range(1000)]
    shards = [Shard(f"train-{n:05d}.tar", "train", 70_000_000, "0" * 64, keys(n), columns) for n in range(1000)]
    for shard in shards:
        with open(folder / shard.name, "wb") as file:
            file.write(b"a header")
            file.truncate(shard.bytes)  # nothing else of it is stored, or read
    (folder / TOKENIZER).write_bytes(b"{}")
    import hashlib
    digest = hashlib.sha256(b"{}").hexdigest()
    write_manifest(folder, Manifest("test", {}, 1024, digest, 300, "", {}, {}, tuple(shards)))
"""
OPEN = """
    import re, sys, time
    from pathlib import Path
    from ecamp_fast.config import load_recipe
    from ecamp_fast.shards.load.batching import MicroBatches
    from ecamp_fast.shards.load.read import ShardSet
    began = time.perf_counter()
    shards = ShardSet(Path(sys.argv[1]))
    opened = time.perf_counter() - began
    micro_batches = MicroBatches(shards, "train", load_recipe("paper"))
    began = time.perf_counter()
    _, samples = micro_batches(12_345)
    names = [shards.key("train", int(sample)) for sample in samples[7]]
    sought = time.perf_counter() - began
    status = Path("/proc/self/status").read_text()  # getrusage also tells of the process that started this one
    resident = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024
    print(opened, sought, resident, shards.count("train"), len(set(names)))
"""


@pytest.mark.slow
def test_a_million_samples(tmp_path: Path) -> None:
    """Opened in under a second, under 300 MB, any step sought in under 50 ms."""
    for script in (MILLION, OPEN):
        command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
    opened, sought, resident, count, names = map(float, ran.stdout.split())
    assert (count, names) == (1_000_000, 256)
    assert opened < 1 and sought < 0.05 and resident < 300, (opened, sought, resident)
