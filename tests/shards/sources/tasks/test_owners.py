"""What owners ship becomes a set: labels, splits, boxes and masks, each image with its own."""

import io

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.errors import DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.tasks.base import Splits
from ecamp_fast.shards.sources.tasks.chexpert import CLASSES, ChexpertSource
from ecamp_fast.shards.sources.tasks.covidx import CovidxSource
from ecamp_fast.shards.sources.tasks.nih import NihSource
from ecamp_fast.shards.sources.tasks.protocol import TASKS
from ecamp_fast.shards.sources.tasks.rsna import RsnaSource
from ecamp_fast.shards.sources.tasks.siim import SiimSource

NIH_HEAD = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
NIH_HEAD += "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"


def present(about):
    return {name for name, value in about["labels"].items() if value == 1}


def planes(shards, split, row):
    """The masks of a sample by name."""
    sample = shards.read(split, row)
    values = np.array(Image.open(io.BytesIO(sample["masks.png"])))
    return {name: values >> bit & 1 for bit, name in enumerate(shards.manifest.masks)}


@pytest.fixture
def nih(pictures):
    names = [f"{patient:08d}_{number:03d}.png" for patient in range(1, 11) for number in range(2)]
    folder = pictures(*(f"images_{1 + at % 2:03d}/images/{name}" for at, name in enumerate(names)), size=(64, 64))
    rows = [
        f"{name},{'No Finding' if at % 3 else 'Effusion|Mass'},0,{int(name[:8])},50,M,{('PA', 'AP')[at % 2]},1,1,1,1"
        for at, name in enumerate(names)
    ]
    (folder / "Data_Entry_2017_v2020.csv").write_text("\n".join([NIH_HEAD, *rows]) + "\n")
    (folder / "train_val_list.txt").write_text("\n".join(names[:16]))
    (folder / "test_list.txt").write_text("\n".join(names[16:]) + "\n")
    (folder / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Infiltrate,512.0,256.0,128.5,64.25,,,\n"
    )
    return folder


def test_nih_as_it_is_shipped(nih, built):
    source = NihSource(nih)
    found = built(source, short_side=32)
    assert len(found) == 20 and source.description["file"] == "data"
    one = found["00000001_000"]
    assert present(one) == {"Effusion", "Mass"} and list(one["labels"]) == list(TASKS["nih"].classes)
    assert (one["patient_id"], one["view"], one["split"]) == ("00000001", "PA", one["split"])
    # 1,024 pixels of the table are 64 of this copy and 32 of the set
    assert one["boxes"] == [{"finding": "Infiltration", "x": 16, "y": 8, "width": 4.02, "height": 2.01}]
    assert not present(found["00000001_001"]) and found["00000001_001"]["view"] == "AP"
    assert {one["patient_id"] for one in found.values() if one["split"] == "test"} == {"00000009", "00000010"}
    val = [one["patient_id"] for one in found.values() if one["split"] == "val"]
    assert len(val) == 2 and len({*val}) == 1  # an eighth of 16, by patient


def test_the_same_seed_carves_the_same_patients(nih):
    def val(seed):
        return {
            one.patient_id for one in NihSource(nih, Splits(seed=seed)).list_records().records if one.split == "val"
        }

    assert val(1) == val(1) and len({tuple(val(seed)) for seed in range(8)}) > 1
    table = nih / "Data_Entry_2017_v2020.csv"
    head, *rows = table.read_text().splitlines()
    before = val(3)
    table.write_text("\n".join([head, *rows[::-1]]))
    assert val(3) == before


