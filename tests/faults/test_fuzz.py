"""Every format that is read, fuzzed: a mutated file is taken or refused with a fault of ours, in time and in memory.

A process forked for each format feeds its reader with files that one seeded mutator makes of sound ones. What the
reader raises must be an EcampError (or what the reader is documented to raise for content of a sample); nothing may
take two seconds of the processor, or half a gigabyte. Where a format carries a digest of itself, every second file has
it made right again, or the digest alone would be tested.
"""

import gzip
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from ecamp_fast.config import load_recipe
from ecamp_fast.config.deepspeed_json import read_json
from ecamp_fast.config.deepspeed_values import judge
from ecamp_fast.config.load import RECIPES, dump_recipe
from ecamp_fast.config.yaml import parse_value
from ecamp_fast.errors import DataError, EcampError
from ecamp_fast.report import facts
from ecamp_fast.report.html import page
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.shards.builder.journal import Done, Journal, JournalHeader
from ecamp_fast.shards.check.members import inspect_members
from ecamp_fast.shards.check.verify import inspect
from ecamp_fast.shards.describe.difference import differences, read_counts
from ecamp_fast.shards.format.dali_index import index_fault
from ecamp_fast.shards.format.manifest import MANIFEST, read_manifest
from ecamp_fast.shards.format.member_index import INDEX
from ecamp_fast.shards.format.metadata import read_metadata
from ecamp_fast.shards.format.tokens import pack_tokens, unpack_tokens
from ecamp_fast.shards.images.encode import attention_map, decode, read_pgm
from ecamp_fast.shards.images.limits import BadImage
from ecamp_fast.shards.load.collate import jpeg_size
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.base import RecordFault
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.openi import OpeniSource
from ecamp_fast.shards.sources.selection.distilled import read_distilled
from ecamp_fast.shards.sources.webdataset import WebdatasetSource
from ecamp_fast.shards.storage.address import parse_address
from ecamp_fast.text.wordpiece import load_wordpiece
from ecamp_fast.weights.file import load_weights, read_checkpoint, save_weights

SHORT, WHOLE = 60, 2000  # files of a format: in the suite, with --complete
SECONDS = 2  # of the processor, for one file
MEMORY = 512 * 2**20  # bytes beyond what the process had
PATIENCE = 600  # seconds for all files of a format, by the clock

