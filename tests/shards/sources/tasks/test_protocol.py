"""Every list of SPEC 7: heads and counts as stated there, on lists that are generated with the same heads."""

import json
import random

import pytest

from ecamp_fast.shards.sources.base import Listing
from ecamp_fast.shards.sources.tasks.lists import one_split, read_lists
from ecamp_fast.shards.sources.tasks.protocol import TASKS

# SPEC 7.1, copied by hand: classes, then rows of train 1 / 10 / 100 %, val, test, and the first line.
TEXT = {
    "nih": (14, 785, 7847, 78468, 11219, 22433, "images_006/00011997_000.png 0 0 0 0 0 0 0 0 0 0 0 0 0 0"),
    "chexpert": (5, 2184, 21841, 218414, 234, 234, "train/patient57997/study1/view1_frontal.jpg 0 1 0 1 1"),
    "rsna": (1, 252, 2518, 25184, 1500, 3000, "train_images/0004cfab-14fd-4e49-80ba-63a80b6bddd6.png 0"),
    "covidx": (3, 271, 2712, 27117, 3013, 400, "test/MIDRC-RICORD-1C-419639-003251-46647-0.png 2"),
    "aptos": (5, 25, 256, 2563, 366, 733, "000c1434d8d7.png 2"),
    "odir5k": (8, 45, 448, 4474, 639, 1279, "4489_right.jpg 0 1 0 0 0 0 0 0"),
    "mured": (20, 15, 154, 1542, 222, 444, "959.png" + " 0" * 19 + " 1"),
    "spinexr": (1, 74, 739, 7389, 1000, 2077, "train/9106ed62c7d28c9aa713da6a5340313b.png 0"),
}
EXCLUSIVE = ("covidx", "aptos")


def names(task, head):
    """Paths of the form of a head: its digits replaced by a running number."""
    path = head.split()[0]
    stem, ending = path.rsplit(".", 1)
    return lambda number: path if number == 0 else f"{stem}x{number}.{ending}"


@pytest.mark.parametrize("task", TEXT)
def test_text_lists_have_the_heads_and_counts_of_the_protocol(task, tmp_path):
    classes, one, ten, whole, val, test, head = TEXT[task]
    assert len(TASKS[task].classes) == classes and TASKS[task].exclusive == (task in EXCLUSIVE)
    assert TASKS[task].head["txt"] == head
    name, values = names(task, head), head.split(None, 1)[1]

    def write(file, numbers):
        (tmp_path / f"{file}.txt").write_text("".join(f"{name(number)} {values}  \n" for number in numbers))

    draw = random.Random(7)
    write("train_list", range(whole))
    write("train_list_1", [0, *draw.sample(range(1, whole), one - 1)])
    write("train_list_10", draw.sample(range(whole), ten))
    if task == "chexpert":  # its val list is its test list
        write("val_list", range(whole, whole + val))
        write("test_list", range(whole, whole + val))
        total = whole + val
    else:
        write("val_list", range(whole, whole + val))
        write("test_list", range(whole + val, whole + val + test))
        total = whole + val + test
    listing = Listing([])
    found = read_lists(tmp_path, TASKS[task], listing)
    assert not listing.faults and not listing.notes and len(found) == total
    first = found[name(0)]
    assert first.splits == ["train"] and "1" in first.fractions and "100" in first.fractions
    stated = [first.stated.labels[one] for one in TASKS[task].classes]
    if task in EXCLUSIVE:
        assert stated == [int(at == int(values)) for at in range(classes)]
    else:
        assert stated == [int(value) for value in values.split()]
    counted = {fraction: sum(fraction in one.fractions for one in found.values()) for fraction in ("1", "10", "100")}
    assert counted == {"1": one, "10": ten, "100": whole}
    one_split(found.values(), TASKS[task], listing)
    assert not listing.faults
    assert sum(one.splits == ["test"] for one in found.values()) == test
    assert sum(one.splits == ["val"] for one in found.values()) == (0 if task == "chexpert" else val)


def test_a_list_of_another_length_is_noted(tmp_path):
    (tmp_path / "train_list_1.txt").write_text("000c1434d8d7.png 2\n")
    listing = Listing([])
    read_lists(tmp_path, TASKS["aptos"], listing)
    assert listing.notes == ["train_list_1.txt has 1 row, the list of the paper's protocol 25"]


def test_tables_of_boxes_have_the_head_and_counts_of_the_protocol(tmp_path):
    """SPEC 7.2: rows (positives) 160 (38), 1,601 (361), 16,010 (3,579), 5,337 (1,182), 5,337 (1,251)."""
    head = 'train_images/a37191a3-64a6-4a9d-9340-36f3decb92d6.png,"[[0.0, 0.0, 0.0, 0.0]]"'
    assert TASKS["rsna"].head["csv"] == head
    at = 0
    for file, rows, positives in (
        ("train_list", 16010, 3579),
        ("val_list", 5337, 1182),
        ("test_list", 5337, 1251),
    ):
        lines = [head] if file == "train_list" else []
        while len(lines) < rows:
            box = (
                "[[264.0, 152.0, 477.0, 531.0], [562.0, 152.0, 818.0, 605.0]]" if len(lines) >= rows - positives else ""
            )
            at += 1
            lines.append(f'train_images/{at}.png,"{box or "[[0.0, 0.0, 0.0, 0.0]]"}"')
        (tmp_path / f"{file}.csv").write_text("\n".join(["image_path,bbox", *lines]) + "\n")
        if file == "train_list":
            (tmp_path / "train_list_1.csv").write_text(
                "\n".join(["image_path,bbox", *lines[-38:], *lines[:122]]) + "\n"
            )
            (tmp_path / "train_list_10.csv").write_text(
                "\n".join(["image_path,bbox", *lines[-361:], *lines[:1240]]) + "\n"
            )
    listing = Listing([])
    found = read_lists(tmp_path, TASKS["rsna"], listing)
    assert not listing.faults and not listing.notes
    for name, positives in (("1", 38), ("10", 361), ("100", 3579)):
        assert sum(bool(one.stated.boxes) for one in found.values() if name in one.fractions) == positives
    assert sum(bool(one.stated.boxes) for one in found.values() if one.splits == ["test"]) == 1251
    first = found["train_images/a37191a3-64a6-4a9d-9340-36f3decb92d6.png"]
    assert first.stated.boxes == () and first.stated.labels == {"Pneumonia": 0}
    box = next(one.stated.boxes for one in found.values() if one.stated.boxes)
    assert box == (("Pneumonia", 264, 152, 213, 379), ("Pneumonia", 562, 152, 256, 453))