def test_nih_by_the_lists_of_the_protocol(nih, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    effusion = "0 0 1 0 1" + " 0" * 9
    (lists / "train_list.txt").write_text(
        f"images_001/00000001_000.png {effusion}\nimages_002/00000001_001.png{' 0' * 14}\n"
    )
    (lists / "train_list_10.txt").write_text(f"images_001/00000001_000.png {effusion}\n")
    (lists / "val_list.txt").write_text(f"images_009/00000002_000.png{' 0' * 14}\n")
    (lists / "test_list.txt").write_text(f"images_001/00000003_000.png 1{' 0' * 13}\n")
    listing = NihSource(nih, Splits(lists)).list_records()
    assert not listing.faults and not listing.absent
    found = {one.study_id: (one.split, one.columns.get("lists")) for one in listing.records}
    assert found == {
        "00000001_000": ("train", "10 100"),
        "00000001_001": ("train", "100"),
        "00000002_000": ("val", None),
        "00000003_000": ("test", None),
    }
    # 00000003_000 has other labels in its list than in the table: the table's are taken
    assert "1 image has other labels in the lists: not taken" in listing.notes
    assert "16 images are in none of the lists: left out" in listing.notes


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("00000001_000.png,Effusion|No Finding,0,1,50,M,PA,1,1,1,1", "No Finding beside Effusion"),
        ("00000001_000.png,,0,1,50,M,PA,1,1,1,1", "no Finding Labels"),
        ("00000001_000.png,Mass,0,nan,50,M,PA,1,1,1,1", "no Patient ID"),
        ("00000001_000.png,Mass,0,7,50,M,PA,1,1,1,1", "though its name says 00000001"),
    ],
)
def test_rows_of_nih_that_cannot_be_meant(row, what, nih):
    table = nih / "Data_Entry_2017_v2020.csv"
    head, _, *others = table.read_text().splitlines()
    table.write_text("\n".join([head, row, *others]))
    (fault,) = NihSource(nih).list_records().faults
    assert what in fault.what and "row 2 (00000001_000.png)" in fault.origin


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("00000001_000.png,,1,1,2,2,,,", "a box of"),
        ("00000001_000.png,No Finding,1,1,2,2,,,", "a box of"),
        ("00000001_000.png,Infiltrate,512.0,256.0,128.5,64.25,,,", "the same box twice"),
    ],
)
def test_boxes_of_nih_that_cannot_be_meant(row, what, nih):
    with (nih / "BBox_List_2017.csv").open("a") as file:
        file.write(row + "\n")
    (fault,) = NihSource(nih).list_records().faults
    assert what in fault.what and fault.origin == "BBox_List_2017.csv row 3"


def test_what_tables_of_nih_name_beyond_its_images_is_noted(nih):
    with (nih / "BBox_List_2017.csv").open("a") as file:
        file.write("00000099_000.png,Mass,1,1,2,2,,,\n")
    with (nih / "test_list.txt").open("a") as file:
        file.write("00000099_000.png\n00000099_001.png\n")
    listing = NihSource(nih).list_records()
    assert not listing.faults
    assert "the table of boxes has 1 image that Data_Entry_2017_v2020.csv has not: left out" in listing.notes
    assert any("test_list.txt has 2 images that" in note for note in listing.notes)


@pytest.fixture
def chexpert(pictures):
    head = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(CLASSES)}"
    places = [f"train/patient{patient:05d}/study1/view{n}_frontal.jpg" for patient in range(1, 17) for n in (1, 2)]
    valid = [f"valid/patient{patient}/study1/view1_frontal.jpg" for patient in range(64541, 64544)]
    folder = pictures(*places, *valid)

    def row(place, *stated):
        cells = dict(stated)
        return f"CheXpert-v1.0-small/{place},Male,60,Frontal,AP,{','.join(cells.get(name, '') for name in CLASSES)}"

    stated = [("Edema", "-1.0"), ("Cardiomegaly", "-1.0"), ("Atelectasis", "1.0"), ("Consolidation", "0.0")]
    (folder / "train.csv").write_text("\n".join([head, *(row(place, *stated) for place in places)]))
    (folder / "valid.csv").write_text(
        "\n".join([head, *(row(place, *((name, "0.0") for name in CLASSES)) for place in valid)])
    )
    return folder


def test_chexpert_keeps_what_is_uncertain_and_tests_on_valid(chexpert, built):
    found = built(ChexpertSource(chexpert))
    assert len(found) == 16 + 3
    one = found["patient00001_study1"]
    assert one["labels"] == {"Cardiomegaly": -1, "Edema": -1, "Consolidation": 0, "Atelectasis": 1}
    assert (one["patient_id"], one["view"], one["columns"]) == ("patient00001", "AP", {"Sex": "Male", "Age": "60"})
    splits = [about["split"] for about in found.values()]
    assert {about["patient_id"] for about in found.values() if about["split"] == "test"} == {
        *("patient64541", "patient64542", "patient64543")
    }
    assert splits.count("val") == 2  # studies: 4 of 32 images
    assert {*found["patient64541_study1"]["labels"]} == {*CLASSES}


def test_chexpert_as_the_official_code_has_it_tests_on_what_it_validates(chexpert):
    listing = ChexpertSource(chexpert, Splits(official=True)).list_records()
    assert {one.split for one in listing.records} == {"train", "val"}
    assert {one.patient_id for one in listing.records if one.split == "val"} == {
        f"patient{n}" for n in (64541, 64542, 64543)
    }


