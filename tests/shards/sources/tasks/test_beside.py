"""Any table: columns of classes, masks and boxes, and tables beside it."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.shards.sources.tasks.beside import Beside, parse_classes

ALONE = ["image_path", "patient_id"]


@pytest.fixture
def masked(table):
    """masked(rows, columns, **masks): a table, and beside it masks of its pictures' 90 x 70 pixels by file name."""

    def write(rows, columns, **masks):
        path = table(rows, [*ALONE, *columns])
        for name, mask in masks.items():
            Image.fromarray(mask.astype(np.uint8) * 255).save(path.parent / f"{name}.png")
        return path

    return write


def spot(row, column):
    mask = np.zeros((70, 90), bool)
    mask[row : row + 20, column : column + 30] = True
    return mask


def set_of(source, tmp_path, **options):
    build(source, tmp_path / "set", Options(workers=1, holdout=0.0, **options))
    shards = ShardSet(tmp_path / "set")
    return shards, [shards.read("train", row) for row in range(shards.count("train"))]


def bits(sample):
    return np.array(Image.open(io.BytesIO(sample["masks.png"])))


def test_columns_of_classes_have_four_states(table, tmp_path):
    rows = [{"Edema": "1.0", "Mass": "0", "Large Nodule": "-1"}, {"Edema": "", "Mass": "nan", "Large Nodule": "1"}]
    path = table([row | {"sex": "F"} for row in rows], [*ALONE, "Edema", "Mass", "Large Nodule", "sex"])
    source = CsvSource(path, keep_empty=True, beside=Beside(("Mass", "Edema", "Large Nodule")))
    shards, samples = set_of(source, tmp_path)
    about = [json.loads(sample["json"]) for sample in samples]
    assert [one["labels"] for one in about] == [{"Mass": 0, "Edema": 1, "Large Nodule": -1}, {"Large Nodule": 1}]
    assert about[0]["columns"] == {"sex": "F"}
    assert shards.manifest.labels == ("Mass", "Edema", "Large Nodule")
    assert shards.manifest.source["labels"] == ["Mass", "Edema", "Large Nodule"]


def test_a_column_that_lists_may_be_told_all_there_is(table):
    path = table([{"labels": "Mass;Hernia"}, {"labels": "No Finding"}, {"labels": ""}], [*ALONE, "labels"])
    listing = CsvSource(path, keep_empty=True, beside=Beside(parse_classes("nih"))).list_records()
    assert len(listing.labels) == 14
    assert [{name for name, value in one.labels.items() if value} for one in listing.records] == [
        *({"Mass", "Hernia"}, set(), set())
    ]
    assert all(len(one.labels) == 14 for one in listing.records)
    plain = CsvSource(path, keep_empty=True).list_records()  # as it was before there were classes
    assert plain.labels == () and [one.labels for one in plain.records] == [
        {"Mass": 1, "Hernia": 1},
        {"No Finding": 1},
        {},
    ]


@pytest.mark.parametrize(
    ("rows", "columns", "classes", "what"),
    [
        ([{"Edema": "2"}], ["Edema"], ("Edema",), "Edema is neither 1, 0, -1 nor empty"),
        ([{"Edema": "yes"}], ["Edema"], ("Edema",), "Edema is neither 1, 0, -1 nor empty"),
        ([{"labels": "Mass;Edma"}], ["labels"], ("Mass", "Edema"), "class Edma is none of Mass, Edema"),
        ([{"boxes": "[[1,2,3]]"}], ["boxes"], (), "boxes that are no list of"),
        ([{"boxes": "left lung"}], ["boxes"], (), "boxes that are no list of"),
        *(
            ([{"boxes": boxes}], ["boxes"], (), "boxes that are no list of")
            for boxes in (
                '["1234"]',
                '{"1234": 1}',
                '[["1",2,3,4]]',
                "[[true,0,5,5]]",
                "[[nan, nan, nan, nan]]",
                "[[]]",
            )
        ),
        *(
            ([{"boxes": f'[{{"x":1,"y":2,"width":3,"height":4,"finding":{name}}}]'}], ["boxes"], (), "no list of")
            for name in ("null", '" "', '["a"]')
        ),
        ([{"boxes": "[[1,2,3,4],[1,2,3,4]]"}], ["boxes"], (), "the same box twice"),
        ([{"labels": "No Finding;Mass"}], ["labels"], ("Mass", "Edema"), "No Finding beside Mass"),
        ([{"mask": "gone.png"}], ["mask"], (), "mask gone.png: no such file"),
    ],
)
def test_rows_that_cannot_be_meant(rows, columns, classes, what, table):
    path = table(rows, [*ALONE, *columns])
    (fault,) = CsvSource(path, keep_empty=True, beside=Beside(classes)).list_records().faults
    assert what in fault.what and "row 2" in fault.origin and not fault.kind


