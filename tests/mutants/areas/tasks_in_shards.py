"""Data sets of tasks: what a class is taken for, run lengths, masks and boxes, lists, and splits that are carved."""

from typing import Any

from mutant import mutants

CLASSES = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion", "Fracture")


def resolved() -> Any:
    """What a task learns of every value, in sets of several kinds; the order of classes."""
    from ecamp_fast.shards.format.labels import class_order, read_labels, targets

    out = [
        targets(dict.fromkeys(CLASSES[:at], value), CLASSES, classes, kind)
        for value in (1, 0, -1)
        for at in (0, 6)
        for classes in ((), CLASSES)
        for kind in ("csv", "chexpert", "mimic-cxr")
    ]
    orders = [class_order([{"b": 0}, {"a": 1, "b": 0, "d": -1}, {"c": 0, "d": 1}]), class_order([{"b": 1}, {"a": 1}])]
    return str((out, orders, [read_labels(value) for value in (["a"], {"a": 2}, {"a": True}, {"a": -1}, [1], "a")]))


def masked() -> Any:
    """Run lengths as masks and what is wrong with others, masks at other sizes, planes."""
    import io

    import numpy as np
    from PIL import Image

    from ecamp_fast.shards.images.planes import check_runs, fits, from_runs, nearest, read_mask, stack

    out: list[Any] = [from_runs(text, 8).tolist() for text in ("0 1", "9 2 3 4", "17 16 0 8 1 1", "63 1")]
    out += [check_runs(text, 8) for text in ("", "1 2 3", "-1 2", "3 0", "60 5", "63 1", "a 1")]
    mask = np.arange(12).reshape(3, 4) % 5 == 0
    for size in ((8, 6), (4, 3), (6, 8), (5, 4)):
        try:
            out.append(fits(mask, size).tolist())
        except ValueError as error:
            out.append(str(error))
    for colour in ((0, 0, 2, 255), (255, 255, 255, 0)):
        file = io.BytesIO()
        Image.new("RGBA", (2, 2), colour).save(file, "PNG")
        try:
            out.append(read_mask(file.getvalue()).tolist())
        except ValueError as error:
            out.append(str(error))
    return [*out, nearest(mask, (3, 2)).tolist(), stack([mask, ~mask, mask]).tolist(), stack([mask] * 9).tolist()]


def annotated() -> Any:
    """Boxes on canvases, boxes outside, and masks of a record, whatever they are."""
    from pathlib import Path

    from PIL import Image

    from ecamp_fast.shards.sources.base import Record, SourceImage
    from ecamp_fast.shards.sources.tasks.annotations import EMPTY, annotated, parse_boxes, runs_place

    loaded, out = SourceImage(Image.new("L", (64, 64)), (64, 64)), list[Any]()
    for canvas in (0, 1024):
        for text in ("[[10, 20, 30, 50]]", "[[0,0,0,0]]", "[[60,0,65,10]]", "[[60,0,90,10]]", "[[1000, 0, 1024, 30]]"):
            record = Record("row", 1, "s", "1", "a.png", "", boxes=parse_boxes(text, "x"))
            try:
                out.append(annotated(loaded, record, Path(), (), canvas).boxes)
            except ValueError as error:
                out.append(str(error))
    runs = runs_place(["2048 90000", "500000 90000"])
    for masks in ({"a": runs}, {"b": runs, "a": EMPTY}, {"a": EMPTY}, {}):
        given = annotated(loaded, Record("row", 1, "s", "1", "a.png", "", masks=masks), Path(), ("a", "b"))
        out.append((given.mask_names, None if given.masks is None else given.masks.tolist()))
    return out