def test_official_lists_of_chexpert_own_and_official(chexpert, tmp_path):
    """The val list is the test list; labels of the lists are those of the table by the rule of the task."""
    lists = tmp_path / "lists"
    lists.mkdir()
    resolved = "1 0 0 1 0"  # Atelectasis 1, Cardiomegaly -1, Consolidation 0, Edema -1, Pleural Effusion blank
    train = [f"train/patient{n:05d}/study1/view{v}_frontal.jpg {resolved}\n" for n in range(1, 17) for v in (1, 2)]
    (lists / "train_list.txt").write_text("".join(train))
    valid = "".join(f"valid/patient{n}/study1/view1_frontal.jpg 0 0 0 0 0\n" for n in (64541, 64542))
    (lists / "val_list.txt").write_text(valid)
    (lists / "test_list.txt").write_text(valid)
    own = ChexpertSource(chexpert, Splits(lists)).list_records()
    assert not own.faults and not any("other labels" in note for note in own.notes)
    splits = [one.split for one in own.records]
    assert (splits.count("test"), splits.count("val"), splits.count("train")) == (2, 4, 28)
    assert not any("lists" in one.columns for one in own.records if one.split == "val")
    source = ChexpertSource(chexpert, Splits(lists, official=True))
    listing = source.list_records()
    splits = [one.split for one in listing.records]
    assert (splits.count("test"), splits.count("val"), splits.count("train")) == (2, 2, 32)
    assert {one.patient_id for one in listing.records if one.split == "val"} == {"patient64541-val", "patient64542-val"}
    build(source, tmp_path / "set", Options(workers=1))  # keys and patients of the copies are their own
    assert ShardSet(tmp_path / "set").count("val") == 2


@pytest.fixture
def rsna(pictures):
    folder = pictures(*(f"stage_2_train_images/p{number}.png" for number in range(10)), size=(64, 64))
    rows = ["p0,264.0,152.0,213.0,379.0,1", "p0,562.0,152.0,256.0,453.0,1", *(f"p{n},,,,,0" for n in range(1, 10))]
    (folder / "stage_2_train_labels.csv").write_text("\n".join(["patientId,x,y,width,height,Target", *rows]))
    details = ["p0,Lung Opacity", "p0,Lung Opacity", *(f"p{n},Normal" for n in range(1, 10))]
    (folder / "stage_2_detailed_class_info.csv").write_text("\n".join(["patientId,class", *details]))
    return folder


def test_rsna_as_it_is_shipped(rsna, built):
    found = built(RsnaSource(rsna))
    assert found["p0"]["labels"] == {"Pneumonia": 1} and found["p1"]["labels"] == {"Pneumonia": 0}
    assert found["p0"]["columns"] == {"class": "Lung Opacity"}
    first, second = found["p0"]["boxes"]
    assert first == {"finding": "Pneumonia", "x": 16.5, "y": 9.5, "width": 13.31, "height": 23.69}
    assert second["x"] == 35.12 and "boxes" not in found["p1"]
    splits = [about["split"] for about in found.values()]
    assert [splits.count(name) for name in ("train", "val", "test")] == [6, 2, 2]


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (["p1,900,10,200,10,1"], "a box outside 1024 x 1024 pixels"),
        (["p1,10,10,0,10,1"], "a box without width and height"),
        (["p1,10,10,,10,1"], "no four numbers"),
        (["p1,10,10,5,10,0"], "a box of a patient whose target is 0"),
        (["p1,10,10,5,10,1", "p1,,,,,0"], "neither 0 nor 1, or is both"),
        (["p1,,,,,2"], "neither 0 nor 1"),
        (["p1,1,1,5,5,1", "p1,1,1,5,5,1"], "the same box twice"),
    ],
)
def test_rows_of_rsna_that_cannot_be_meant(rows, fault, rsna):
    (rsna / "stage_2_train_labels.csv").write_text("\n".join(["patientId,x,y,width,height,Target", *rows]))
    (found,) = RsnaSource(rsna).list_records().faults
    assert fault in found.what and "p1" in found.origin


