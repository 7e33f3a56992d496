"""Table I of faults, DICOM: taken by the written rule, equal to pydicom's own pipeline, or refused by class."""

import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.phantom import phantom
from ecamp_fast.shards.images import dicom
from ecamp_fast.shards.images.encode import decode
from ecamp_fast.shards.images.limits import BadImage

SIDE = 64
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # every value of 12 bits once


@pytest.fixture
def pydicom():
    return pytest.importorskip("pydicom", reason="needs pydicom")


@pytest.fixture
def dicom_file(pydicom):
    """dicom_file(pixels, bits=12, syntax="ExplicitVRLittleEndian", preamble=bytes(128), **elements): the file."""

    def write(pixels=RAMP, bits=12, syntax="ExplicitVRLittleEndian", preamble=bytes(128), **elements):
        ds = pydicom.dataset.Dataset()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = elements.pop("sop_class", "1.2.840.10008.5.1.4.1.1.1.1")
        ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        ds.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
        ds.PhotometricInterpretation, ds.SamplesPerPixel = "MONOCHROME2", 1
        ds.Rows, ds.Columns = pixels.shape[:2]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8 * pixels.dtype.itemsize, bits, bits - 1
        ds.PixelRepresentation = int(pixels.dtype.kind == "i")
        order = ">" if syntax == "ExplicitVRBigEndian" else "<"
        ds.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
        ds["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
        ds.ViewPosition = "PA"
        for name, value in elements.items():
            if value is None:
                delattr(ds, name)
            else:
                setattr(ds, name, value)
        ds.preamble = preamble
        buffer = io.BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    return write


def lut(pydicom, entries, first, bits, data):
    item = pydicom.dataset.Dataset()
    item.add_new(0x00283002, "US", [entries % 65536, first, bits])
    item.add_new(0x00283006, "US", [int(value) for value in data])
    return pydicom.sequence.Sequence([item])


def as_jpeg():
    buffer = io.BytesIO()
    Image.fromarray(phantom(3, 0, SIDE).image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


# I3: depth, sign, rescale, windows, tables


def by_pydicom(pydicom, data):
    """pydicom's own pipeline, scaled by the range that follows from the header."""
    ds = pydicom.dcmread(io.BytesIO(data))
    values = pydicom.pixels.apply_modality_lut(ds.pixel_array, ds)
    signed, bits = ds.PixelRepresentation, ds.BitsStored
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1], float)
    if "RescaleSlope" in ds:
        ends = ends * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    if "ModalityLUTSequence" in ds:
        ends = np.array([0, 2.0 ** ds.ModalityLUTSequence[0].LUTDescriptor[2] - 1])
    if "VOILUTSequence" in ds:
        ends = np.array([0, 2.0 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1])
    values = pydicom.pixels.apply_voi_lut(values, ds).astype(float)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        values = ends.sum() - values
    return np.clip((values - ends[0]) / (ends[1] - ends[0]), 0, 1) * 255


