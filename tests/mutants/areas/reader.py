"""Reading a shard set: which bytes a sample has, that they are checked, and what manifest and index say of them."""

from typing import Any

from mutant import mutants


def _text(n: int) -> bytes:
    return b"x" * n


def reads() -> Any:
    """Samples of three shards of which some are damaged, lack a text or have none, and indices beyond them."""
    import hashlib
    import tempfile
    from dataclasses import replace
    from pathlib import Path

    import numpy as np

    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.format.manifest import TOKENIZER, Manifest, write_manifest
    from ecamp_fast.shards.format.tar_writer import ShardWriter
    from ecamp_fast.shards.load.read import ShardSet

    with tempfile.TemporaryDirectory() as name:
        folder, shards = Path(name), []
        for start in range(0, 9, 3):
            with ShardWriter(folder, f"train-{start}.tar", "train") as writer:
                for number in range(start, start + 3):
                    texts = {"txt": _text(number), "distilled.txt": b"", "tokens": b"t"} if number % 4 else {}
                    writer.add(f"s{number}", {"jpg": b"J" * (500 + number), "json": b"{}", **texts})
                shards.append(writer.close())
        lost = shards[1].members["tokens"]
        lost = replace(lost, size=np.where(np.arange(3) == 2, -1, lost.size))
        shards[1] = replace(shards[1], members=shards[1].members | {"tokens": lost})
        (folder / TOKENIZER).write_bytes(b"{}")
        digest = hashlib.sha256(b"{}").hexdigest()
        write_manifest(folder, Manifest("test", {}, 64, digest, 9, "", {}, {}, tuple(shards)))
        data = bytearray((folder / "train-6.tar").read_bytes())
        data[int(shards[2].members["jpg"].offset[1]) + 9] ^= 1
        (folder / "train-6.tar").write_bytes(data)
        shard_set, out = ShardSet(folder), []
        for index in range(-1, 10):
            try:
                sample = shard_set.read("train", index)
                out.append((sample.key, sample.shard, {name: len(data) for name, data in sample.items()}))
            except (DataError, IndexError) as error:
                out.append(str(error).replace(name, ""))
    return out


def fetched() -> Any:
    """What comes of a cache that has rotted: whether it is asked for again, past the cache."""
    from types import SimpleNamespace

    import numpy as np
    from zlib_ng.zlib_ng import crc32

    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.format.manifest import Members, Shard
    from ecamp_fast.shards.load.read import ShardSet

    columns = (np.array([number]) for number in (0, 2, crc32(b"ab")))
    shard, reader = Shard("x.tar", "train", 9, "", ["k"], {"jpg": Members(*columns)}), ShardSet.__new__(ShardSet)
    reader._shards, reader._ends, out = {"train": (shard,)}, {"train": [1]}, []
    for cached in (True, False):
        reader.store = SimpleNamespace(
            cached=cached, locate=str, read=lambda name, start, size, fresh=False: b"ab" if fresh else b"ax"
        )
        try:
            out.append(dict(reader.read("train", 0, ("jpg",))))
        except DataError:
            out.append("refused")
    return out


def formats() -> Any:
    """Tokens, a shard and its entry, units, an index: what goes in, what comes out, and what is refused."""
    import hashlib
    import tempfile
    from pathlib import Path

    import numpy as np

    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.format import tar_writer
    from ecamp_fast.shards.format.manifest import INDEX, MANIFEST, Manifest, Shard, read_manifest, write_manifest
    from ecamp_fast.shards.format.member_index import pack_block, unpack_block
    from ecamp_fast.shards.format.tokens import pack_tokens, unpack_tokens

    out: list[Any] = []

    def attempt(what: Any) -> None:
        try:
            out.append(what())
        except (DataError, ValueError) as error:
            out.append(type(error).__name__)

    tokens = pack_tokens(np.arange(3, dtype=np.int32), np.arange(5, dtype=np.int32))
    for content in (tokens, tokens + bytes(4), tokens[:-4], b"\2" + tokens[1:]):
        attempt(lambda: [part.tolist() for part in unpack_tokens(content)])  # noqa: B023, called at once
    with tempfile.TemporaryDirectory() as name:
        folder, large = Path(name), tar_writer.SHARD_BYTES
        tar_writer.SHARD_BYTES = 60_000
        try:
            with tar_writer.UnitWriter(folder, "val-000000", "val") as unit:
                for number, size in enumerate((100, 512, 40_000, 40_000)):
                    unit.add(f"k{number}", {"jpg": _text(size), "json": _text(number)})
                shards = unit.finish()
        finally:
            tar_writer.SHARD_BYTES = large
        for shard in shards:
            columns = shard.members["jpg"]
            out.append((shard.bytes, list(shard.keys), columns.offset.tolist(), columns.size.tolist()))
        block = pack_block(shards[0].keys, shards[0].members)
        for content in (block, block + bytes(8)):
            array = np.frombuffer(content, np.uint8)
            attempt(lambda: list(unpack_block(array, 3, shards[0].members)[0]))  # noqa: B023, called at once
        whole = Manifest("test", {}, 64, "", 0, "", {"without_text": 4}, {}, shards)
        write_manifest(folder, whole)
        attempt(lambda: (read_manifest(folder).count("val"), read_manifest(folder).without_text("val")))
        manifest, index = (folder / MANIFEST).read_bytes(), (folder / INDEX).read_bytes()
        (folder / MANIFEST).write_bytes(manifest.replace(b'"short_side":64', b'"short_side":65'))
        attempt(lambda: read_manifest(folder).short_side)
        (folder / MANIFEST).write_bytes(manifest)
        (folder / INDEX).write_bytes(index[:-1] + b"\1")
        attempt(lambda: int(read_manifest(folder).shards[-1].members["json"].crc32[-1]))
        outside = Shard("a.tar/../b.tar", "val", 0, hashlib.sha256().hexdigest(), [], {})
        write_manifest(folder, Manifest("test", {}, 64, "", 0, "", {}, {}, (outside,)))
        attempt(lambda: read_manifest(folder).shards[0].name)
    return out


