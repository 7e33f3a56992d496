"""Lists alone: what they say becomes a set, and what cannot be meant forbids one, with names and exit code 3."""

import io

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.builder.dry_run import preview
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.tasks.base import Splits
from ecamp_fast.shards.sources.tasks.listed import ListSource
from ecamp_fast.shards.sources.tasks.protocol import TASKS

ONE = Options(workers=1)
BOX = "[[100.0, 50.0, 300.0, 450.0]]"


def lists(folder, **files):
    """lists(folder, train=..., train_1=..., val=..., test=...): writes them; .csv where they begin with a header."""
    for name, text in files.items():
        split, _, fraction = name.partition("_")
        ending = "csv" if text.startswith(("ImageId", "image_path", "img_path")) else "txt"
        (folder / f"{split}_list{'_' * bool(fraction)}{fraction}.{ending}").write_text(text)
    return folder


@pytest.mark.parametrize("task", ["aptos", "odir5k", "mured", "spinexr"])
def test_classes_of_text_lists(task, pictures, tmp_path):
    folder = pictures("a.png", "b.png", "x/c d.png", "e.png")
    width = 1 if TASKS[task].exclusive else len(TASKS[task].classes)
    zero, first = " 0" * width, " 1" + " 0" * (width - 1)
    lists(
        folder,
        train=f"a.png{first} \nb.png{zero}\n",
        train_1=f"a.png{first}\n",
        val=f"x/c d.png{zero}\n\n",
        test=f"e.png{first}",
    )
    build(ListSource(folder, task), tmp_path / "set", ONE)
    shards = ShardSet(tmp_path / "set")
    assert shards.manifest.labels == TASKS[task].classes and not shards.manifest.masks
    about = {one["study_id"]: one for split in shards.splits for one in _all(shards, split)}
    at = 1 if TASKS[task].exclusive else 0
    assert list(about["a"]["labels"].values()) == [int(n == at) for n in range(len(TASKS[task].classes))]
    assert sum(about["b"]["labels"].values()) == int(TASKS[task].exclusive)
    assert [about[name]["split"] for name in ("a", "b", "x/c d", "e")] == ["train", "train", "val", "test"]
    assert [about[name]["columns"].get("lists") for name in ("a", "b", "e")] == ["1 100", "100", None]
    assert shards.manifest.source["task"] == task


def _all(shards, split):
    return [shards.metadata(split, row) for row in range(shards.count(split))]


def test_boxes_of_lists_follow_the_size_of_the_image(pictures, tmp_path):
    folder = pictures("train_images/a.png", "train_images/b.png", size=(256, 256))
    none = "[[0.0, 0.0, 0.0, 0.0]]"
    lists(
        folder,
        train=f'image_path,bbox\ntrain_images/a.png,"{BOX}"\n',
        val=f'image_path,bbox\ntrain_images/b.png,"{none}"\n',
    )
    build(ListSource(folder, "rsna"), tmp_path / "set", Options(workers=1, short_side=128))
    shards = ShardSet(tmp_path / "set")
    (one,), (other,) = _all(shards, "train"), _all(shards, "val")
    assert one["boxes"] == [{"finding": "Pneumonia", "x": 12.5, "y": 6.25, "width": 25, "height": 50}]
    assert (one["labels"], other["labels"], "boxes" in other) == ({"Pneumonia": 1}, {"Pneumonia": 0}, False)


def test_disc_and_cup_lie_in_one_picture(pictures, tmp_path):
    folder = pictures("Image/a.png", "Image/b.png", size=(80, 60))
    grey = np.zeros((60, 80), np.uint8)
    grey[10:50, 20:60] = 128
    grey[20:30, 30:40] = 255
    for name in "ab":
        (folder / "FinalLabel").mkdir(exist_ok=True)
        Image.fromarray(grey).save(folder / f"FinalLabel/{name}.tif")
    lists(
        folder,
        train="img_path,mask_path\nImage/a.png,FinalLabel/a.tif\n",
        test="img_path,mask_path\nImage/b.png,FinalLabel/b.tif",
    )
    build(ListSource(folder, "riga"), tmp_path / "set", ONE)
    shards = ShardSet(tmp_path / "set")
    assert shards.manifest.masks == ("disc", "cup")
    bits = np.array(Image.open(io.BytesIO(shards.read("test", 0)["masks.png"])))
    assert np.array_equal(bits & 1, grey > 0) and np.array_equal(bits >> 1, grey == 255)


