"""From a source to a set: splits, samples, counts, and any picture to a grey JPEG."""

from typing import Any

from mutant import mutants


def named() -> Any:
    """Splits of 40 patients with two studies each, of 60, and of one table that names them."""
    from ecamp_fast.shards.builder.naming import assign_splits
    from ecamp_fast.shards.sources.base import Record

    def record(number: int, split: str = "") -> Record:
        study = f"s{number}"
        return Record("row", number, study, "1", study, "text", patient_id=f"p{number // 2}", split=split)

    out: list[Any] = []
    for count, holdout in ((80, 0.2), (120, 0.2), (80, 0.001), (2, 0.5)):
        records = [record(number) for number in range(count)]
        out.append((assign_splits(records, holdout, 3), "".join(one.split[0] for one in records)))
    records = [record(number, split) for number, split in enumerate(("train", "Valid", "train", "train", "hold"))]
    return out, [fault.what for fault in assign_splits(records, 0.1, 0)]


def planned() -> Any:
    """A plan of nine rows of which three have no image, its parts, and its tokenizer; and counts of tokens."""
    from ecamp_fast.shards.builder.journal import own_units
    from ecamp_fast.shards.builder.manifest_counts import text_statistics
    from ecamp_fast.shards.builder.plan import Options, make_plan
    from ecamp_fast.shards.builder.resume import train_tokenizer
    from ecamp_fast.shards.sources.base import Listing, Record, RecordFault

    words = ("alpha", "beta", "gamma", "delta", "zzyzx", "quux")
    records = [
        Record("row", n, f"s{n}", "1", f"{n}.jpg", words[n], split="val" if n > 3 else "train") for n in range(6)
    ]
    absent = [RecordFault(f"row {n}", "no such file", "find it", "unreadable") for n in range(6, 9)]

    class Source:
        kind, description = "test", {"kind": "test"}

        def list_records(self) -> Listing:
            return Listing(records, absent=absent)

        def load(self, record: Record, short_side: int) -> Any:
            raise NotImplementedError

    plan = make_plan(Source(), Options(reject_budget=0.34, shard_size=1))
    wordpiece = train_tokenizer(plan, 200)
    return (
        plan.allowed,
        [(unit.name, [record.key for record in unit.records]) for unit in plan.units],
        [own_units([unit.name for unit in plan.units], (part, 3)) for part in (1, 2, 3)],
        [[token[0] for token in wordpiece.encode(word)] for word in words],
        text_statistics(range(1, 101), [3] * 100),
    )


def packed() -> Any:
    """Samples with a map, masks and boxes: denied alone, found as well, and without a report."""
    import io
    import json
    import tempfile
    from pathlib import Path

    import numpy as np
    from PIL import Image

    from ecamp_fast.shards.builder.pack import Packer
    from ecamp_fast.shards.images.encode import read_pgm
    from ecamp_fast.shards.sources.base import Record, SourceImage
    from ecamp_fast.text.wordpiece import train_wordpiece

    ramp = Image.fromarray(np.add.outer(np.arange(60) * 2, np.arange(90)).astype(np.uint8))
    bits = np.zeros((60, 90), np.uint8)
    bits[10:21:2, 30:50] = 5

    class Source:
        kind, description = "test", {"kind": "test"}
        turned = False

        def list_records(self) -> Any:
            raise NotImplementedError

        def load(self, record: Record, short_side: int) -> SourceImage:
            picture = ramp.point(lambda value: 255 - value) if record.row % 2 else ramp
            box = ("effusion", 30.0, 10.0, 20.0, 10.0)
            return SourceImage(picture, ramp.size, ramp, bits, boxes=(box,), states_polarity=record.row > 3)

    reports = ("No edema. No effusion.", "No edema. Small effusion.", "", "Nothing to say.", "Edema.", "Edema.")
    with tempfile.TemporaryDirectory() as name:
        tokenizer, out = Path(name) / "tokenizer.json", []
        train_wordpiece(list(reports[:2]), 100).save(tokenizer)
        packer = Packer(Source(), 20, tokenizer)
        for row, report in enumerate(reports):
            sample: Any = packer.pack(Record("row", row, f"s{row}", "1", f"{row}.jpg", report))
            masks = np.asarray(Image.open(io.BytesIO(sample.members["masks.png"])))
            attention = read_pgm(sample.members["attn.pgm"])
            boxes = json.loads(sample.members["json"])["boxes"]
            out.append((attention.shape, int(attention.sum()), masks.sum(1).tolist(), boxes, sample.inverted))
    return out