READ = "tests/shards/load/test_read.py"
ALONE = "tests/shards/load/test_image_only.py"
TOKENS = "tests/shards/builder/test_build.py::test_tokens_are_the_reports_own"
WRITER = "tests/shards/format/test_tar_writer.py"
INDEX = "tests/shards/format/test_member_index.py"

MUTANTS = (
    mutants(
        "shards/load/read.py",
        " ".join(
            (
                f"{READ}::test_samples_lie_in_the_order_of_their_keys",
                f"{READ}::test_an_empty_member_is_read_as_empty",
                f"{READ}::test_indices_and_splits_that_do_not_exist",
                f"{READ}::test_a_flipped_byte_names_shard_key_member_and_offset",
                f"{ALONE}::test_a_sample_that_lost_one_of_its_texts_is_damaged",
                f"{ALONE}::test_a_sample_has_all_its_text_or_none",
            )
        ),
        reads,
        {
            "no CRC is checked": (" or crc32(member) != crc:", ":"),
            "a negative index counts from the end of its shard": ("not 0 <= index < ends[-1]", "not index < ends[-1]"),
            "the shards of a split are read backwards": (
                "self.manifest.of(split) for split",
                "self.manifest.of(split)[::-1] for split",
            ),
            "an empty member is an absent one": (
                "columns is not None and size >= 0",
                "columns is not None and size > 0",
            ),
            "a sample that lost a text may do without": (
                "not (extension in TEXT and shard.image_alone(row))",
                "extension not in TEXT",
            ),
        },
    )
    + mutants(
        "shards/load/read.py",
        "tests/shards/storage/test_store.py::test_a_cache_that_rots_is_fetched_again",
        fetched,
        {"what is damaged in the cache is read from the cache again": ("fresh=True", "fresh=False")},
    )
    + mutants(
        "shards/format/tokens.py",
        f"{READ}::test_a_sample_has_what_the_contract_says {TOKENS}",
        formats,
        {
            "report and distilled text change places": (
                "return codes[3 : 3 + codes[1]], codes[3 + codes[1] :]",
                "return codes[3 + codes[1] :], codes[3 : 3 + codes[1]]",
            ),
            "the head has the two lengths the wrong way": (
                "len(report), len(distilled)]",
                "len(distilled), len(report)]",
            ),
            "what stands behind the tokens is passed over": ("len(codes) != 3 +", "len(codes) < 3 +"),
        },
    )
    + mutants(
        "shards/format/manifest.py",
        " ".join(
            (
                f"{READ}::test_any_damage_to_the_manifest_is_noticed",
                f"{READ}::test_a_manifest_cannot_point_outside_its_folder",
                f"{ALONE}::test_a_sample_that_lost_one_of_its_texts_is_damaged",
            )
        ),
        formats,
        {
            "the manifest's own digest is not checked": (
                "if not head or hashlib.sha256(memoryview(raw)[head.end() :]).hexdigest().encode() != head[1]:",
                "if not head:",
            ),
            "a shard's name may go on behind its ending": ("_SHARD_NAME.fullmatch(", "_SHARD_NAME.match("),
        },
    )
    + mutants(
        "shards/format/manifest.py",
        f"{ALONE}::test_a_sample_that_lost_one_of_its_texts_is_damaged",
        reads,
        {
            "a sample that lost one of its texts is an image alone": (
                "return all(self.members[extension].size[row] < 0",
                "return any(self.members[extension].size[row] < 0",
            ),
        },
    )
    + mutants(
        "shards/format/member_index.py",
        f"{INDEX}::test_other_content_is_refused {INDEX}::test_what_goes_in_comes_out "
        "tests/faults/test_shards.py::test_d3_damage_to_manifest_or_tokenizer_is_fatal",
        formats,
        {
            "the index's digest is not checked": ("hashlib.sha256(mapped.data).hexdigest() != digest", "not digest"),
            "what stands behind the index is passed over": ("if cursor != len(block):", "if cursor > len(block):"),
        },
    )
    + mutants(
        "shards/format/tar_writer.py",
        " ".join(
            f"{WRITER}::{test}"
            for test in (
                "test_the_manifest_entry_is_true",
                "test_it_is_a_plain_tar_of_anonymous_regular_files_in_order",
                "test_a_unit_is_one_shard_and_more_where_it_is_large",
            )
        ),
        formats,
        {
            "a member's place is that of its header": ("self.bytes + len(header), len(data)", "self.bytes, len(data)"),
            "a member that fills its blocks gets one more": (
                "bytes(-len(data) % _BLOCK)",
                "bytes(_BLOCK - len(data) % _BLOCK)",
            ),
            "a shard ends after it has grown too large": (
                " + sum(map(len, members.values())) > SHARD_BYTES",
                " > SHARD_BYTES",
            ),
        },
    )
)