SIGNED = (RAMP.astype(np.int16) - 2048).astype(np.int16)
CASES = {
    "12 bits": {},
    "12 bits, MONOCHROME1": {"PhotometricInterpretation": "MONOCHROME1"},
    "16 bits": {"pixels": RAMP * 16, "bits": 16},
    "14 bits": {"pixels": RAMP * 4, "bits": 14},
    "8 bits": {"pixels": (RAMP // 16).astype(np.uint8), "bits": 8},
    "signed": {"pixels": SIGNED},
    "big endian": {"syntax": "ExplicitVRBigEndian"},
    "implicit": {"syntax": "ImplicitVRLittleEndian"},
    "rescaled": {"RescaleSlope": "0.5", "RescaleIntercept": "-100"},
    "signed, rescaled, window": {
        "pixels": SIGNED, "RescaleSlope": "2", "RescaleIntercept": "10", "WindowCenter": "50", "WindowWidth": "900",
    },
    "window": {"WindowCenter": "2000", "WindowWidth": "1500"},
    "window, MONOCHROME1": {"WindowCenter": "900", "WindowWidth": "700", "PhotometricInterpretation": "MONOCHROME1"},
    "several windows": {"WindowCenter": ["2000", "100"], "WindowWidth": ["1500", "10"]},
    "window of width 1": {"WindowCenter": "2000", "WindowWidth": "1"},
    "exact": {"WindowCenter": "2000", "WindowWidth": "1500", "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": "2000", "WindowWidth": "1500", "VOILUTFunction": "SIGMOID"},
    "padding is a value": {"pixels": np.where(RAMP > 4000, 0, RAMP), "PixelPaddingValue": 0},
}  # fmt: skip


@pytest.mark.fault("I3.depth", "I3.signed", "I3.rescale", "I3.windows", "I3.sigmoid")
@pytest.mark.parametrize("name", CASES)
def test_i3_equals_pydicom(name, pydicom, dicom_file, grey):
    data = dicom_file(**CASES[name])
    assert np.abs(grey(data) - by_pydicom(pydicom, data)).max() <= 0.51  # rounding alone


@pytest.mark.fault("I3.depth")
@pytest.mark.filterwarnings("ignore")  # pydicom's, of files that bend the standard
def test_i3_pydicoms_own_test_files_equal_pydicom_or_are_refused(pydicom, grey):
    """Files of many makers, depths, LUTs, polarities and syntaxes, as far as pydicom brings them."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    files = [data for path in sorted(folder.rglob("*")) if path.is_file() and dicom.is_dicom(data := path.read_bytes())]
    kinds = Counter()
    for data in files:
        try:
            ours = grey(data)
        except BadImage as bad:
            kinds[bad.kind] += 1
        else:
            kinds["taken"] += 1
            if data[128:132] == b"DICM":  # pydicom alone shows no pixels of a file that states no syntax
                assert np.abs(ours - by_pydicom(pydicom, data)).max() <= 1
    assert kinds["taken"] >= 40 and kinds["damaged"] <= 0.05 * len(files)
    assert kinds >= Counter({"colour": 1, "no-pixels": 1, "several-pictures": 1, "dicomdir": 1})


@pytest.mark.fault("I3.voi-lut")
@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
def test_i3_lookup_tables_equal_pydicom(bits, polarity, pydicom, dicom_file, grey):
    curve = np.round(np.linspace(0, 1, 3000) ** 2 * (2**bits - 1))
    voi = {"VOILUTSequence": lut(pydicom, 3000, 500, bits, curve), "WindowCenter": "10", "WindowWidth": "5"}
    both = voi | {"ModalityLUTSequence": lut(pydicom, 4096, 0, 16, np.arange(4096)[::-1])}
    for elements in (voi, both):
        data = dicom_file(PhotometricInterpretation=polarity, **elements)
        assert np.abs(grey(data) - by_pydicom(pydicom, data)).max() <= 0.51


@pytest.mark.fault("I3.voi-lut")
def test_i3_a_table_of_8_bits_and_4096_entries(pydicom, dicom_file, grey):
    curve = np.arange(4096) // 16
    assert np.array_equal(grey(dicom_file(VOILUTSequence=lut(pydicom, 4096, 0, 8, curve))), RAMP // 16)


@pytest.mark.fault("I3.rescale")
def test_i3_a_negative_slope_turns_values_and_no_window_turns_them_back(dicom_file, grey):
    data = dicom_file(RescaleSlope="-1", RescaleIntercept="4095", WindowCenter="2048", WindowWidth="4096")
    assert np.abs(grey(data) - (4095 - RAMP.astype(float)) * 255 / 4095).max() <= 0.6


@pytest.mark.fault("I3.windows")
@pytest.mark.parametrize("window", [{"WindowWidth": "0"}, {"WindowWidth": "-5"}, {"WindowWidth": "0.5"}])
def test_i3_windows_that_cannot_be(window, dicom_file, kind_of):
    assert kind_of(dicom_file(WindowCenter="100", **window)) == "damaged"


@pytest.mark.fault("I3.depth")
def test_i3_a_range_that_no_pixel_uses_is_refused(dicom_file, kind_of):
    assert kind_of(dicom_file(RAMP // 16, bits=16)) == "dark"


# I4: polarity


@pytest.mark.fault("I4.after-voi")
def test_i4_monochrome1_is_inverted_after_the_window(dicom_file, grey):
    window = {"WindowCenter": "1000", "WindowWidth": "500"}
    plain, turned = (grey(dicom_file(PhotometricInterpretation=f"MONOCHROME{n}", **window)) for n in (2, 1))
    assert np.abs(255 - plain.astype(int) - turned).max() <= 1
    assert turned[0, 0] == 255 and plain[0, 0] == 0


# I5: what is no radiograph of one grey frame


@pytest.mark.fault("I5.no-pixels", "I5.several-frames", "I5.burned-in", "I5.colour")
@pytest.mark.parametrize(
    ("elements", "kind"),
    [
        ({"PixelData": None}, "no-pixels"),
        ({"Rows": 0}, "no-pixels"),
        ({"NumberOfFrames": 3}, "several-pictures"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"BurnedInAnnotation": "YES"}, "burned-in"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "unsupported"),
        ({"HighBit": 15}, "unsupported"),
        ({"Rows": 65}, "damaged"),  # fewer pixels than the header states
    ],
)  # fmt: skip
def test_i5_is_refused_by_class(elements, kind, dicom_file, kind_of):
    assert kind_of(dicom_file(**elements)) == kind


def compressed(pydicom, dicom_file, syntax, frame, **elements):
    data = dicom_file(**elements)
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    ds.PixelData = pydicom.encaps.encapsulate([frame])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.fault("I5.no-codec")
def test_i5_a_syntax_without_its_codec_is_refused_with_the_hint(pydicom, dicom_file, monkeypatch):
    data = compressed(pydicom, dicom_file, "JPEGLosslessSV1", b"\xff\xd8\xff\xd9")
    monkeypatch.setattr(type(pydicom.pixels.get_decoder(pydicom.uid.JPEGLosslessSV1)), "is_available", False)
    with pytest.raises(BadImage, match="no codec for the syntax JPEG Lossless") as caught:
        decode(data)
    assert caught.value.kind == "no-codec" and "pip install" in caught.value.hint and "pylibjpeg" in caught.value.hint


@pytest.mark.fault("I5.compressed")
@pytest.mark.parametrize("syntax", ["RLELossless", "JPEG2000Lossless", "JPEGLSLossless"])
def test_i5_compressed_pixels_equal_plain_ones(syntax, pydicom, dicom_file, grey):
    window = {"WindowCenter": "2000", "WindowWidth": "1500"}
    ds = pydicom.dcmread(io.BytesIO(dicom_file(**window)))
    try:
        ds.compress(getattr(pydicom.uid, syntax))
    except RuntimeError:
        pytest.skip(f"no encoder for {syntax}")
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    if not pydicom.pixels.get_decoder(ds.file_meta.TransferSyntaxUID).is_available:
        pytest.skip(f"no decoder for {syntax}")
    assert np.array_equal(grey(buffer.getvalue()), grey(dicom_file(**window)))


@pytest.mark.fault("I5.compressed")
def test_i5_jpeg_in_dicom(pydicom, dicom_file, grey):
    frame = as_jpeg()
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    data = compressed(pydicom, dicom_file, "JPEGBaseline8Bit", frame, pixels=pixels, bits=8)
    assert np.abs(grey(data).astype(int) - grey(frame)).max() <= 1


@pytest.mark.fault("I5.no-pydicom")
def test_i5_without_pydicom_the_environment_is_at_fault(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(EnvironmentFault, match=r"\.\[dicom\]"):
        decode(bytes(128) + b"DICM")


# I6: size


@pytest.mark.fault("I6.bomb")
def test_i6_headers_are_judged_before_pixels_are_decoded(dicom_file, pydicom, kind_of):
    assert kind_of(dicom_file(Rows=20000, Columns=20000)) == "too-large"
    assert kind_of(dicom_file()[:128] + b"DICM" + b"1.2.840.10008.1.2.1.99") == "unsupported"  # deflated
    frame = bytearray(as_jpeg())
    at = frame.index(b"\xff\xc0")
    frame[at + 5 : at + 9] = (20000).to_bytes(2, "big") * 2
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    assert (
        kind_of(compressed(pydicom, dicom_file, "JPEGBaseline8Bit", bytes(frame), pixels=pixels, bits=8)) == "damaged"
    )


@pytest.mark.fault("I6.60-megapixels")
@pytest.mark.slow
def test_i6_the_largest_dicom_fits_in_half_a_gigabyte(dicom_file, tmp_path):
    rows = np.tile((np.arange(7700) % 4096).astype(np.uint16), (7700, 1))
    (tmp_path / "big.dcm").write_bytes(dicom_file(rows, WindowCenter="2000", WindowWidth="3000"))
    program = (
        "import sys; from ecamp_fast.shards.images.encode import decode, radiograph\n"
        "radiograph(decode(open(sys.argv[1], 'rb').read()), 1024)\n"
        # not ru_maxrss: that one is inherited from the process that starts the program
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    command = [sys.executable, "-c", program, tmp_path / "big.dcm"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert int(done.stdout) < 512 * 1024, done.stderr


# I7: preambles, directories


@pytest.mark.fault("I7.preamble")
def test_i7_the_preamble_is_ignored_and_never_stored(dicom_file, grey):
    evil = b"MZ\x90\x00" + b"\xcc" * 124
    assert np.array_equal(grey(dicom_file(preamble=evil)), grey(dicom_file()))
    buffer = io.BytesIO()
    decode(dicom_file(preamble=evil)).save(buffer, "JPEG")
    assert evil not in buffer.getvalue()


@pytest.mark.fault("I7.directory")
def test_i7_a_directory_is_refused(dicom_file, kind_of):
    assert kind_of(dicom_file(sop_class="1.2.840.10008.1.3.10")) == "dicomdir"


@pytest.mark.filterwarnings("error")
def test_mutated_dicom_files_are_read_or_refused(dicom_file, caplog):
    """300 seeded mutations: flipped bytes, cuts, doubled and lost stretches. Nothing but BadImage may come of them, no
    warning and no line in a log: pydicom's quote the header.
    """
    rng = np.random.default_rng(7)
    whole = dicom_file(WindowCenter="2000", WindowWidth="1500", ViewPosition="AP")
    refused = 0
    for number in range(300):
        data = bytearray(whole)
        at, length = int(rng.integers(132, 700)), int(rng.integers(1, 40))
        if number % 4 == 0:
            data[at] ^= 1 << int(rng.integers(8))
        elif number % 4 == 1:
            data = data[: int(rng.integers(0, len(data)))]
        elif number % 4 == 2:
            data[at:at] = data[at : at + length]
        else:
            del data[at : at + length]
        try:
            assert decode(bytes(data)).mode == "L"
        except BadImage:
            refused += 1
    assert refused > 100 and not caplog.records


def test_the_header_names_the_view(dicom_file):
    assert dicom.read(dicom_file(ViewPosition="LATERAL")).view == "LATERAL"
    assert dicom.read(dicom_file(ViewPosition=None)).view == ""


# Files that lack what the standard asks for


def _without(data, *, preamble=False, prefix=False, meta=False):
    """A file without its preamble, its ``DICM``, its file meta group."""
    head = b"" if preamble else data[:128]
    elements = data[132:]
    if meta:  # (0002,0000) says how long the others of its group are
        elements = elements[12 + int.from_bytes(elements[8:12], "little") :]
    return head + (b"" if prefix else data[128:132]) + elements


LACKING = {
    "preamble and prefix": {"preamble": True, "prefix": True},
    "preamble": {"preamble": True},
    "prefix": {"prefix": True},
    "all but the data set": {"preamble": True, "prefix": True, "meta": True},
    "preamble and meta": {"preamble": True, "meta": True},
    "meta": {"meta": True},
}


@pytest.mark.fault("I7.preamble")
@pytest.mark.parametrize("syntax", ["ExplicitVRLittleEndian", "ImplicitVRLittleEndian", "ExplicitVRBigEndian"])
@pytest.mark.parametrize("name", LACKING)
def test_i7_a_file_that_lacks_its_preamble_or_its_syntax_is_read(name, syntax, dicom_file, grey):
    whole = dicom_file(
        syntax=syntax, SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1", PhotometricInterpretation="MONOCHROME1"
    )
    lacking = _without(whole, **LACKING[name])
    assert dicom.is_dicom(lacking) and np.array_equal(grey(lacking), grey(whole))


@pytest.mark.fault("I7.preamble")
def test_i7_a_meta_group_without_a_transfer_syntax_is_read(pydicom, dicom_file, grey):
    whole = dicom_file(SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1")
    ds = pydicom.dcmread(io.BytesIO(whole))
    del ds.file_meta.TransferSyntaxUID
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=False, implicit_vr=False, little_endian=True)
    assert np.array_equal(grey(buffer.getvalue()), grey(whole))


@pytest.mark.fault("I7.preamble")
@pytest.mark.parametrize("data", [b"", b"\x08\x00", bytes(200), b"\x08\x00" + b"\xff" * 60, b"\x00\x00\x02\x00" * 9])
def test_i7_what_is_no_dicom_is_not_taken_for_it(data):
    assert not dicom.is_dicom(data)
    assert not dicom.is_dicom(as_jpeg())


@pytest.mark.fault("I5.no-codec")
def test_i5_compressed_pixels_without_a_syntax_are_refused_by_name(pydicom, dicom_file):
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    data = compressed(pydicom, dicom_file, "JPEGBaseline8Bit", as_jpeg(), pixels=pixels, bits=8)
    lacking = data.replace(b"1.2.840.10008.1.2.4.50", b"").replace(
        b"\x02\x00\x10\x00UI\x16\x00", b"\x02\x00\x10\x00UI\0\0"
    )
    with pytest.raises(BadImage, match="no transfer syntax is stated") as caught:
        decode(lacking)
    assert caught.value.kind == "no-syntax"


@pytest.mark.fault("I5.no-codec")
@pytest.mark.parametrize("syntax", ["JPEGExtended12Bit", "JPEGBaseline8Bit"])
def test_i5_jpeg_of_12_bits_lacks_its_codec_and_is_not_truncated(syntax, pydicom, dicom_file, monkeypatch):
    frame = bytearray(as_jpeg())
    at = frame.index(b"\xff\xc0")
    frame[at + 1], frame[at + 4] = 0xC1, 12
    data = compressed(pydicom, dicom_file, syntax, bytes(frame), pixels=np.zeros((SIDE, SIDE), np.uint16))
    decoder = type(pydicom.pixels.get_decoder(getattr(pydicom.uid, syntax)))
    monkeypatch.setattr(decoder, "available_plugins", ("pillow",))
    with pytest.raises(BadImage, match="no codec for 12 bits in the syntax JPEG") as caught:
        decode(data)
    assert caught.value.kind == "no-codec" and "pylibjpeg" in caught.value.hint


@pytest.mark.fault("I5.no-codec")
def test_i5_a_syntax_that_nobody_knows_is_named(pydicom, dicom_file):
    with pytest.raises(BadImage, match=r"1\.2\.840\.10008\.1\.2\.9 is no transfer syntax") as caught:
        decode(dicom_file().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    assert caught.value.kind == "unsupported"


@pytest.mark.parametrize("high", [15, 12, 10, 7])
def test_values_that_do_not_lie_lowest_are_refused_by_their_high_bit(high, dicom_file):
    with pytest.raises(BadImage, match=f"HighBit {high}, not 11") as caught:
        decode(dicom_file(HighBit=high))
    assert caught.value.kind == "unsupported"


SPARE = {
    "12 bits in 16": ({"bits": 16}, "dark"),
    "10 bits in 16": ({"pixels": RAMP // 4, "bits": 16}, "dark"),
    "8 bits in 12": ({"pixels": RAMP // 16}, "dark"),
    "12 bits in 16, inverted": ({"bits": 16, "PhotometricInterpretation": "MONOCHROME1"}, "bright"),
    "12 bits in 16, one pixel above": ({"pixels": np.where(RAMP == 9, 65535, RAMP).astype(np.uint16), "bits": 16},
                                       "dark"),
    "12 bits in 16, signed": ({"pixels": SIGNED, "bits": 16}, "pale"),
    "12 bits in 16, signed, from 0": ({"pixels": RAMP.astype(np.int16), "bits": 16}, "pale"),
    "12 bits in 16, rescaled": ({"bits": 16, "RescaleSlope": "2", "RescaleIntercept": "-9"}, "dark"),
    "12 bits in 16, a negative slope": ({"bits": 16, "RescaleSlope": "-1", "RescaleIntercept": "0"}, "bright"),
    "a window below all values": ({"WindowCenter": "-5000", "WindowWidth": "100"}, "constant"),
    "a window far above": ({"bits": 16, "WindowCenter": "30000", "WindowWidth": "60000"}, "dark"),
}  # fmt: skip


@pytest.mark.fault("I3.depth")
@pytest.mark.parametrize("name", SPARE)
def test_i3_more_bits_declared_than_used_show_nothing(name, dicom_file, kind_of):
    elements, kind = SPARE[name]
    assert kind_of(dicom_file(**elements)) == kind


@pytest.mark.fault("I3.signed")
@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
def test_i3_the_sign_of_12_bits_is_read_without_its_upper_bits(polarity, dicom_file, grey):
    """-1 may be stored as 0x0FFF: what lies above the stored bits does not count."""
    bare = (SIGNED & 0x0FFF).astype(np.int16)
    elements = {"PhotometricInterpretation": polarity}
    assert np.array_equal(grey(dicom_file(bare, **elements)), grey(dicom_file(SIGNED, **elements)))


@pytest.mark.fault("I3.depth")
def test_i3_a_window_shows_what_the_declared_bits_do_not(dicom_file, grey):
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}
    shown = grey(dicom_file(bits=16, **window))
    assert shown.min() == 0 and shown.max() == 255