@pytest.mark.parametrize(
    ("patient", "detailed", "fault"),
    [
        ("p0", "Normal", "target 1, but the detailed class 'Normal'"),
        ("p0", "No Lung Opacity / Not Normal", "target 1, but"),
        ("p1", "Lung Opacity", "target 0, but the detailed class 'Lung Opacity'"),
        ("p1", "No Lung Opacity / Not Normal", ""),
    ],
)
def test_tables_of_rsna_that_contradict_each_other(patient, detailed, fault, rsna):
    path = rsna / "stage_2_detailed_class_info.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join(f"{patient},{detailed}" if row.startswith(f"{patient},") else row for row in rows))
    found = RsnaSource(rsna).list_records().faults
    assert [patient in one.origin and one.what.startswith(fault) for one in found] == [True] * bool(fault)


def test_targets_of_rsna_may_be_floats(rsna):
    rows = ["p1,,,,,0.0", "p2,1,2,3,4,1.0"]
    (rsna / "stage_2_train_labels.csv").write_text("\n".join(["patientId,x,y,width,height,Target", *rows]))
    (rsna / "stage_2_detailed_class_info.csv").unlink()
    assert {one.study_id: one.labels for one in RsnaSource(rsna).list_records().records} == {
        "p1": {"Pneumonia": 0},
        "p2": {"Pneumonia": 1},
    }


def test_covidx_as_it_is_shipped(pictures, built):
    train = [f"train/{n} x.png" for n in range(16)]
    folder = pictures(*train, "test/a.jpg")
    words = ["normal", "pneumonia", "COVID-19"]
    (folder / "train_COVIDx6.txt").write_text("".join(f"{n} {n} x.png {words[n % 3]} cohen\n" for n in range(16)))
    (folder / "test_COVIDx6.txt").write_text("MIDRC-1 a.jpg COVID-19 ricord\n")
    found = built(CovidxSource(folder))
    assert [present(found[f"{n} x"]) for n in range(3)] == [{"normal"}, {"pneumonia"}, {"COVID-19"}]
    assert found["a"]["split"] == "test" and found["a"]["patient_id"] == "ricord-MIDRC-1"
    assert sum(about["split"] == "val" for about in found.values()) == 2
    (folder / "test_COVIDx6.txt").write_text("MIDRC-1 a.jpg positive ricord\n")
    (fault,) = CovidxSource(folder).list_records().faults
    assert fault.what == "class positive is none of normal, pneumonia, COVID-19"


def test_siim_as_it_is_shipped(pictures, tmp_path, film):
    """Run lengths over 1,024 pixels follow the image to its size; several rows are one mask; -1 is an empty one."""
    ids = [f"1.2.276.0.{number}" for number in range(8)]
    folder = pictures(*(f"dicom-images-train/{one}/{one}.png" for one in ids), size=(512, 512))
    square = " ".join(f"{offset} 100" for offset in [1024 * 200 + 300] + [924] * 99)  # rows 300-399, columns 200-299
    other = " ".join(f"{offset} 50" for offset in [1024 * 600 + 100] + [974] * 49)
    rows = [f"{ids[0]}, {square}", f"{ids[0]}, {other}", *(f"{one}, -1" for one in ids[1:])]
    (folder / "train-rle.csv").write_text("\n".join(["ImageId, EncodedPixels", *rows]))
    build(SiimSource(folder), tmp_path / "set", Options(workers=1, short_side=256))
    shards = ShardSet(tmp_path / "set")
    assert shards.manifest.masks == shards.manifest.labels == ("Pneumothorax",)
    assert {split: shards.count(split) for split in shards.splits} == {"train": 6, "val": 1, "test": 1}
    wanted = np.zeros((256, 256), np.uint8)
    wanted[75:100, 50:75] = wanted[25:38, 150:163] = 1
    for split in shards.splits:
        for row in range(shards.count(split)):
            about, masks = shards.metadata(split, row), planes(shards, split, row)
            ill = about["study_id"] == ids[0]
            assert about["labels"] == {"Pneumothorax": int(ill)} and about["masks"] == ["Pneumothorax"]
            if ill:
                assert np.mean(masks["Pneumothorax"] != wanted) < 1e-3
            else:
                assert not masks["Pneumothorax"].any()


def test_a_folder_without_the_owners_tables_says_what_is_missing(tmp_path):
    for source, name in (
        (NihSource, "Data_Entry_2017"),
        (ChexpertSource, "train.csv"),
        (RsnaSource, "stage_2_train_labels.csv"),
        (CovidxSource, "train.txt"),
        (SiimSource, "train-rle.csv"),
    ):
        with pytest.raises(DataError, match=name):
            source(tmp_path).list_records()