def pictures() -> Any:
    """Grey values of pictures of many kinds, sizes of reduced ones, and which JPEG is stored as it is."""
    import io

    import numpy as np
    from PIL import Image

    from ecamp_fast.shards.images.encode import decode, decode_reduced, looks_inverted, pgm, radiograph, read_pgm
    from ecamp_fast.shards.images.jpeg_passthrough import as_built
    from ecamp_fast.shards.images.limits import BadImage

    def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    ramp = Image.fromarray(np.add.outer(np.arange(150) // 2, np.arange(200)).astype(np.uint8))
    deep = Image.fromarray((np.arange(64, dtype=np.uint16) * 1031).reshape(8, 8))
    clear = Image.new("RGBA", (4, 4), (200, 200, 200, 51))
    out: list[Any] = [np.asarray(decode(file(one))).tolist() for one in (deep, clear)]
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image, size = decode_reduced(file(ramp, "JPEG", exif=exif), 70)
        out.append((size, image.size, int(np.asarray(image)[0, 0]) // 16))
    out.append(decode_reduced(file(ramp, "JPEG"), 80)[0].size)
    sizes = [radiograph(ramp, limit).size for limit in (50, 160, 1024)]
    wide = Image.fromarray(np.tile(np.asarray(ramp), (2, 3)))
    kinds = [as_built(file(one, "JPEG")) for one in (ramp, ramp.convert("RGB"))]
    out.append(np.asarray(decode(file(deep, "TIFF", tiffinfo={262: 0}))).tolist())
    for low, high, odd in ((0, 15, 255), (0, 65, 0), (240, 255, 0), (120, 130, 130), (0, 255, 0)):
        values = np.tile(np.linspace(low, high, 100).round().astype(np.uint8), (10, 1))
        values[0, 0] = odd
        signed = file(Image.fromarray(values), "TIFF", tiffinfo={339: 2})
        try:
            out.append(radiograph(Image.fromarray(values), 50).size)
            out.append(decode(signed).size)
        except BadImage as bad:
            out.append(bad.what)
    return out, sizes, read_pgm(pgm(wide)).shape, kinds, looks_inverted(Image.radial_gradient("L"))


def dicoms() -> Any:
    """The ramp of 12 bits under every polarity, sign, window and slope."""
    import io

    import numpy as np
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset

    from ecamp_fast.shards.images.dicom import read

    def grey(signed: bool, **elements: Any) -> list[int]:
        pixels = np.arange(0, 4096, 7, dtype=np.int16)[:512].reshape(16, 32) - 2048 * signed
        ds, buffer = Dataset(), io.BytesIO()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
            "1.2.840.10008.5.1.4.1.1.1.1",
            "1.2",
        )
        ds.PhotometricInterpretation, ds.SamplesPerPixel = "MONOCHROME2", 1
        ds.Rows, ds.Columns = pixels.shape
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, int(signed)
        ds.PixelData = pixels.astype("<i2").tobytes()
        for name, value in elements.items():
            setattr(ds, name, value)
        ds.save_as(buffer, enforce_file_format=True)
        return np.asarray(read(buffer.getvalue()).image).ravel()[::37].tolist()

    window = {"WindowCenter": ["2000", "100"], "WindowWidth": ["1500", "10"]}
    cases: tuple[dict[str, Any], ...] = ({}, window, {"RescaleSlope": "0.5", "RescaleIntercept": "-100"})
    return [
        grey(signed, PhotometricInterpretation=f"MONOCHROME{polarity}", **case)
        for case in cases
        for polarity in (1, 2)
        for signed in (False, True)
    ]


def lacking() -> Any:
    """A DICOM file, the same from its meta group on, its data set alone, and with another high bit."""
    import io

    import numpy as np
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset

    from ecamp_fast.shards.images.encode import decode
    from ecamp_fast.shards.images.limits import BadImage

    def data(syntax: str, high: int = 11) -> bytes:
        ds, buffer = Dataset(), io.BytesIO()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2"
        ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.Rows, ds.Columns = "MONOCHROME2", 1, 8, 8
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, high, 0
        order = ">" if syntax == "ExplicitVRBigEndian" else "<"
        ds.PixelData = (np.arange(64) * 65).astype(f"{order}u2").tobytes()
        ds["PixelData"].VR = "OW"
        ds.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    out: list[Any] = []
    kinds = ("ExplicitVRLittleEndian", 11), ("ExplicitVRBigEndian", 11), ("ExplicitVRLittleEndian", 15)
    for whole in (data(*kind) for kind in kinds):
        bare = whole[132 + 12 + int.from_bytes(whole[140:144], "little") :]
        for one in (whole, whole[132:], bare):
            try:
                out.append(np.asarray(decode(one)).tolist())
            except BadImage as bad:
                out.append(bad.what)
    return out


def unread() -> Any:
    """What is said of a JPEG of 12 bits, and of a text."""
    import io

    from PIL import Image

    from ecamp_fast.shards.images.encode import decode
    from ecamp_fast.shards.images.limits import BadImage

    buffer = io.BytesIO()
    Image.radial_gradient("L").save(buffer, "JPEG")
    deep = bytearray(buffer.getvalue())
    deep[deep.index(b"\xff\xc0") + 4] = 12
    out = []
    for data in (bytes(deep), b"hello " * 20):
        try:
            decode(data)
        except BadImage as bad:
            out.append(bad.what)
    return out


NAMING = "tests/shards/builder/test_naming.py"
BUILD = "tests/shards/builder/test_build.py"
ENCODE = "tests/shards/images/test_encode.py"
FOREIGN = "tests/shards/sources/test_webdataset.py::test_boxes_masks_and_maps_follow_their_image"
DICOM = "tests/shards/images/test_dicom.py"

MUTANTS = (
    mutants(
        "shards/builder/naming.py",
        " ".join(
            f"{NAMING}::{test}"
            for test in (
                "test_some_are_held_out_and_some_stay",
                "test_the_share_holds_on_average_and_seeds_differ",
                "test_adding_patients_moves_no_other",
            )
        ),
        named,
        {
            "studies are divided, not patients": (
                'f"patient {record.patient_id}" if record.patient_id else f"study {record.study_id}"',
                'f"study {record.study_id}"',
            ),
            "the share that is held out is trained on": (
                '"val" if _unit(record) in held else "train"',
                '"train" if _unit(record) in held else "val"',
            ),
            "who is held out depends on who else is there": (
                "np.array(hashes, np.uint64)",
                "np.arange(len(hashes))",
            ),
            "a small share holds nobody out": (
                "max(int((uniforms < holdout).sum()), 1)",
                "int((uniforms < holdout).sum())",
            ),
        },
    )
    + mutants(
        "shards/builder/pack.py",
        f"{BUILD}::test_a_map_is_emptied_where_all_that_is_mentioned_is_denied {FOREIGN}",
        packed,
        {
            "positive maps of all-negative reports are kept": (
                "pgm(attention if positive else attention.point(lambda value: 0))",
                "pgm(attention)",
            ),
            "one denied finding empties the map": (
                "any(not description.denied for",
                "all(not description.denied for",
            ),
            "the map of an image alone is emptied": ("positive = not record.report or any(", "positive = any("),
            "boxes are scaled to the short side": (
                "of_masks_and_boxes(picture, image.width)",
                "of_masks_and_boxes(picture, image.height)",
            ),
        },
    )
    + mutants(
        "shards/images/planes.py",
        f"{BUILD}::test_images_are_reduced_and_their_boxes_and_masks_with_them",
        packed,
        {
            "masks are read at the corners of pixels": (
                "(np.arange(size[1]) + 0.5) * height",
                "np.arange(size[1]) * height",
            ),
        },
    )
    + mutants(
        "shards/builder/pack.py",
        "tests/shards/images/test_inverted.py::test_a_dicom_file_says_itself_what_is_bright",
        packed,
        {"a file that states its polarity is doubted": ("not picture.states_polarity and looks", "looks")},
    )
    + mutants(
        "shards/builder/resume.py",
        f"{BUILD}::test_the_tokenizer_is_made_from_the_training_split_alone",
        planned,
        {"held-out reports make the tokenizer too": (' if unit.split == "train" for record', " for record")},
    )
    + mutants(
        "shards/builder/plan.py",
        f"{BUILD}::test_a_budget_leaves_bad_images_out_and_lists_them",
        planned,
        {"the budget is a share of the good rows": ("(len(records) + len(listing.absent))", "len(records)")},
    )
    + mutants(
        "shards/builder/manifest_counts.py",
        f"{BUILD}::test_token_statistics_count_cls_report_and_distilled "
        f"{BUILD}::test_token_statistics_of_a_hundred_reports",
        planned,
        {
            "[CLS] is no token": ("1 + report + np.asarray", "report + np.asarray"),
            "the 95th percentile is the 90th": ("[50, 95]", "[50, 90]"),
        },
    )
    + mutants(
        "shards/builder/journal.py",
        "tests/shards/builder/test_merge.py::test_the_order_of_parts_does_not_matter",
        planned,
        {"parts begin a unit later, and the first is in none": ("units[number - 1 :: parts]", "units[number::parts]")},
    )
    + mutants(
        "shards/images/encode.py",
        " ".join(
            f"{ENCODE}::{test}"
            for test in (
                "test_colour_alpha_and_depth",
                "test_short_side_is_reduced_and_never_enlarged",
                "test_attention_maps_travel_as_small_pgm",
                "test_scale_and_upright_size_of_a_picture_on_its_side",
                "test_a_large_jpeg_is_decoded_at_a_smaller_scale_that_is_large_enough",
            )
        ),
        pictures,
        {
            "16 bits are cut to 8, not rounded": ("(values * 255 + abs(white) // 2) //", "(values * 255) //"),
            "what is transparent is white": ("(0, 0, 0, 255)", "(255, 255, 255, 255)"),
            "the long side is reduced to the limit": (
                "short_side / min(image.size), Image.Resampling.LANCZOS",
                "short_side / max(image.size), Image.Resampling.LANCZOS",
            ),
            "small pictures are enlarged": ("if scale >= 1:", "if scale == 1:"),
            "maps are reduced by their short side": ("MAP_SIDE / max(image.size)", "MAP_SIDE / min(image.size)"),
            "a picture mirrored on its side keeps width and height": ("(5, 6, 7, 8)", "(6, 8)"),
            "a JPEG is decoded at too small a scale": (
                "share = short_side / min(image.size)",
                "share = short_side / max(image.size)",
            ),
        },
    )
    + mutants(
        "shards/images/encode.py",
        "tests/faults/test_images.py::test_i4_inverted_pictures_are_suspected",
        pictures,
        {
            "bright air is taken for right": (
                "np.median(corners) > np.median",
                "np.median(corners) < np.median",
            )
        },
    )
    + mutants(
        "shards/images/encode.py",
        "tests/shards/images/test_grey_range.py",
        pictures,
        {
            "zero is black in every TIFF": ("return -deepest if", "return deepest if"),
            "what is almost white passes": ("if low >= 255 - _DARK:", "if low > 256:"),
            "values of 14 bits in 16 pass": ("if high <= _DARK:", "if high < _DARK:"),
            "signed values are unsigned": ("_SIGNED = 2", "_SIGNED = 0"),
            "hardly any contrast passes": ("if high - low < _PALE:", "if high < low:"),
            "one bright pixel makes a picture": ("_OUTSIDE = 0.01", "_OUTSIDE = 0.0"),
        },
    )
    + mutants(
        "shards/images/dicom.py",
        "tests/faults/test_dicom.py",
        lacking,
        {
            "a file without its preamble is no DICOM": (" or _data_set(data) is not None", ""),
            "a file without its meta group is little-endian": (
                "if little else uid.ExplicitVRBigEndian",
                "if True else None",
            ),
            "values may lie anywhere": ("if highest != stored - 1:", "if highest < 0:"),
        },
    )
    + mutants(
        "shards/images/unreadable.py",
        "tests/shards/images/test_unreadable.py",
        unread,
        {
            "a JPEG of 12 bits is any other": ("if bits != 8:", "if bits == 0:"),
            "what is no picture is a TIFF": ("if _TIFF.match(data):", "if True:"),
        },
    )
    + mutants(
        "shards/images/jpeg_passthrough.py",
        "tests/shards/images/test_jpeg_passthrough.py",
        pictures,
        {"a JPEG in colour is stored as it is": (" or segment[7] != 1)", ")")},
    )
    + mutants(
        "shards/images/dicom.py",
        DICOM,
        dicoms,
        {
            "MONOCHROME2 is inverted, not MONOCHROME1": (
                'header.PhotometricInterpretation == "MONOCHROME1"',
                'header.PhotometricInterpretation == "MONOCHROME2"',
            ),
            "inverting forgets where the range begins": ("low + high - values", "high - values"),
            "grey is cut to 8 bits, not rounded": ("np.floor(share * 255 + 0.5)", "np.floor(share * 255)"),
            "the range is that of the allocated bits": (
                "bits, signed = int(header.BitsStored)",
                "bits, signed = int(header.BitsAllocated)",
            ),
            "of several windows the last is taken": ("float(value[0] if", "float(value[-1] if"),
        },
    )
)