FAULTS = {
    "an image in two splits": (
        "aptos",
        {"train": "a.png 1\nb.png 1\n", "test": "a.png 1\n"},
        "a.png.*in the lists of test and train",
    ),
    "an image twice": ("aptos", {"train": "a.png 1\na.png 1\n"}, "a.png.*the same image as in train_list.txt row 1"),
    "other labels elsewhere": ("aptos", {"train": "a.png 1\n", "train_1": "a.png 2\n"}, "a.png.*other labels"),
    "not in the whole list": ("aptos", {"train": "a.png 1\n", "train_1": "b.png 2\n"}, "b.png.*not in that of 100 %"),
    "too few labels": (
        "odir5k",
        {"train": "a.png 1 0 0\n"},
        "a.png.*3 labels, 8 are expected|3 labels, 8 are expected",
    ),
    "too many labels": ("aptos", {"train": "a.png 1 0\n"}, "2 labels, 1 is expected"),
    "no label": ("aptos", {"train": "a.png\n"}, "a.png.*0 labels, 1 is expected"),
    "a picture under two names": ("aptos", {"train": "a.png 1\n", "test": "x/a.png 1\n"}, "a.png.*is the picture of"),
    "a picture of another folder": (
        "aptos",
        {"train": "train/a.png 1\n", "test": "test/a.png 1\n"},
        "a.png is the picture of test_list.txt row 1",
    ),
    "boxes of nan": ("rsna", {"train": 'image_path,bbox\na.png,"[[nan, nan, nan, nan]]"\n'}, "a.png.*no list of"),
    "a box outside its canvas": (
        "rsna",
        {"train": 'image_path,bbox\na.png,"[[0,0,1030,5]]"\n'},
        "a.png.*of 1024 x 1024",
    ),
    "a class that there is not": ("aptos", {"train": "a.png 5\n"}, "a.png.*no number from 0 to 4"),
    "two signs": ("aptos", {"train": "a.png --1\n"}, "a.png.*no number from 0 to 4"),
    "a number without end": ("aptos", {"train": f"a.png {'9' * 5000}\n"}, "a.png.*no number from 0 to 4"),
    "no number": ("spinexr", {"train": "a.png x\n"}, "a.png.*no number from 0 to 1"),
    "a patient in two splits": (
        "nih",
        {"train": f"00000001_000.png{' 0' * 14}\n", "test": f"00000001_001.png{' 0' * 14}\n"},
        "patient 00000001 is in split",
    ),
    "broken run lengths": ("siim", {"train": "ImageId,EncodedPixels\na,5 3 2\n"}, "row 2 .a.: 3 numbers"),
    "run lengths beyond": ("siim", {"train": "ImageId,EncodedPixels\na,5 1048576\n"}, "end at pixel 1,048,581"),
    "a mask and none": ("siim", {"train": "ImageId,EncodedPixels\na,5 3\na,-1\n"}, "and none .-1. in another"),
    "a row too long": ("rsna", {"train": "image_path,bbox\na.png,[[1,2,3,4]],9\n"}, "row 2.* the header has 2"),
    "no boxes": ("rsna", {"train": 'image_path,bbox\na.png,"[[1,2,3]]"\n'}, "a.png.*no list of .x1, y1, x2, y2"),
    "a box turned round": (
        "rsna",
        {"train": 'image_path,bbox\na.png,"[[9,2,3,4]]"\n'},
        "a.png.*without width and height",
    ),
    "a box outside": ("rsna", {"train": 'image_path,bbox\na.png,"[[900,2,1100,40]]"\n'}, "a.png.*a box outside"),
    "an unreadable mask": ("riga", {"train": "img_path,mask_path\na.png,notes.txt\n"}, "a.png.*mask notes.txt: no PNG"),
    "a mask that is not there": (
        "riga",
        {"train": "img_path,mask_path\na.png,m.png\n"},
        "a.png.*mask m.png: .*[Nn]o such file",
    ),
    "a mask of another shape": (
        "riga",
        {"train": "img_path,mask_path\na.png,tall.png\n"},
        "a.png.*a mask of 10 x 90 pixels",
    ),
}


@pytest.mark.parametrize(("task", "files", "what"), FAULTS.values(), ids=list(FAULTS))
def test_what_cannot_be_meant_forbids_the_set(task, files, what, pictures, tmp_path, film):
    """Also where a budget would excuse any number of bad images."""
    folder = pictures("a.png", "b.png", "00000001_000.png", "00000001_001.png", size=(90, 90))
    (folder / "masks").mkdir()
    (folder / "notes.txt").write_text("no mask")
    film(3, 10, 90).save(folder / "tall.png")
    source = ListSource(folder, task, Splits(lists(tmp_path / "data", **files)))
    with pytest.raises(DataError, match=f"(?s){what}") as caught:
        build(source, tmp_path / "set", Options(workers=1, reject_budget=1.0))
    assert caught.value.exit_code == 3 and not (tmp_path / "set").exists()


def test_faults_are_named_twenty_at_most(pictures, tmp_path):
    folder = lists(pictures("a.png"), train="".join(f"{n}.png 7\n" for n in range(30)))
    with pytest.raises(DataError, match=r"30 faults") as caught:
        preview(ListSource(folder, "aptos"), ONE)
    assert caught.value.what.count(".png") == 20 and "and 10 more" in caught.value.what


