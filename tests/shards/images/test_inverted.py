"""Pictures that look inverted: kept as they are, and told of in every set that holds them."""

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.phantom import phantom
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.builder.merge import merge
from ecamp_fast.shards.check.repair import repair
from ecamp_fast.shards.images.encode import decode
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource

QUICK = Options(workers=1, vocab_size=200, shard_size=2)
INVERTED = {1, 4}
NOTE = "2 of 6 pictures look inverted (air bright, bone dark) and are kept as they are, look at them: "


@pytest.fixture
def films(table, tmp_path):
    """Six phantoms as PNG, two of them inverted; the table, and the origins of the two in the order of the set."""
    folder = tmp_path / "data"
    for number in range(6):
        image = phantom(7, number, 96).image
        Image.fromarray(255 - image if number in INVERTED else image).save(folder / f"s{number}.png")
    rows = [{"image_path": f"s{n}.png", "patient_id": f"p{n}", "split": "train"} for n in range(6)]
    path = table([row | {"split": "val"} if n == 1 else row for n, row in enumerate(rows)])
    return path, "reports.csv row 6 (s4.png), reports.csv row 3 (s1.png)"


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.fault("I4.warned")
def test_the_build_warns_and_keeps_the_pixels(films, tmp_path):
    path, origins = films
    lines = []
    report = build(CsvSource(path), tmp_path / "set", QUICK, lines.append)
    assert report.manifest.notes == (NOTE + origins,) and f"note: {NOTE}{origins}" in lines
    shards = ShardSet(tmp_path / "set")
    stored = decode(shards.read("val", 0)["jpg"])
    assert np.abs(np.asarray(stored, int) - np.asarray(Image.open(path.parent / "s1.png"), int)).mean() < 3


@pytest.mark.fault("I4.warned")
def test_the_note_survives_workers_kills_parts_and_repair(films, tmp_path, interrupted):
    source = CsvSource(films[0])
    build(source, tmp_path / "set", QUICK)
    before = digests(tmp_path / "set")
    build(source, tmp_path / "three", replace(QUICK, workers=3))
    parts = [tmp_path / f"part{number}" for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        build(source, part, QUICK, part=(number, 3))
    merge(parts, tmp_path / "merged")
    interrupted(6, lambda: build(source, tmp_path / "killed", QUICK))
    assert build(source, tmp_path / "killed", QUICK).resumed == 5
    (tmp_path / "set" / "train-000001.tar").unlink()
    repair(source, tmp_path / "set")
    assert all(digests(tmp_path / name) == before for name in ("set", "three", "merged", "killed"))


def test_nothing_is_said_where_nothing_is_suspected(table, tmp_path):
    folder = tmp_path / "data"
    Image.fromarray(phantom(7, 0, 96).image).save(folder / "s0.png")
    path = table([{"image_path": "s0.png"}])
    assert build(CsvSource(path), tmp_path / "set", QUICK).manifest.notes == ()


def test_a_dicom_file_says_itself_what_is_bright(films, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    path = films[0].parent / "s0.png"
    path.write_bytes(_dicom(pydicom, 255 - phantom(7, 0, 96).image))
    assert "2 of 6" in build(CsvSource(films[0]), tmp_path / "set", QUICK).manifest.notes[0]


def _dicom(pydicom, values):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.Modality, data.PhotometricInterpretation = "DX", "MONOCHROME2"
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit = 7
    data.PixelData = values.tobytes()
    file = io.BytesIO()
    pydicom.dcmwrite(file, data, enforce_file_format=True)
    return file.getvalue()
