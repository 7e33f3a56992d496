"""Texts and maps put into a finished set: the set that a build with them would have made, byte for byte."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ecamp_fast.commands.shard import command
from ecamp_fast.config import parse_recipe
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder import put as module
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.builder.put import put
from ecamp_fast.shards.check.repair import repair
from ecamp_fast.shards.check.verify import verify
from ecamp_fast.shards.format.manifest import ATTENTION, DISTILLED, IMAGE, METADATA, REPORT, TOKENS
from ecamp_fast.shards.format.tokens import unpack_tokens
from ecamp_fast.shards.images.encode import pgm
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.base import SourceImage
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.phantom import PhantomSource
from ecamp_fast.text.codes import Mark, has
from ecamp_fast.text.reading.annotate import describe
from ecamp_fast.text.reading.entities import Entity, EntityList

STUDIES = 10
SMALL = {"workers": 1, "shard_size": 4, "vocab_size": 300}


class Told(PhantomSource):
    """Phantoms with distilled texts and maps of somebody else."""

    def list_records(self):
        listing = super().list_records()
        for record in listing.records:
            record.distilled = text_of(f"{record.study_id}_1")
        return listing

    def load(self, record, short_side):
        loaded = super().load(record, short_side)
        return SourceImage(
            loaded.image,
            loaded.size,
            attention=picture_of(f"{record.study_id}_1"),
            masks=loaded.masks,
            mask_names=loaded.mask_names,
            boxes=loaded.boxes,
            states_polarity=True,
        )


def text_of(key):
    number = int(hashlib.sha256(key.encode()).hexdigest(), 16) % 3
    return ("", "There is a small effusion.", "There is no edema. There may be pneumonia.")[number]


def picture_of(key):
    seed = int(hashlib.sha256(key.encode()).hexdigest(), 16) % 2**32
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 14), dtype=np.uint8))


def digests(folder, but=()):
    files = sorted(path for path in folder.iterdir() if path.name not in but)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def samples(folder):
    shards = ShardSet(folder)
    return {sample.key: sample for split in shards.splits for sample in shards.samples(split)}


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    out = tmp_path_factory.mktemp("put") / "set"
    build(PhantomSource(STUDIES, 42, 64), out, Options(**SMALL))
    return out


@pytest.fixture(scope="module")
def texts(before):
    return {key: text_of(key) for key in samples(before)}


@pytest.fixture(scope="module")
def maps(before, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    for key in samples(before):
        (folder / f"{key}.pgm").write_bytes(pgm(picture_of(key)))
    return folder


@pytest.fixture(scope="module")
def after(before, texts, maps, tmp_path_factory):
    out = tmp_path_factory.mktemp("done") / "set"
    put(before, out, texts, maps, workers=1, origin={"distilled": "journal"})
    return out


def test_the_shards_are_those_of_a_build_with_these_texts_and_maps(before, after, tmp_path):
    build(Told(STUDIES, 42, 64), tmp_path / "built", Options(**SMALL, tokenizer=before / "tokenizer.json"))
    own = ("MANIFEST.json",)
    assert digests(after, own) == digests(tmp_path / "built", own) != digests(before, own)
    built, ours = (ShardSet(folder).manifest for folder in (tmp_path / "built", after))
    assert (ours.text, ours.counts, ours.labels, ours.masks) == (built.text, built.counts, built.labels, built.masks)
    verify(after)


def test_all_but_texts_tokens_and_maps_is_byte_for_byte(before, after, texts):
    old, new = samples(before), samples(after)
    assert list(old) == list(new)
    for key, sample in new.items():
        assert all(sample[name] == old[key][name] for name in (IMAGE, METADATA, REPORT, "masks.png"))
        assert sample[DISTILLED].decode() == texts[key]
        assert sample.keys() == old[key].keys()


def test_the_set_is_only_read_and_the_manifest_says_where_things_came_from(before, after, texts):
    old, new = ShardSet(before).manifest, ShardSet(after).manifest
    (entry,) = new.source["put"]
    told = hashlib.sha256("".join(f"{key}\0{texts[key]}\0" for key in sorted(texts)).encode()).hexdigest()
    assert entry["set"] == old.digest != new.digest
    assert (entry["texts"], entry["maps"], entry["texts_digest"]) == (STUDIES, STUDIES, told)
    assert entry["distilled"] == "journal" and len(entry["maps_digest"]) == 64
    assert {name: value for name, value in new.source.items() if name != "put"} == old.source
    assert new.notes[-1] == "put into a finished set: 10 distilled texts and 10 attention maps"


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers(before, after, texts, maps, tmp_path, workers):
    was = digests(before)
    put(before, tmp_path / "set", texts, maps, workers=workers, origin={"distilled": "journal"})
    assert digests(tmp_path / "set") == digests(after) and os.listdir(tmp_path) == ["set"]
    assert digests(before) == was


def test_what_a_set_has_put_into_it_changes_no_shard(before, tmp_path):
    own = {key: sample[DISTILLED].decode() for key, sample in samples(before).items()}
    folder = tmp_path / "maps"
    folder.mkdir()
    for key, sample in samples(before).items():
        (folder / f"{key}.pgm").write_bytes(sample[ATTENTION])
    put(before, tmp_path / "set", own, folder, workers=1)
    assert digests(tmp_path / "set", ("MANIFEST.json",)) == digests(before, ("MANIFEST.json",))


def test_texts_alone_and_maps_alone(before, after, texts, maps, tmp_path):
    put(before, tmp_path / "texts", texts, workers=1)
    put(before, tmp_path / "maps", maps=maps, workers=1)
    old, both = samples(before), samples(after)
    for key, sample in samples(tmp_path / "texts").items():
        assert (sample[TOKENS], sample[ATTENTION]) == (both[key][TOKENS], old[key][ATTENTION])
    for key, sample in samples(tmp_path / "maps").items():
        assert (sample[TOKENS], sample[DISTILLED]) == (old[key][TOKENS], old[key][DISTILLED])
        assert sample[ATTENTION] == both[key][ATTENTION]
    put(tmp_path / "texts", tmp_path / "twice", maps=maps, workers=1)
    assert digests(tmp_path / "twice", ("MANIFEST.json",)) == digests(after, ("MANIFEST.json",))
    first, second = ShardSet(tmp_path / "twice").manifest.source["put"]
    assert "maps" not in first and "texts" not in second
    assert second["set"] == ShardSet(tmp_path / "texts").manifest.digest


def test_maps_alone_leave_the_rules_that_read_the_set(before, maps, tmp_path, monkeypatch, texts):
    monkeypatch.setattr(module, "RULES_DIGEST", "others")
    put(before, tmp_path / "maps", maps=maps, workers=1)
    put(before, tmp_path / "texts", texts, workers=1)
    was = ShardSet(before).manifest.rules_digest
    assert ShardSet(tmp_path / "maps").manifest.rules_digest == was != "others"
    assert ShardSet(tmp_path / "texts").manifest.rules_digest == "others"


def test_a_report_that_states_nothing_needs_no_map_and_has_an_empty_one(table, tmp_path):
    reports = ["No effusion. No pneumothorax.", "Small left effusion.", "No edema.", "Large mass."]
    build(CsvSource(table([{"report": text} for text in reports])), tmp_path / "set", Options(workers=1, holdout=0))
    keys = sorted(samples(tmp_path / "set"))
    (tmp_path / "maps").mkdir()
    for key in keys[:2]:
        (tmp_path / "maps" / f"{key}.pgm").write_bytes(pgm(picture_of(key)))
    with pytest.raises(DataError, match=r"1 faults \(1 no map\) in a set of 4 samples, 0 may be(?s:.*)s3_s3"):
        put(tmp_path / "set", tmp_path / "out", maps=tmp_path / "maps", workers=1)
    report = put(tmp_path / "set", tmp_path / "out", maps=tmp_path / "maps", workers=1, reject_budget=0.25)
    found = samples(tmp_path / "out")
    assert report.resumed == 4 and report.faults == {"no map": 1} and report.maps == 2
    assert [ATTENTION in found[key] for key in keys] == [True, True, False, False]
    assert found[keys[1]][ATTENTION] == pgm(picture_of(keys[1]))
    assert found[keys[0]][ATTENTION] == b"P5\n14 9\n255\n" + bytes(14 * 9)


def test_what_does_not_belong_is_counted_and_named_and_the_budget_holds(before, texts, maps, tmp_path, capsys):
    first, second, *_ = texts
    some = {key: text for key, text in texts.items() if key != first} | {"nobody_1": "There is edema."}
    folder = tmp_path / "maps"
    folder.mkdir()
    for path in maps.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / f"{second}.pgm").write_bytes(b"P5\n14 9\n255\n" + bytes(20))
    (folder / "stranger_1.pgm").write_bytes(b"")
    (folder / "README.txt").write_text("of others")
    with pytest.raises(DataError) as error:
        put(before, tmp_path / "out", some, folder, workers=1, reject_budget=0.2)
    what = str(error.value)
    assert "3 faults (1 unknown text, 1 no text, 1 unknown map) in a set of 10 samples, 2 may be" in what
    assert all(name in what for name in ("nobody_1", "stranger_1", first)) and "edema" not in what
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.building").exists()
    with pytest.raises(DataError, match=r"4 faults .* 1 damaged map"):
        put(before, tmp_path / "out", some, folder, workers=1, reject_budget=0.3)
    said = []
    report = put(before, tmp_path / "out", some, folder, workers=1, reject_budget=0.4, say=said.append)
    assert report.faults == {"unknown text": 1, "no text": 1, "unknown map": 1, "damaged map": 1}
    old, new = samples(before), samples(tmp_path / "out")
    assert new[first][DISTILLED] == old[first][DISTILLED] and new[second][ATTENTION] == old[second][ATTENTION]
    assert f"1 with damaged map: {second}" in report.manifest.notes and said[0].startswith("going on: 10 samples")
    verify(tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "no binary PGM"),
        (b"P2\n1 1\n255\n7\n", "no binary PGM"),
        (b"P5\n2 2\n255\n" + bytes([1, 9, 3, 4]), "no value above 9"),
    ],
)
def test_maps_are_held_to_what_a_build_takes(before, maps, tmp_path, content, what):
    key = next(key for key, sample in samples(before).items() if any(not d.denied for d in describe_of(sample)))
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / f"{key}.pgm").write_bytes(content)
    with pytest.raises(DataError, match=what):
        put(before, tmp_path / "out", maps=tmp_path / "maps", workers=1, reject_budget=0)


def describe_of(sample):
    return describe(sample[REPORT].decode())


def test_what_is_refused_at_once(before, texts, maps, tmp_path, copied):
    cases = [
        ((before, before, texts), "it is only read"),
        ((before, before / "new", texts), "it is only read"),
        ((before, tmp_path, None), "nothing to put"),
        ((before, copied, texts), "exists already"),
    ]
    was = digests(before)
    for (source, out, some), what in cases:
        with pytest.raises(ConfigError, match=what):
            put(source, out, some)
    for some, folder, what in [
        ({"other": ""}, None, "no distilled text of 1 has a key of this set"),
        (None, tmp_path / "none", "no such folder"),
        ({next(iter(texts)): None}, None, "is no text"),
        (None, before, "no attention map of 0"),
    ]:
        with pytest.raises(DataError, match=what):
            put(before, tmp_path / "out", some, folder)
    assert digests(before) == was and not (tmp_path / "out").exists()


def test_a_damaged_set_is_an_error_that_names_the_sample(copied, tmp_path):
    texts = dict.fromkeys(samples(copied), "")
    shard = next(copied.glob("train-*.tar"))
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"phantom\d+_1.*damaged"):
        put(copied, tmp_path / "out", texts, workers=1)


def test_an_image_alone_takes_no_text(table, tmp_path):
    source = CsvSource(table([{"report": ""}, {"report": "Small effusion."}]), keep_empty=True)
    build(source, tmp_path / "set", Options(workers=1, holdout=0))
    texts = dict.fromkeys(samples(tmp_path / "set"), "There is effusion.")
    with pytest.raises(DataError, match="1 no report"):
        put(tmp_path / "set", tmp_path / "out", texts, workers=1)
    put(tmp_path / "set", tmp_path / "out", texts, workers=1, reject_budget=0.5)
    alone, told = (samples(tmp_path / "out")[key] for key in sorted(texts))
    assert DISTILLED not in alone and told[DISTILLED] == b"There is effusion."
    verify(tmp_path / "out")


def test_tokens_are_marked_by_the_list_of_the_set(table, tmp_path):
    entities = EntityList([Entity("scoliosis"), Entity("pacemaker")])
    rows = [{"report": f"Mild scoliosis, case {n}. Large effusion."} for n in range(4)]
    build(CsvSource(table(rows)), tmp_path / "set", Options(workers=1, holdout=0, entities=entities))
    texts = dict.fromkeys(samples(tmp_path / "set"), "There is scoliosis and effusion.")
    put(tmp_path / "set", tmp_path / "out", texts, workers=1)
    assert ShardSet(tmp_path / "out").manifest.entities == entities
    for sample in samples(tmp_path / "out").values():
        report, distilled = unpack_tokens(sample[TOKENS])
        old, _ = unpack_tokens(samples(tmp_path / "set")[sample.key][TOKENS])
        assert np.array_equal(report, old) and 0 < has(distilled, Mark.ENTITY).sum() < len(distilled) / 2


def test_a_set_with_what_was_put_into_it_is_not_repaired_from_its_source(after, tmp_path):
    broken = Path(shutil.copytree(after, tmp_path / "set"))
    next(broken.glob("train-*.tar")).unlink()
    with pytest.raises(DataError, match="put into this set"):
        repair(PhantomSource(STUDIES, 42, 64), broken, workers=1)


def test_training_reads_it(after):
    torch = pytest.importorskip("torch")
    from ecamp_fast.shards.load.loader import Loader

    sizes = {"image": {"high_size": 448, "low_size": 224}, "batch": {"total": 4, "micro": 4}}
    recipe = parse_recipe(sizes, "test")
    (batch,) = Loader(ShardSet(after), "train", recipe, device="cpu").batches(0, 1)
    assert batch.image.shape == (4, 1, 448, 448) and batch.text is not None
    assert torch.isfinite(batch.attention).all() and batch.attention.any()


PROGRAM = """
import os, signal, sys
from pathlib import Path
from ecamp_fast.commands.put import read_texts
from ecamp_fast.shards.builder.put import put