def test_tables_of_run_lengths_have_the_head_and_counts_of_the_protocol(tmp_path):
    """SPEC 7.2: rows / images / positives 92/80/25, 883/797/222, 2169/1898/663, 2146/1904/672; val and test share 124
    images, train 10 % has 55 of val and 49 of test, 1 % 5 and 5: all positive, with the same rows.
    """
    assert TASKS["siim"].head["csv"] == "ImageId,EncodedPixels"

    def image(number):
        return f"1.2.276.0.7230010.3.1.4.8323329.{number}.1517875{number}"

    shared = {  # where positives stand: numbers of images, the first of each list are the shared ones
        "test_list": [*range(672)],
        "val_list": [*range(124), *range(1000, 1000 + 663 - 124)],
        "train_list_10": [*range(200, 249), *range(1100, 1155), *range(2000, 2000 + 222 - 104)],
        "train_list_1": [*range(250, 255), *range(1200, 1205), *range(3000, 3015)],
    }
    sizes = {"test_list": (2146, 1904), "val_list": (2169, 1898), "train_list_10": (883, 797), "train_list_1": (92, 80)}
    # several rows an image: of images that no other list has, so that what they share is alike
    several = {"test_list": 300, "val_list": 1210, "train_list_10": 2000, "train_list_1": 3000}
    fresh = 10_000
    for file, positives in shared.items():
        rows, images = sizes[file]
        lines = [f"{image(number)},{5000 + number} 3 1021 3" for number in positives]
        while len(lines) < images:
            fresh += 1
            lines.append(f"{image(fresh)},-1")
        start = several[file]
        lines += [
            f"{image(start + extra % (100 if images > 100 else 12))},{9000 + extra} 2" for extra in range(rows - images)
        ]
        (tmp_path / f"{file}.csv").write_text("\n".join(["ImageId,EncodedPixels", *lines]) + "\n")
    listing = Listing([])
    found = read_lists(tmp_path, TASKS["siim"], listing)
    assert not listing.faults and not listing.notes
    together = dict.fromkeys((("test", "val"), ("test", "train"), ("val", "train")), 0)
    for one in found.values():
        for pair in together:
            together[pair] += {*pair} <= {*one.splits}
    assert together == {("test", "val"): 124, ("test", "train"): 49 + 5, ("val", "train"): 55 + 5}
    one_split(found.values(), TASKS["siim"], listing)
    assert not listing.faults
    assert listing.notes == ["238 images are in several lists: kept in test before val before train"]
    assert sum(one.splits == ["test"] for one in found.values()) == 1904
    assert sum(one.splits == ["val"] for one in found.values()) == 1898 - 124
    assert sum(one.splits == ["train"] for one in found.values()) == 80 + 797 - 49 - 55 - 5 - 5
    assert all(len(one.splits) == 1 and not (one.fractions and one.splits != ["train"]) for one in found.values())
    assert sum(one.stated.labels["Pneumothorax"] for one in found.values()) == 672 + 539 + 118 + 15


def test_tables_of_masks_have_the_head_and_counts_of_the_protocol(tmp_path):
    """SPEC 7.2: RIGA, 5 / 56 / 560 train, 95 val, 95 test."""
    head = "Image/BinRushed/BinRushed1/image47.tif,FinalLabel/BinRushed/BinRushed1/image47.tif"
    assert TASKS["riga"].head["csv"] == head
    rows = [head] + [head.replace("47", str(1000 + number)) for number in range(749)]
    for file, part in (
        *(("train_list_1", rows[:5]), ("train_list_10", rows[:56]), ("train_list", rows[:560])),
        *(("val_list", rows[560:655]), ("test_list", rows[655:])),
    ):
        (tmp_path / f"{file}.csv").write_text("\n".join(["img_path,mask_path", *part]) + "\n")
    listing = Listing([])
    found = read_lists(tmp_path, TASKS["riga"], listing)
    assert not listing.faults and not listing.notes and len(found) == 750
    first = found["Image/BinRushed/BinRushed1/image47.tif"]
    mask = "FinalLabel/BinRushed/BinRushed1/image47.tif"
    assert (first.splits, first.fractions, first.stated.masks) == (
        ["train"],
        ["1", "10", "100"],
        {"disc": mask, "cup": mask},
    )


def test_the_protocol_is_what_a_recipe_may_name():
    assert {*TASKS} == {*TEXT, "siim", "riga"}
    assert json.dumps([TASKS[name].classes for name in TASKS])  # plain data