def listed() -> Any:
    """Lists of text and tables: splits, fractions, labels, faults, and which split an image stays in."""
    import tempfile
    from pathlib import Path

    from ecamp_fast.shards.sources.base import Listing
    from ecamp_fast.shards.sources.tasks.lists import one_split, read_lists
    from ecamp_fast.shards.sources.tasks.protocol import TASKS

    head = "ImageId,EncodedPixels\n"
    cases: tuple[tuple[str, dict[str, str]], ...] = (
        ("aptos", {"train_list.txt": "a.png 1\nb.png 4\n", "train_list_1.txt": "b.png 4\n", "val_list.txt": "c.png 0"}),
        ("aptos", {"train_list.txt": "a.png 1\n", "train_list_10.txt": "d.png 4\n", "test_list.txt": "a.png 1\n"}),
        ("aptos", {"train_list.txt": "a.png 5\nb.png 1 1\nc.png -1\nd.png 0\nd.png 0\n"}),
        ("chexpert", {"train_list_1.txt": "a b.jpg 0 1 0 1 1 \n", "val_list.txt": "c.jpg 1 0 0 0\nd.jpg 2 0 0 0 0"}),
        ("siim", {"train_list_1.csv": head + "i,5 3\ni,9 2\nj,-1\n", "test_list.csv": head + "i,5 3\ni,9 2\n"}),
        ("siim", {"train_list_1.csv": head + "i,5 3\nj,-1\n", "val_list.csv": head + "i,5 3\nj,5 3\n"}),
        ("siim", {"train_list_1.csv": head + "i,5 3\ni,-1\nj,5 3 1\n", "val_list.csv": head + "k,5 3\n"}),
        ("rsna", {"train_list.csv": 'image_path,bbox\na.png,"[[1,2,3,4]]"\nb.png,"[[0.0,0.0,0.0,0.0]]"\nb.png,[]\n'}),
        ("riga", {"train_list.csv": "img_path,mask_path\na.png,m.png\nb.png,\n"}),
    )
    out = list[Any]()
    for task, files in cases:
        with tempfile.TemporaryDirectory() as name:
            for file, text in files.items():
                Path(name, file).write_text(text)
            listing = Listing([])
            found = read_lists(Path(name), TASKS[task], listing)
            before = [(one.name, list(one.splits), list(one.fractions), repr(one.stated)) for one in found.values()]
            one_split(found.values(), TASKS[task], listing)
            after = [(one.splits, one.fractions) for one in found.values()]
            out.append((before, after, [str(fault) for fault in listing.faults], listing.notes))
    return out


def carved() -> Any:
    """Which patients leave train, for which split, by several seeds."""
    from ecamp_fast.shards.sources.base import Record
    from ecamp_fast.shards.sources.tasks.draw import carve, few

    out = list[Any]()
    for seed, wanted in ((1, {"val": 5}), (2, {"val": 5}), (1, {"test": 4, "val": 3}), (1, {"val": 1000})):
        records = [
            Record("row", n, f"s{n}", "1", "", "", patient_id=f"p{n // 3}" if n < 30 else "", split="train")
            for n in range(40)
        ]
        records[0].split = records[1].split = records[2].split = "test"
        taken = carve(records, wanted, seed)
        out.append((taken, [record.split for record in records], few(records, 1000), few(records, 2)))
    return out


def tabled() -> Any:
    """Values of classes in tables, and of rows that list some of all."""
    from ecamp_fast.shards.sources.tasks.tables import among, stated

    out = list[Any]()
    for value in ("1", "1.0", "0", "-1.0", "", "nan", "2", "1.5", "yes"):
        try:
            out.append(stated({"a": value, "b": "1"}, ("b", "a")))
        except ValueError as error:
            out.append(str(error))
    for names in (["a"], ["No Finding"], ["a", " b "], ["c"], [], ["a", "No Finding"]):
        try:
            out.append(among(names, ("b", "a")))
        except ValueError as error:
            out.append(str(error))
    return out


def placed() -> Any:
    """Which picture a name gets, where only another patient's has that name."""
    import tempfile
    from pathlib import Path

    from ecamp_fast.shards.sources.base import Listing
    from ecamp_fast.shards.sources.tasks.places import ImagePlaces
    from ecamp_fast.shards.sources.tasks.protocol import PATIENTS

    with tempfile.TemporaryDirectory() as name:
        for place in ("patient1/study1/v1.jpg", "patient7/study12/v1.jpg", "v9.jpg"):
            path = Path(name, place)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        found = ImagePlaces(Path(name), Listing([]), PATIENTS["chexpert"])
        names = ("a/patient1/study1/v1.jpg", "patient2/study12/v1.jpg", "patient3/study1/v9.jpg", "v9.png")
        return [str(found.find(one, "row")) for one in names]


TASKS = "tests/shards/sources/tasks"
LABELS = "tests/shards/format/test_labels.py"
PLANES = "tests/shards/images/test_planes.py"
LISTED = f"{TASKS}/test_listed.py"
OWNERS = f"{TASKS}/test_owners.py"
BESIDE = f"{TASKS}/test_beside.py"