def test_a_class_without_a_column_is_missing(table):
    path = table([{"Edema": "1"}], [*ALONE, "Edema"])
    with pytest.raises(DataError, match="no column of class Mass"):
        CsvSource(path, keep_empty=True, beside=Beside(("Edema", "Mass"))).list_records()


def test_a_column_that_lists_stands_for_all_classes_or_none(table):
    """One class that is misspelt: its labels are not taken from elsewhere without a word."""
    path = table([{"Edema": "1", "labels": "Mass"}], [*ALONE, "Edema", "labels"])
    with pytest.raises(DataError, match="no column of class Mass, though of others"):
        CsvSource(path, keep_empty=True, beside=Beside(("Edema", "Mass"))).list_records()


@pytest.mark.parametrize("value", ["", " , "])
def test_classes_that_are_none_are_refused(value):
    with pytest.raises(ConfigError, match="no class"):
        parse_classes(value)


@pytest.mark.parametrize("columns", [["mask."], ["mask", "mask.mask"]])
def test_columns_of_masks_need_names_of_their_own(columns, masked):
    path = masked([dict.fromkeys(columns, "m.png")], columns, m=spot(1, 1))
    with pytest.raises(DataError, match="columns of masks without a name, or of one"):
        CsvSource(path, keep_empty=True).list_records()


def test_a_mask_in_a_row_and_in_the_table_beside_it_is_a_fault(masked):
    path = masked([{"mask.heart": "heart.png"}], ["mask.heart"], heart=spot(10, 20))
    (path.parent / "masks.csv").write_text("image_path,mask_path,label\ns0.jpg,heart.png,heart\n")
    beside = Beside(masks=path.parent / "masks.csv")
    (fault,) = CsvSource(path, keep_empty=True, beside=beside).list_records().faults
    assert "a mask heart in its row, and one in the table" in fault.what


def test_masks_of_columns_have_names(masked, tmp_path):
    heart, lung = spot(10, 20), spot(40, 5)
    rows = [{"mask.heart": "heart.png", "mask.lung": "lung.png"}, {"mask.lung": "lung.png"}, {}]
    path = masked(rows, ["mask.heart", "mask.lung"], heart=heart, lung=lung)
    shards, (both, one, none) = set_of(CsvSource(path, keep_empty=True), tmp_path)
    assert shards.manifest.masks == ("heart", "lung")
    assert np.array_equal(bits(both), heart + 2 * lung)
    assert np.array_equal(bits(one), 2 * lung)  # the heart is empty there: the row has a mask
    assert "masks.png" not in none and "masks" not in json.loads(none["json"])  # unknown: it has none


def test_masks_keep_pace_with_their_image(masked, tmp_path):
    path = masked([{"mask": "m.png"}], ["mask"], m=spot(10, 20))
    shards, (sample,) = set_of(CsvSource(path, keep_empty=True), tmp_path, short_side=35)
    assert shards.manifest.masks == ("mask",) and np.array_equal(bits(sample), spot(10, 20)[1::2, 1::2])


def test_boxes_of_a_column_are_corners_or_objects(table, tmp_path):
    named = json.dumps([{"finding": "Mass", "x": 1, "y": 2, "width": 30, "height": 40}])
    path = table([{"boxes": "[[10, 20, 50, 60.5]]"}, {"boxes": named}, {"boxes": "[[0, 0, 0, 0]]"}], [*ALONE, "boxes"])
    _, samples = set_of(CsvSource(path, keep_empty=True), tmp_path)
    found = [json.loads(sample["json"]).get("boxes") for sample in samples]
    assert found == [
        [{"finding": "box", "x": 10, "y": 20, "width": 40, "height": 40.5}],
        [{"finding": "Mass", "x": 1, "y": 2, "width": 30, "height": 40}],
        None,
    ]