folder, workers, fatal, after = Path(sys.argv[1]), *map(int, sys.argv[2:])
left = [fatal]

def deadly(call):
    def wrapped(*arguments, **named):
        left[0] -= 1
        if left[0] == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*arguments, **named)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return wrapped

for name in ("fsync", "replace", "rename", "unlink", "rmdir"):
    setattr(os, name, deadly(getattr(os, name)))
texts = read_texts(folder / "texts.jsonl")
put(folder / "set", folder / "out" / "set", texts, folder / "maps", workers=workers, origin={"distilled": "journal"})
"""


@pytest.fixture
def killed(before, texts, maps, tmp_path):
    """killed(fatal, after=False, workers=1): put in a process of its own; whether it ended by itself."""
    (tmp_path / "set").symlink_to(before)
    (tmp_path / "maps").symlink_to(maps)
    lines = [json.dumps({"key": key, "text": text}) for key, text in texts.items()]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines) + "\n")

    def run(fatal, after=False, workers=1):
        words = [sys.executable, "-c", PROGRAM, str(tmp_path), *(str(int(one)) for one in (workers, fatal, after))]
        path = os.pathsep.join(entry for entry in sys.path if entry)
        done = subprocess.run(words, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE, text=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return done.returncode == 0

    return run


def test_kills_at_several_places_and_the_same_bytes(killed, after, tmp_path):
    """While the tokenizer and the plan are written, within shards, between a shard and its entry in the journal."""
    for fatal, behind in [(2, False), (9, True), (11, False), (16, True)]:
        assert not killed(fatal, behind)
        assert not (tmp_path / "out" / "set").exists()
    assert killed(0)
    assert digests(tmp_path / "out" / "set") == digests(after) and os.listdir(tmp_path / "out") == ["set"]


@pytest.mark.slow
@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.complete)])
def test_a_kill_at_every_step(killed, after, tmp_path, stride):
    for number in range(1, 100, stride):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        done = killed(number)
        if not (tmp_path / "out" / "set").exists():
            assert killed(0)
        assert digests(tmp_path / "out" / "set") == digests(after)
        if done:
            break
    assert number > 20


def test_other_texts_start_over(before, texts, maps, tmp_path, monkeypatch):
    def stopped(*arguments, **named):
        yield from list(pack(*arguments, **named))[:6]
        raise KeyboardInterrupt

    pack = module.pack_in_order
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "pack_in_order", stopped)
        put(before, tmp_path / "set", texts, workers=1)
    assert not (tmp_path / "set").exists()
    said = []
    report = put(before, tmp_path / "set", dict.fromkeys(texts, ""), workers=1, say=said.append)
    assert report.resumed == 0 and "it had other texts_digest: starting over" in said[0]
    assert all(sample[DISTILLED] == b"" for sample in samples(tmp_path / "set").values())


def test_the_command(before, texts, maps, after, tmp_path):
    journal = tmp_path / "journal.jsonl"
    lines = [json.dumps({"key": key, "text": text, "model": "m"}) for key, text in texts.items()]
    journal.write_text("\n".join(lines))
    words = ["put", str(before), str(tmp_path / "out"), "--distilled", str(journal), "--maps", str(maps)]
    done = CliRunner().invoke(command, [*words, "--json"], catch_exceptions=False)
    result = json.loads(done.stdout)
    assert (result["samples"], result["texts"], result["maps"], result["faults"]) == (10, 10, 10, {})
    assert result["manifest"] == ShardSet(tmp_path / "out").manifest.digest
    assert digests(tmp_path / "out", ("MANIFEST.json",)) == digests(after, ("MANIFEST.json",))
    assert ShardSet(tmp_path / "out").manifest.source["put"][0]["distilled"] == "journal.jsonl"
    words[2] = str(tmp_path / "again")
    assert "10 distilled texts and 10 attention maps in 10 samples" in CliRunner().invoke(command, words).stdout


@pytest.mark.parametrize("line", ["[]", '{"key": "a"}', '{"key": 1, "text": ""}', "{", '{"key": "b", "text": "other"}'])
def test_lines_of_a_journal_that_are_none(tmp_path, line):
    from ecamp_fast.commands.put import read_texts

    journal = tmp_path / "journal.jsonl"
    journal.write_text('{"key": "b", "text": "one"}\n\n' + line + "\n")
    with pytest.raises(DataError, match="line 3"):
        read_texts(journal)
