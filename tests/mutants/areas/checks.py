"""Whether a set is whole: every kind of damage found and named; and its repair."""

from typing import Any

from mutant import mutants


def damages() -> Any:
    """What is found in small sets, each with one thing wrong in a content, around it, or across shards."""
    import hashlib
    import json
    import tempfile
    from collections.abc import Callable
    from dataclasses import replace
    from pathlib import Path

    from ecamp_fast.shards.check.verify import inspect
    from ecamp_fast.shards.format.manifest import Manifest, Shard, write_manifest
    from ecamp_fast.shards.format.tar_writer import ShardWriter

    def write(folder: Path, own: str, keys: tuple[str, ...], text: bool = True, **changes: Any) -> Shard:
        with ShardWriter(folder, f"{own}-{keys[0]}.tar", own) as writer:
            for key in keys:
                metadata = {"patient_id": f"p{key}", "split": own} | changes
                texts = {"txt": b"clear", "distilled.txt": b"", "tokens": b"t"} if text else {}
                writer.add(key, {"jpg": b"J" * 700, **texts, "json": json.dumps(metadata).encode()})
            return writer.close()

    def spoiled(place: Callable[[Shard], int]) -> Callable[[Path, list[Shard]], None]:
        """One byte changed, and the shard's digest with it."""

        def change(folder: Path, shards: list[Shard]) -> None:
            path = folder / shards[0].name
            data = bytearray(path.read_bytes())
            data[place(shards[0])] ^= 1
            path.write_bytes(data)
            shards[0] = replace(shards[0], sha256=hashlib.sha256(data).hexdigest())

        return change

    def moved(folder: Path, shards: list[Shard]) -> None:
        columns = shards[0].members["txt"]
        shards[0] = replace(
            shards[0], members=shards[0].members | {"txt": replace(columns, offset=columns.offset - 512)}
        )

    cases: list[Callable[[Path, list[Shard]], None]] = [
        lambda folder, shards: None,
        spoiled(lambda shard: int(shard.members["jpg"].offset[0]) + 9),
        spoiled(lambda shard: int(shard.members["jpg"].offset[1]) - 500),
        spoiled(lambda shard: int(shard.members["jpg"].offset[1]) + 705),
        spoiled(lambda shard: shard.bytes - 1),
        moved,
        lambda folder, shards: shards.append(write(folder, "test", ("b", "e"), patient_id="")),
        lambda folder, shards: shards.append(write(folder, "test", ("e", "f"), patient_id="pa")),
        lambda folder, shards: shards.append(write(folder, "test", ("e", "f"), split="val")),
        lambda folder, shards: shards.append(write(folder, "test", ("e", "f"), text=False)),
    ]
    out = []
    for case in cases:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            shards = [write(folder, "train", ("a", "b")), write(folder, "val", ("c", "d"))]
            case(folder, shards)
            manifest = Manifest("test", {}, 64, "", 0, "", {"without_text": 0}, {}, tuple(shards))
            write_manifest(folder, manifest)
            out.append([str(item) for item in inspect(folder, workers=1).damage])
    return out


def repairs() -> Any:
    """A set whose one shard is lost, and whose source has a row that was left out, or a row that has changed."""
    import tempfile
    from pathlib import Path

    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.builder.build import Options, build
    from ecamp_fast.shards.check.repair import repair
    from ecamp_fast.shards.images.limits import BadImage
    from ecamp_fast.shards.sources.phantom import PhantomSource

    class Flawed(PhantomSource):
        bad, other = (1,), 0

        def load(self, record: Any, short_side: int) -> Any:
            if record.row in self.bad:
                raise BadImage("bad")
            record.place = str(record.row + self.other)
            return super().load(record, short_side)

    with tempfile.TemporaryDirectory() as name:
        source, out = Flawed(4, 42, 64), []
        build(source, Path(name) / "set", Options(workers=1, vocab_size=200, holdout=0, reject_budget=0.5))
        shard = Path(name) / "set" / "train-000000.tar"
        whole = shard.read_bytes()
        for source.bad, source.other in (((1,), 0), ((), 0), ((), 1)):
            shard.unlink()
            try:
                out.append((repair(source, Path(name) / "set", 1).files, shard.read_bytes() == whole))
            except DataError as error:
                out.append(error.what.partition(":")[0])
                shard.write_bytes(whole)
    return out


VERIFY = "tests/shards/check/test_verify.py"
REPAIR = "tests/shards/check/test_repair.py"
ALONE = "tests/shards/load/test_image_only.py"

MUTANTS = (
    mutants(
        "shards/check/members.py",
        " ".join(
            f"{VERIFY}::{test}"
            for test in (
                "test_a_whole_set_passes",
                "test_a_flipped_byte_in_each_place",
                "test_a_patient_in_two_splits",
                "test_metadata_that_is_none_or_of_another_split",
                "test_bytes_behind_a_content_are_found_even_if_all_digests_agree",
                "test_a_member_between_samples_is_found_even_if_all_digests_agree",
            )
        ),
        damages,
        {
            "a damaged content is not named": ("if crc32(data) != columns.crc32[row]:", "if len(data) != size:"),
            "headers are not compared": ("if header != expected:", "if len(header) != len(expected):"),
            "what fills a member's last block may be anything": ("if any(padding):", "if len(padding) >= _BLOCK:"),
            "a member may lie anywhere": ("if offset != self._at + _BLOCK:", "if offset < 0:"),
            "what lies behind the last sample may be anything": ("if any(rest):", "if not rest:"),
            "patients are not remembered": ("if patient:", "if not patient:"),
            "the split in a sample's metadata is not compared": ("None if own == split else", "None if own else"),
        },
    )
    + mutants(
        "shards/check/verify.py",
        f"{VERIFY}::test_the_same_key_in_two_shards {VERIFY}::test_a_patient_in_two_splits "
        f"{ALONE}::test_a_sample_that_lost_one_of_its_texts_is_damaged",
        damages,
        {
            "a key may be in two shards": (
                "for shard in manifest.shards:\n        for key in shard.keys:",
                "for shard in manifest.shards:\n        first = {}\n        for key in shard.keys:",
            ),
            "a patient may be in two splits": (
                "split, other = first.setdefault(patient, (found.shard.split, key))",
                "split, other = found.shard.split, key",
            ),
            "texts may be lost": ("if found == recorded:", "if found >= recorded:"),
        },
    )
    + mutants(
        "shards/check/repair.py",
        f"{REPAIR}::test_rows_that_were_left_out_stay_out "
        f"{REPAIR}::test_a_changed_image_a_lost_image_and_a_changed_row_are_refused",
        repairs,
        {
            "rows that were left out come back": (" if r.origin not in left_out]", "]"),
            "a rebuilt shard of other bytes takes its place": (
                "for shard in done.shards] != before:",
                "for shard in done.shards][1:] != before[1:]:",
            ),
        },
    )
)