def test_tables_beside_have_paths_of_their_own(masked, tmp_path):
    path = masked([{}, {}], [], heart=spot(10, 20))
    other = path.parent / "other"
    other.mkdir()
    (other / "masks.csv").write_text("image_path,mask_path,label\n../s0.jpg,../heart.png,heart\n")
    (other / "boxes.csv").write_text(
        "image_path,label,x,y,width,height\n../s0.jpg,lung,1,2,30,40\n../s0.jpg,heart,20,10,30,20\n"
    )
    beside = Beside(masks=other / "masks.csv", boxes=other / "boxes.csv")
    shards, (first, second) = set_of(CsvSource(path, keep_empty=True, beside=beside), tmp_path)
    assert np.array_equal(bits(first), spot(10, 20)) and "masks.png" not in second
    assert [box["finding"] for box in json.loads(first["json"])["boxes"]] == ["lung", "heart"]
    assert shards.manifest.source["masks"] == "masks.csv" and str(tmp_path) not in json.dumps(shards.manifest.source)


@pytest.mark.parametrize(
    ("name", "rows", "what"),
    [
        ("masks", "s7.jpg,heart.png,heart\n", "its image is not in the table"),
        ("masks", "s0.jpg,heart.png,\n", "no label"),
        ("masks", "s0.jpg,,heart\n", "no mask_path"),
        ("masks", "s0.jpg,heart.png,heart\ns0.jpg,heart.png,heart\n", "a second mask heart"),
        ("boxes", "s0.jpg,heart,1,2,0,4\n", "no box"),
        ("boxes", "s0.jpg,heart,1,2,nan,4\n", "no box"),
        ("boxes", "s0.jpg,heart,1,2,x,4\n", "no box"),
        ("boxes", "s0.jpg,heart,1,2,3,4\ns0.jpg,heart,1,2,3,4\n", "the same box as in a row before"),
    ],
)
def test_rows_beside_that_cannot_be_meant(name, rows, what, masked):
    path = masked([{}], [], heart=spot(10, 20))
    head = {"masks": "image_path,mask_path,label\n", "boxes": "image_path,label,x,y,width,height\n"}[name]
    (path.parent / f"{name}.csv").write_text(head + rows)
    listing = CsvSource(path, keep_empty=True, beside=Beside(**{name: path.parent / f"{name}.csv"})).list_records()
    (fault,) = listing.faults
    assert what in fault.what and f"{name}.csv row" in fault.origin


def test_more_masks_than_a_pixel_has_bits_are_refused(masked):
    names = [f"mask.m{number}" for number in range(17)]
    path = masked([dict.fromkeys(names, "m.png")], names, m=spot(1, 1))
    (fault,) = CsvSource(path, keep_empty=True).list_records().faults
    assert fault.what == "17 kinds of masks, a pixel has room for 16"
    with pytest.raises(DataError, match="17 kinds of masks"):
        build(CsvSource(path, keep_empty=True), path.parent / "set", Options(workers=1))


def test_real_masks_and_boxes(real_data, tmp_path):
    """Lungs of cxr-mini: what the two tables say is what the set has."""
    folder = real_data / "cxr-mini"
    beside = Beside(masks=folder / "masks.csv", boxes=folder / "boxes.csv")
    build(CsvSource(folder / "images.csv", keep_empty=True, beside=beside), tmp_path / "set", Options(short_side=256))
    shards = ShardSet(tmp_path / "set")
    lung = shards.manifest.masks.index("left_lung")
    with_masks = boxes = 0
    for split in shards.splits:
        for row in range(shards.count(split)):
            sample = shards.read(split, row)
            about = shards.metadata(split, row)
            boxes += len(about.get("boxes", ()))
            if "masks.png" in sample:
                with_masks += 1
                found = bits(sample) >> lung & 1
                (box,) = [one for one in about["boxes"] if one["finding"] == "left_lung"] or [None]
                if box:  # the box was drawn around the same lung
                    rows, columns = np.nonzero(found)
                    centre = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
                    assert abs(columns.mean() - centre[0]) < 40 and abs(rows.mean() - centre[1]) < 60
    assert (with_masks, boxes) == (29, 455)