MUTANTS = [
    *mutants(
        "shards/format/labels.py",
        LABELS,
        resolved,
        {
            "uncertain cardiomegaly is present": ('"Cardiomegaly": NEGATIVE', '"Cardiomegaly": POSITIVE'),
            "uncertain edema is absent": ('"Edema": POSITIVE', '"Edema": NEGATIVE'),
            "what has no rule is absent": ("uncertain.get(name, UNCERTAIN)", "uncertain.get(name, NEGATIVE)"),
            "what is blank is absent everywhere": ("else math.nan\n", "else float(NEGATIVE)\n"),
            "what is blank is unknown in sets that list": (
                "if not classes or kind in BLANK_IS_NEGATIVE",
                "if kind in BLANK_IS_NEGATIVE",
            ),
            "any number is a value": ("number in VALUES for number", "number < 9 for number"),
            "a class comes behind all": ("order.insert(at, name)", "order.append(name)"),
            "what lists has classes too": ("return () if lists else tuple(order)", "return tuple(order)"),
        },
    ),
    *mutants(
        "shards/images/planes.py",
        PLANES,
        masked,
        {
            "run lengths go along the rows": (".reshape(side, side).T", ".reshape(side, side)"),
            "offsets count from the start of the run before": ("        at += length\n", "        at += 0\n"),
            "offsets are places": ("        at += offset\n", "        at = offset\n"),
            "a run may end beyond": ("if sum(numbers) > side * side:", "if sum(numbers) > 9 * side * side:"),
            "a run may have no length": ("min(numbers[1::2]) < 1", "min(numbers[1::2]) < 0"),
            "a dark colour is black": ("np.maximum(values, 1), 0)", "values, 0)"),
            "what is transparent is white": ("colours[..., 3].min() < 255", "colours[..., 3].min() < 0"),
            "any shape fits": ("- 1) > _SHARE", "- 1) > 9"),
            "planes count from the second bit": (
                "planes.dtype.type(bit)",
                "planes.dtype.type(min(bit + 1, 7))",
            ),
        },
    ),
    *mutants(
        "shards/sources/tasks/annotations.py",
        f"{LISTED} {OWNERS} {BESIDE}",
        annotated,
        {
            "boxes stay on their canvas": (
                "(canvas, canvas) if canvas else size",
                "(canvas, canvas) if canvas > 2000 else size",
            ),
            "a box may stand out to the right": ("x + width > across + _NEAR", "x > across + _NEAR"),
            "corners are sizes": ("return finding, x1, y1, x2 - x1, y2 - y1", "return finding, x1, y1, x2, y2"),
            "a box of zeros is one": ("for box in boxes if any(box[1:])", "for box in boxes if len(box) > 1"),
            "the last of several run lengths is the mask": ("np.logical_or.reduce([", "np.logical_and.reduce(["),
            "an empty mask is none": (
                "    if not record.masks or not names:",
                "    if {*record.masks.values()} <= {EMPTY}:",
            ),
        },
    ),
    *mutants(
        "shards/sources/tasks/lists.py",
        f"{LISTED} {TASKS}/test_protocol.py -k not(nih)and(not(chexpert))",
        listed,
        {
            "train goes before val": ('ORDER = ("test", "val", "train")', 'ORDER = ("test", "train", "val")'),
            "an image may be in two splits": (
                "        if not task.overlaps:\n",
                "        if task.exclusive is None:\n",
            ),
            "lists of one image may differ": (
                "one.stated is not stated and one.stated != stated",
                "one.stated is None",
            ),
            "numbers of classes count from one": ("int(at == numbers[0])", "int(at + 1 == numbers[0])"),
            "labels may be too many": ("if len(values) != wanted or _number(", "if len(values) != wanted and _number("),
            "an image that is listed twice counts once": ("not fault and name in rows", "fault and name in rows"),
            "a mask and none go together": ("if any(absent) and not all(absent):", "if not absent:"),
            "no mask is a mask": ("int(place != EMPTY)", "1"),
            "what is tested has fractions": (
                "            one.fractions = []\n",
                "            one.fractions = one.fractions\n",
            ),
            "tens need not be among all": ('and "100" not in one.fractions:', 'and "9" in one.fractions:'),
        },
    ),
    *mutants(
        "shards/sources/tasks/draw.py",
        f"{TASKS}/test_draw.py",
        carved,
        {
            "images are carved, not patients": (
                'record.patient_id or f"study {record.study_id}"',
                "record.study_id",
            ),
            "the seed is no matter": ("sample_keys(seed, 0,", "sample_keys(0, 0,"),
            "test is carved too": ('        if record.split == "train":\n', "        if record.split:\n"),
            "one patient is enough": ("while taken[split] < count and", "while not taken[split] and"),
            "a quarter of few is taken": ("_EIGHTH = 8", "_EIGHTH = 4"),
        },
    ),
    *mutants(
        "shards/sources/tasks/tables.py",
        f"{OWNERS} {BESIDE}",
        tabled,
        {
            "a blank is a zero": ("        if text:\n", "        if text or labels.setdefault(name, 0):\n"),
            "uncertain is absent": ("labels[name] = int(value[1])", "labels[name] = max(0, int(value[1]))"),
            "a class that there is not is passed over": ("    if other:\n", "    if len(other) > 9:\n"),
            "nothing may be found beside a class": ("    if stands and (nothing", "    if not classes and (nothing"),
            "what is not listed is unknown": (
                "for name in classes}\n",
                "for name in classes if name in found}\n",
            ),
        },
    ),
    *mutants(
        "shards/sources/tasks/places.py",
        LISTED,
        placed,
        {
            "a picture of nobody is of any patient": (
                "placed is not None and placed[1] == named[1]",
                "placed is None or placed[1] == named[1]",
            ),
            "a patient gets the picture of another": (
                "placed is not None and placed[1] == named[1]",
                "placed is not None",
            ),
        },
    ),
]