WORDS = (
    *(b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\n", b"\r", b"\0", b"\x1b[2J", b"\xef\xbb\xbf", b"\xff\xfe"),
    *(b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 400, b"null", b"true", b"{}", b"[]", b"&a [*a,*a]", b"*a", b"!!x"),
    *(b"\xe2\x80\xae", b"\xed\xa0\x80", b"..", b"../", b"/etc/passwd", b"$(id)", b"pipe:cat", b"%s%n", b"__class__"),
    *(struct.pack("<Q", value) for value in (0, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**63)),
    *(struct.pack(">I", value) for value in (0, 1, 2**16, 2**31, 2**32 - 1)),
)
DEEP = (b"[" * 5000, b'{"a":' * 5000, b"- " * 3000, b"(" * 1000, b"<a>" * 5000)


def mutate(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A file with one to four things wrong.  others: sound files of the format, to splice with"""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        data = chance.choice(MUTATIONS)(bytearray(data), others, chance)
    return bytes(data)


def _span(data: bytearray, chance: random.Random, longest: int = 64) -> slice:
    start = chance.randrange(len(data) + 1)
    return slice(start, min(len(data), start + chance.randint(1, longest)))


def flip(data: bytearray, others: list[bytes], chance: random.Random) -> bytearray:
    for _ in range(chance.choice((1, 2, 16))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def cut(data: bytearray, others: list[bytes], chance: random.Random) -> bytearray:
    return data[: chance.randrange(len(data) + 1)]


def remove(data: bytearray, others: list[bytes], chance: random.Random) -> bytearray:
    del data[_span(data, chance, 512)]
    return data


def word(data: bytearray, others: list[bytes], chance: random.Random) -> bytearray:
    """A word of the dictionary in the place of something, or between two bytes."""
    span = _span(data, chance, 8)
    data[span if chance.random() < 0.5 else slice(span.start, span.start)] = chance.choice(WORDS)
    return data


def deep(data: bytearray, others: list[bytes], chance: random.Random) -> bytearray:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.choice(DEEP)
    return data


def number(data: bytearray, others: list[bytes], chance: random.Random) -> bytearray:
    """Another number where digits are, or where a length may be: 2, 4 or 8 bytes of either order."""
    digits = list(re.finditer(rb"\d+", data))
    if digits and chance.random() < 0.5:
        found = chance.choice(digits)
        data[found.start() : found.end()] = str(chance.choice((0, -1, 1, 2**31, 2**63, 10**30, 1.5))).encode()
        return data
    size = chance.choice((2, 4, 8))
    value = chance.choice((0, 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1, chance.randrange(2 ** (8 * size))))
    at = chance.randrange(len(data) + 1)
    data[at : at + size] = value.to_bytes(size, chance.choice(("little", "big")))
    return data


def repeat(data: bytearray, others: list[bytes], chance: random.Random) -> bytearray:
    span = _span(data, chance, 256)
    data[span] = data[span] * chance.choice((2, 3, 50))
    return data


def splice(data: bytearray, others: list[bytes], chance: random.Random) -> bytearray:
    other = chance.choice(others)
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]


MUTATIONS = (flip, flip, cut, remove, word, word, deep, number, number, repeat, splice)


# A format: sound files, and what reads them


@dataclass(frozen=True)
class Format:
    """sound: files to mutate   read: takes the bytes of one; may raise an EcampError, or ``also``"""

    sound: list[bytes]
    read: Callable[[bytes], object]
    also: tuple[type[Exception], ...] = ()


FORMATS: dict[str, Callable[..., Format]] = {}


def a_format(make: Callable[..., Format]) -> Callable[..., Format]:
    """``make(pristine, folder)``: pristine: a shard set to copy from, folder: an empty one to work in"""
    FORMATS[make.__name__] = make
    return make


def written(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """Reads a file of these bytes."""

    def reads(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return reads


def told(faults: object) -> None:
    """Some readers list what is wrong instead of raising it."""
    if faults:
        raise DataError("listed")


def sealed(body: bytes) -> bytes:
    """A manifest with its true digest."""
    return b'{"sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'",' + body


def use(folder: Path) -> None:
    """What opens a set, and reads the first sample of it."""
    shards = ShardSet(folder)
    if "train" in shards.splits:
        shards.read("train", 0)
    told(inspect(folder, workers=1).damage)


@a_format
def manifest(pristine: Path, folder: Path) -> Format:
    shutil.copytree(pristine, folder, dirs_exist_ok=True)
    raw = (pristine / MANIFEST).read_bytes()
    body, unsealed = raw[raw.index(b",") + 1 :], iter([False, True] * 10**5)

    def read(data: bytes) -> None:
        as_it_was = data != body and next(unsealed)
        (folder / MANIFEST).write_bytes(raw[: -len(body)] + data if as_it_was else sealed(data))
        use(folder)

    return Format([body], read)


@a_format
def member_index(pristine: Path, folder: Path) -> Format:
    shutil.copytree(pristine, folder, dirs_exist_ok=True)
    index, raw = (pristine / INDEX).read_bytes(), (pristine / MANIFEST).read_bytes()
    before = json.loads(raw)["index"]

    def read(data: bytes) -> None:
        (folder / INDEX).write_bytes(data)
        body = raw[raw.index(b",") + 1 :].replace(before["sha256"].encode(), hashlib.sha256(data).hexdigest().encode())
        (folder / MANIFEST).write_bytes(
            sealed(body.replace(b'"bytes":%d,' % before["bytes"], b'"bytes":%d,' % len(data)))
        )
        use(folder)

    return Format([index], read)


@a_format
def shard(pristine: Path, folder: Path) -> Format:
    entry = read_manifest(pristine).shards[0]

    def read(path: Path) -> None:
        with open(path, "rb") as file:
            told(inspect_members(file.fileno(), entry, {}))

    return Format([(pristine / entry.name).read_bytes()], written(folder / entry.name, read))


@a_format
def webdataset(pristine: Path, folder: Path) -> Format:
    def read(path: Path) -> None:
        told(WebdatasetSource(path).list_records().faults)

    return Format([path.read_bytes() for path in sorted(pristine.glob("*.tar"))[:2]], written(folder / "a.tar", read))


@a_format
def tokens(pristine: Path, folder: Path) -> Format:
    sound = [pack_tokens(np.arange(9, dtype=np.int32), np.arange(count, dtype=np.int32)) for count in (0, 5)]
    return Format(sound, unpack_tokens, (ValueError,))


@a_format
def metadata(pristine: Path, folder: Path) -> Format:
    shards = ShardSet(pristine)
    sound = [shards.read("train", index, ("json",))["json"] for index in range(2)]
    return Format(sound, lambda data: read_metadata(data, "x"))


@a_format
def dali_index(pristine: Path, folder: Path) -> Format:
    entry = read_manifest(pristine).shards[0]
    columns = entry.members["jpg"]
    places = list(zip(entry.keys, columns.offset, columns.size, strict=True))
    rows = [f"jpg {at} {size} {key}.jpg" for key, at, size in places]
    bare = [f"jpg {at} {size}" for _, at, size in places]
    sound = [
        "\n".join([f"{version} {len(rows)}", *lines]).encode() for version, lines in (("v1.2", rows), ("v1.1", bare))
    ]
    return Format(sound, written(folder / "a.idx", lambda path: told(index_fault(path, entry))))


@a_format
def journal(pristine: Path, folder: Path) -> Format:
    fault = RecordFault("t.csv row 2", "empty file", "remove it", "damaged")
    known = {"labels": ("edema",), "masks": ("effusion",)}
    head = JournalHeader((1, 1), "t.csv", "0", {}, {}, "", 9, 0, ("note",), (fault,), 3, ("a",), **known)
    whole = Journal(folder)
    whole.write_header(head)
    whole.add(Done("a", read_manifest(pristine).shards[:1], ("s",), ("p",), (3,), (2,), (fault,), ("t.csv row 3",)))

    def read(data: bytes) -> None:
        for name in ("PLAN", "a"):
            (folder / f"{name}.json").write_bytes(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
        told(whole.header() is None and whole.done("a") is None)

    return Format([(folder / f"{name}.json").read_bytes().partition(b"\n")[2] for name in ("PLAN", "a")], read)


@a_format
def recipe(pristine: Path, folder: Path) -> Format:
    sound = [path.read_bytes() for path in sorted(RECIPES.glob("*.yaml"))]
    return Format(sound, written(folder / "a.yaml", load_recipe))


@a_format
def override(pristine: Path, folder: Path) -> Format:
    sound = [b"{width: 16, depth: 2, heads: 2}", b"[0.1, 1.0e-4]", b"2026-01-01", b"'a b'"]
    return Format(sound, lambda data: parse_value(data.decode("latin-1"), "x"))


@a_format
def deepspeed(pristine: Path, folder: Path) -> Format:
    paper = load_recipe("demo")
    sound = [path.read_bytes() for path in sorted(RECIPES.glob("zero*.json"))]
    return Format(sound, written(folder / "a.json", lambda path: judge(read_json(path), paper, 1)))


@a_format
def tokenizer(pristine: Path, folder: Path) -> Format:
    sound = [(pristine / "tokenizer.json").read_bytes()]
    return Format(sound, written(folder / "a.json", lambda path: load_wordpiece(path).encode("No acute effusion.")))


@a_format
def weights(pristine: Path, folder: Path) -> Format:
    from ecamp_fast.model.ecamp import Ecamp

    sizes = ("image.high_size=32", "image.low_size=16", "text.max_tokens=16", "batch={total: 4, micro: 4}")
    sizes += ("model.vision={width: 8, depth: 1, heads: 2, patch: 8}", "model.decoder={width: 8, depth: 1, heads: 2}")
    model = Ecamp(
        load_recipe("paper", [*sizes, "model.text={width: 12, depth: 1, heads: 3, ffn: 8, dropout: 0.0}"]), 20
    )
    save_weights(model, folder / "sound.safetensors")
    sound = (folder / "sound.safetensors").read_bytes()
    return Format([sound], written(folder / "a.safetensors", lambda path: load_weights(model, path)))


@a_format
def checkpoint_of_others(pristine: Path, folder: Path) -> Format:
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4).half()}
    torch.save({"model": state, "epoch": 3}, folder / "sound.pth")
    sound = [(folder / "sound.pth").read_bytes(), safetensors.torch.save(state)]
    return Format(sound, written(folder / "a.pth", read_checkpoint))


def picture(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((40, 48)).save(buffer, kind, **options)
    return buffer.getvalue()


@a_format
def jpeg(pristine: Path, folder: Path) -> Format:
    def read(data: bytes) -> None:
        decode(data)
        jpeg_size(data)

    return Format([picture("JPEG"), picture("JPEG", progressive=True)], read, (BadImage, ValueError))


@a_format
def png_tiff_bmp(pristine: Path, folder: Path) -> Format:
    kinds = [picture("PNG"), picture("TIFF"), picture("TIFF", compression="tiff_lzw"), picture("BMP"), picture("PPM")]
    return Format(kinds, decode, (BadImage,))


@a_format
def attention_pgm(pristine: Path, folder: Path) -> Format:
    def read(data: bytes) -> None:
        attention_map(data)
        read_pgm(data)

    return Format([b"P5\n3 2\n255\nabcdef", b"P5\n1 1\n255\n\0"], read, (BadImage, ValueError))


@a_format
def dicom(pristine: Path, folder: Path) -> Format:
    pydicom = pytest.importorskip("pydicom", reason="needs pydicom")
    sound = []
    for syntax in ("ExplicitVRLittleEndian", "ImplicitVRLittleEndian"):
        ds = pydicom.dataset.Dataset()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
            "1.2.840.10008.5.1.4.1.1.1.1",
            "1",
        )
        ds.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
        ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.PixelRepresentation = "MONOCHROME2", 1, 0
        ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 16, 12, 11
        ds.WindowCenter, ds.WindowWidth, ds.RescaleSlope, ds.RescaleIntercept = ["2000", "1000"], ["4000", "500"], 1, 0
        ds.PixelData = np.arange(256, dtype=np.uint16).tobytes()
        ds["PixelData"].VR = "OW"
        buffer = io.BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        sound.append(buffer.getvalue())
    return Format(sound, decode, (BadImage,))


@a_format
def table(pristine: Path, folder: Path) -> Format:
    header = "study_id,image_path,view,report,patient_id,split\n"
    rows = "".join(f'{n},{n}.png,PA,"No effusion, ""clear"".\nHeart {n}.",p{n},train\n' for n in range(4))
    sound = [(header + rows).encode(), (header + rows).replace(",", ";").encode("cp1252")]
    return Format(sound, written(folder / "a.csv", lambda path: told(CsvSource(path).list_records().faults)))


@a_format
def packed_table(pristine: Path, folder: Path) -> Format:
    plain = b"study_id,image_path,view,report\n" + b"".join(b"%d,%d.png,PA,Clear.\n" % (n, n) for n in range(20))

    def read(data: bytes) -> None:
        path = folder / "a.csv.gz"
        path.write_bytes(data if data.startswith(b"\x1f\x8b") else gzip.compress(data, 1))
        told(CsvSource(path).texts().faults)

    return Format([plain, gzip.compress(plain, mtime=0)], read)


@a_format
def distilled(pristine: Path, folder: Path) -> Format:
    lines = "".join(json.dumps({"study_id": n, "text": f"effusion {n}"}) + "\n" for n in range(5))
    sound = [lines.encode(), b"study_id,text\n1,effusion\n2,edema\n"]
    return Format(sound, written(folder / "a.jsonl", read_distilled))


@a_format
def open_i(pristine: Path, folder: Path) -> Format:
    reports, pictures = folder / "ecgen-radiology", folder / "images"
    reports.mkdir()
    pictures.mkdir()
    (pictures / "CXR1_1_IM-0001-3001.png").write_bytes(picture("PNG"))
    text = '<AbstractText Label="FINDINGS">Clear.</AbstractText><AbstractText Label="IMPRESSION">Normal.</AbstractText>'
    sound = f'<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR1"/>{text}<MeSH><major>normal</major></MeSH>'
    sound += '<parentImage id="CXR1_1_IM-0001-3001"/></eCitation>'
    return Format(
        [sound.encode()], written(reports / "1.xml", lambda path: told(OpeniSource(folder).list_records().faults))
    )


@a_format
def counts(pristine: Path, folder: Path) -> Format:
    entities = {"effusion": {"mentions": 3, "denied": 1}}
    tree = {"schema": 1, "rules_digest": "a", "source": {"kind": "csv"}, "denied_mentions": 1, "entities": entities}

    def read(path: Path) -> None:
        differences(read_counts(path), tree)

    return Format([json.dumps(tree).encode()], written(folder / "a.json", read))


def run_folder(folder: Path) -> tuple[bytes, bytes, bytes, bytes]:
    """A run directory with everything that a report reads; its metrics, events, state and results."""
    run = RunDir(folder)
    run.create()
    (folder / "recipe.yaml").write_text(dump_recipe(load_recipe("demo")))
    run.set_state(
        status="complete", step=4, total_steps=4, data="x", versions={"torch": "2"}, attention={"vision": "sdpa"}
    )
    losses = {"loss": 1.5, "mim": 0.5, "sr": 0.5, "mlm": 0.5, "mlm_per_token": 3.0, "samples": 8}
    for step in (1, 2, 3, 4):
        run.metric(
            {"step": step, "epoch": step / 4, "lr": 1e-4, "grad_norm": 1.0, "images_per_second": 9.0, "time": 1e9}
            | losses
        )
        run.metric({"split": "val", "step": step, "time": 1e9} | losses)
    run.event("saved", step=2)
    run.event("resumed", step=2, checkpoint="step-2")
    facts.save_results(folder, checks=[{"name": "a", "found": "1 -> 2", "passed": True}])
    names = ("metrics.jsonl", "events.jsonl", "run_state.json", "results.json")
    metrics, events, state, results = ((folder / name).read_bytes() for name in names)
    return metrics, events, state, results


def page_of(folder: Path) -> Callable[[Path], object]:
    """What makes the page of a run; its recipe does not change, and is read once."""
    settled = load_recipe("demo")

    def make(path: Path) -> str:
        with mock.patch.object(facts, "read_recipe", return_value=settled):
            return page(facts.gather(folder), ())

    return make


@a_format
def metrics(pristine: Path, folder: Path) -> Format:
    sound, _, _, _ = run_folder(folder)
    return Format([sound], written(folder / "metrics.jsonl", page_of(folder)))


@a_format
def events(pristine: Path, folder: Path) -> Format:
    _, sound, _, _ = run_folder(folder)
    return Format([sound], written(folder / "events.jsonl", page_of(folder)))


@a_format
def run_state(pristine: Path, folder: Path) -> Format:
    _, _, sound, _ = run_folder(folder)
    return Format([sound], written(folder / "run_state.json", page_of(folder)))


@a_format
def results(pristine: Path, folder: Path) -> Format:
    _, _, _, sound = run_folder(folder)
    return Format([sound], written(folder / "results.json", page_of(folder)))


@a_format
def address(pristine: Path, folder: Path) -> Format:
    sound = [
        b"s3://bucket/set",
        b"https://host:8000/set/a",
        b"gs://b/s",
        b"http://[::1]:80/set",
        b"./folder",
    ]
    return Format(sound, lambda data: parse_address(data.decode("latin-1")))


# A process that feeds a reader


class Hang(BaseException):
    """No ``except Exception`` of a reader takes it for a fault of the file."""


def feed(form: Format, name: str, files: int) -> dict[str, object]:
    """What became of the files: how many were taken and refused, what failed, and the memory that it took."""

    def late(*_: object) -> None:
        raise Hang

    signal.signal(signal.SIGPROF, late)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of this process from here on
    before, taken, refused, failed = memory("VmRSS"), 0, 0, []
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + 2 * MEMORY, most))
    for number in range(files):
        chance = random.Random(f"{name} {number}")
        data = mutate(chance.choice(form.sound), form.sound, chance)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            form.read(data)
            taken += 1
        except (EcampError, *form.also):
            refused += 1
        except BaseException as error:  # of the Rust libraries too, whose panics are no Exception
            at = traceback.extract_tb(error.__traceback__)[-1]
            failed.append(f"file {number}: {type(error).__name__}: {str(error)[:200]} at {at.filename}:{at.lineno}")
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        if memory("VmHWM") - before > MEMORY:
            failed.append(f"file {number}: {(memory('VmHWM') - before) >> 20} MiB")
            break
    return {"taken": taken, "refused": refused, "failed": failed, "grown": memory("VmHWM") - before}


def memory(field: str) -> int:
    """Bytes that /proc says of this process."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def fed(form: Format, name: str, files: int, out: Path) -> dict[str, object]:
    """``feed`` in a forked process: what it breaks, it breaks alone."""
    child = os.fork()
    if child == 0:
        try:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            out.write_text(json.dumps(feed(form, name, files)))
        finally:
            os._exit(0)
    deadline = time.monotonic() + PATIENCE
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return {"failed": [f"no end after {PATIENCE} s"]}
        time.sleep(0.01)
    return dict(json.loads(out.read_text())) if out.exists() else {"failed": ["the process died"]}


def fuzz(name: str, files: int, pristine: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    form = FORMATS[name](pristine, folder)
    for sound in form.sound:
        form.read(sound)  # what is sound is taken
    outcome = fed(form, name, files, tmp_path / "outcome.json")
    assert outcome["failed"] == []
    assert outcome["refused"], "no mutated file was refused: the mutations do not reach the reader"


@pytest.mark.fault("S1.fuzzed")
@pytest.mark.parametrize("name", FORMATS)
def test_some_files_of_a_format(name, pristine, tmp_path):
    fuzz(name, SHORT, pristine, tmp_path)


@pytest.mark.complete
@pytest.mark.fault("S1.fuzzed")
@pytest.mark.parametrize("name", FORMATS)
def test_many_files_of_a_format(name, pristine, tmp_path):
    fuzz(name, WHOLE, pristine, tmp_path)


def raises(data):
    raise KeyError("x")


def hangs(data):
    while True:
        pass


def swells(data):
    return bytearray(MEMORY + 2**20)


def dies(data):
    os._exit(9)


@pytest.mark.parametrize(
    ("reader", "seen"), [(raises, "KeyError"), (hangs, "Hang"), (swells, "MiB"), (dies, "the process died")]
)
def test_what_a_reader_must_not_do_is_seen(reader, seen, tmp_path):
    outcome = fed(Format([b"abc"], reader), "x", 1, tmp_path / "outcome.json")
    assert seen in outcome["failed"][0]


def test_the_mutator_makes_the_same_files_again_and_different_ones():
    sound = [b'{"a": 12}', b"second"]
    made = [[mutate(sound[0], sound, random.Random(number)) for number in range(50)] for _ in range(2)]
    assert made[0] == made[1] and len(set(made[0])) > 40