def test_lists_that_overlap_are_own_or_official(pictures, tmp_path):
    folder = pictures("i1.png", "i2.png", "i3.png", size=(64, 64))
    head = "ImageId,EncodedPixels\n"
    lists(folder, train_10=head + "i1,-1\ni2,5 3\n", val=head + "i2,5 3\n", test=head + "i2,5 3\ni3,-1\n")
    listing = ListSource(folder, "siim").list_records()
    assert {one.study_id: one.split for one in listing.records} == {"i1": "train", "i2": "test", "i3": "test"}
    assert "1 image is in several lists: kept in test before val before train" in listing.notes
    source = ListSource(folder, "siim", Splits(official=True))
    listing = source.list_records()
    assert {one.study_id: one.split for one in listing.records} == {
        **{"i1": "train", "i2": "test", "i3": "test", "i2-val": "val", "i2-train": "train"}
    }
    build(source, tmp_path / "set", ONE)
    shards = ShardSet(tmp_path / "set")
    assert [shards.count(split) for split in ("train", "val", "test")] == [2, 1, 2]
    assert shards.manifest.source["splits"] == "official"


def test_an_image_in_two_official_lists_is_a_fault_where_they_do_not_overlap(pictures):
    folder = lists(pictures("a.png", "b.png"), train="a.png 1\nb.png 1\n", test="a.png 1\n")
    (fault,) = ListSource(folder, "aptos", Splits(official=True)).list_records().faults
    assert "a.png" in fault.origin and fault.what == "in the lists of test and train"


def test_paths_and_names_of_files_as_windows_writes_them(pictures):
    folder = lists(pictures("x/a.png", "x/b.png"), train="x\\a.png 1\r\n")
    (folder / "TEST_LIST.TXT").write_text("x\\b.png 2\r\n")
    listing = ListSource(folder, "aptos").list_records()
    assert {(one.place, one.split) for one in listing.records} == {("x/a.png", "train"), ("x/b.png", "test")}
    assert not listing.faults and not listing.absent


def test_empty_lists_say_so(pictures):
    folder = lists(pictures("a.png"), train="", test="")
    with pytest.raises(DataError, match="no rows"):
        preview(ListSource(folder, "aptos"), ONE)


def test_two_kinds_of_lists_or_none_or_no_task(pictures, tmp_path):
    folder = pictures("a.png")
    with pytest.raises(DataError, match=r"no list: train_list\.txt"):
        ListSource(folder, "rsna").list_records()
    lists(folder, train="a.png 1\n")
    with pytest.raises(DataError, match="no known classes") as caught:
        ListSource(folder).list_records()
    assert "--task" in caught.value.hint
    lists(folder, val="image_path,bbox\na.png,[]\n")
    with pytest.raises(DataError, match="two tasks"):
        ListSource(folder, "rsna").list_records()
    with pytest.raises(ConfigError, match="no such data set"):
        ListSource(folder, "mimic")


def test_pictures_are_found_however_they_are_laid_out(pictures):
    folder = pictures("deep/images_006/00000001_000.png", "b/x.jpg", "c/x.jpg", "1.2.3.png")
    zero = " 0" * 14
    lists(
        folder,
        train=f"images_006/00000001_000.png{zero}\nelsewhere/c/x.png{zero}\n1.2.3.png{zero}\nother/x.png{zero}\ngone.png{zero}\n",
    )
    listing = ListSource(folder, "nih").list_records()
    assert [one.place for one in listing.records] == ["deep/images_006/00000001_000.png", "c/x.jpg", "1.2.3.png"]
    assert ["2 pictures of that name" in listing.absent[0].what, "no such picture" in listing.absent[1].what] == [
        True,
        True,
    ]


def test_images_in_folders_of_other_names_are_told_by_patient_and_study(pictures):
    """CheXpert's full-size images lie in folders of batches, a hundred thousand view1_frontal.jpg."""
    places = [
        f"batch {1 + n % 2}/patient{n:05d}/study{1 + n % 3}/view{v}_frontal.jpg" for n in range(9) for v in (1, 2)
    ]
    folder = pictures(*places, "batch 1/patient00000/study1/view3_frontal.png")
    zero = " 0" * 5
    lines = [f"train/{place.partition('/')[2]}{zero}\n" for place in places]
    lines += [
        f"train/patient00000/study1/view3_frontal.jpg{zero}\n",
        f"train/patient00000/study9/view1_frontal.jpg{zero}\n",
    ]
    listing = ListSource(lists(folder, train="".join(lines)), "chexpert").list_records()
    assert [one.place for one in listing.records] == [*places, "batch 1/patient00000/study1/view3_frontal.png"]
    assert ["pictures of that name" in fault.what for fault in listing.absent] == [True]


def test_no_patient_gets_the_picture_of_another(pictures):
    """A copy in part: one study12 there is, of somebody else, and a picture of no patient."""
    folder = pictures("train/patient00001/study1/view1_frontal.jpg", "train/patient00777/study12/view1_frontal.jpg")
    pictures("view9_frontal.jpg")
    rows = ["patient00001/study1/view1", "patient00002/study12/view1", "patient00003/study3/view9"]
    lists(folder, train="".join(f"train/{row}_frontal.jpg 0 0 0 0 0\n" for row in rows))
    listing = ListSource(folder, "chexpert").list_records()
    assert [one.patient_id for one in listing.records] == ["patient00001"]
    assert ["no such picture" in fault.what for fault in listing.absent] == [True, True]
