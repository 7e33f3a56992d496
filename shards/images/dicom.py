"""A DICOM radiograph as one grey 8-bit picture, by one written rule; needs pydicom (extra ``dicom``).

The rule, in order: modality LUT or rescale; VOI LUT, else the first window (linear, exact, sigmoid); MONOCHROME1
inverted; from the range that the header declares to 0 ... 255, values beyond it clipped. All four depend on the stored
value alone, so they are worked out once for every value that 8 or 16 bits can hold and looked up for the pixels.
Presentation LUTs and overlays are ignored, and so is the preamble of 128 bytes, which may be missing, as may the
whole file meta group: a data set that begins the file is read, in the encoding that its first elements have.

Refused, by class (``BadImage.kind``): DICOMDIR, several frames, colour, no pixels, burned-in text, a syntax without
its codec, compressed pixels without a stated syntax, deflated files (their size is not known before they are inflated),
values that do not lie in the low bits, more than 64 megapixels by the header.
"""

import io
import logging
import struct
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.extras import install_hint
from ecamp_fast.shards.images.limits import BadImage, check_size
from ecamp_fast.shards.images.unreadable import jpeg_frame

_DICOMDIR = "1.2.840.10008.1.3.10"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META = 1024  # the transfer syntax is among the first elements
_J2K = b"\xff\x4f\xff\x51"
_PREFIX = b"DICM"
_FIRST_GROUPS = (0x0002, 0x0008)  # file meta, identification: what a file without its preamble begins with
_FIRST_ELEMENT = 0x0100
_FIRST_VALUE = 1024  # bytes: the values of their first elements are short
_VRS = frozenset(b"AE AS CS DA DT IS LO LT OB PN SH SQ ST TM UI UL UN US UT".split())
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # frame headers of JPEG, JPEG-LS


@dataclass(frozen=True, slots=True)
class Radiograph:
    """image: PIL picture of mode L   view: what the header calls the projection (PA, AP, LL, ...), or ''."""

    image: Image.Image
    view: str


def is_dicom(data: bytes) -> bool:
    """Whether the content of a file is DICOM, whatever its preamble pretends to be, or without one."""
    return data[128:132] == _PREFIX or _data_set(data) is not None


def _data_set(data: bytes) -> int | None:
    """Where the elements of a file begin that lacks its preamble, its prefix ``DICM`` or both; None: nowhere."""
    if data.startswith(_PREFIX):
        return len(_PREFIX)
    if _begins_group(data[:8]):
        return 0
    return 128 if not any(data[:128]) and _begins_group(data[128:136]) else None


def _begins_group(head: bytes) -> bool:
    """Whether 8 bytes are an element that may be a file's first, in either byte order, with its VR or without."""
    for order in "<>" if len(head) == 8 else "":
        group, element, length = struct.unpack(f"{order}HHI", head)
        if group in _FIRST_GROUPS and element <= _FIRST_ELEMENT:
            return head[4:6] in _VRS or (length <= _FIRST_VALUE and length % 2 == 0)
    return False


def require() -> None:
    """Raises EnvironmentFault where pydicom is not installed."""
    _pydicom()


def read(data: bytes) -> Radiograph:
    """Content of a DICOM file to a grey picture.  Raises BadImage, EnvironmentFault where pydicom is missing."""
    pydicom = _pydicom()
    if _DEFLATED in data[:_META]:
        raise BadImage("a deflated DICOM file", "save it with another transfer syntax", "unsupported")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote the header, which may name a patient
            return _read(pydicom, data)
    except (BadImage, MemoryError):
        raise
    except Exception as error:  # on damaged files pydicom and its codecs raise whatever they stumble over
        raise BadImage(f"truncated or damaged DICOM: {type(error).__name__}") from None


def _read(pydicom: Any, data: bytes) -> Radiograph:
    if data[128:132] != _PREFIX:
        data = data[_data_set(data) :]
    header = pydicom.dcmread(io.BytesIO(data), force=True)  # which takes elements without a preamble
    _check(header)
    _settle_syntax(pydicom, header)
    table = _table(header)
    _check_codec(pydicom, header)
    pixels = pydicom.pixels.pixel_array(header, view_only=True)
    view = str(header.get("ViewPosition", "") or "").strip()
    del header  # and its copy of the pixels
    return Radiograph(Image.fromarray(_look_up(table, pixels)), view)


def _pydicom() -> Any:
    try:
        import pydicom
        import pydicom.pixels
    except ImportError as error:
        raise EnvironmentFault(f"DICOM files need pydicom: {error}", install_hint("dicom")) from None
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # it logs its warnings too
    return pydicom


def _check(header: Any) -> None:
    """Refuse by the header what is no radiograph of one grey frame."""
    meta = getattr(header, "file_meta", None)
    lists = meta is not None and meta.get("MediaStorageSOPClassUID", "") == _DICOMDIR
    if lists or "DirectoryRecordSequence" in header:
        raise BadImage("a DICOMDIR, which only lists other files", "name the files themselves", "dicomdir")
    if "PixelData" not in header or not header.get("Rows") or not header.get("Columns"):
        raise BadImage("holds no pixels", "remove the row", "no-pixels")
    check_size(int(header.Columns), int(header.Rows))
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise BadImage(f"holds {frames} frames", "save the one that is meant", "several-pictures")
    kind = str(header.get("PhotometricInterpretation", ""))
    if int(header.get("SamplesPerPixel", 1)) != 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise BadImage(f"{kind or 'pixels of an unnamed kind'}: no grey picture", "remove the row", "colour")
    if str(header.get("BurnedInAnnotation", "")).upper() == "YES":
        raise BadImage("text is burned into the picture, as its header says", "remove the row", "burned-in")
    allocated, stored = int(header.BitsAllocated), int(header.BitsStored)
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise BadImage(f"{stored} bits of {allocated} are not supported", "save it as 8 or 16 bits", "unsupported")
    highest = int(header.get("HighBit", stored - 1))
    if highest != stored - 1:
        what = f"HighBit {highest}, not {stored - 1}: its {stored} bits do not lie lowest"
        raise BadImage(what, "save it with its values in the low bits", "unsupported")


def _settle_syntax(pydicom: Any, header: Any) -> None:
    """A file that states no transfer syntax gets that of the encoding it was read in; compressed pixels need theirs."""
    if getattr(header, "file_meta", None) is None:
        header.file_meta = pydicom.dataset.FileMetaDataset()
    stated = header.file_meta.get("TransferSyntaxUID")
    if stated:
        if not stated.is_transfer_syntax:
            what = f"{str(stated)[:64]} is no transfer syntax that is known"
            raise BadImage(what, "save it with another transfer syntax", "unsupported")
        return
    implicit, little = header.original_encoding
    uid = pydicom.uid
    if header["PixelData"].is_undefined_length:
        what = "compressed pixels, and no transfer syntax is stated: which codec they need is not known"
        raise BadImage(what, "save it with its TransferSyntaxUID", "no-syntax")
    plain = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    header.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else plain


def _check_codec(pydicom: Any, header: Any) -> None:
    """The pixels can be decoded here, and their own header does not state another size than the file's."""
    syntax = header.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError:
        raise BadImage(f"pixels in the syntax {syntax.name}", "save it with another syntax", "unsupported") from None
    if not decoder.is_available:
        raise BadImage(f"no codec for the syntax {syntax.name}", _no_codec(), "no-codec")
    if syntax != pydicom.uid.RLELossless:
        frame = next(pydicom.encaps.generate_frames(header.PixelData, number_of_frames=1))
        bits = _lossy_bits(pydicom, header, frame)
        if bits > 8 and set(decoder.available_plugins) <= {"pillow"}:  # its JPEG has 8 bits
            raise BadImage(f"no codec for {bits} bits in the syntax {syntax.name}", _no_codec(), "no-codec")
        if _coded_size(frame) != (header.Columns, header.Rows):
            raise BadImage("the compressed picture has another size than the header states")


def _no_codec() -> str:
    return f"{install_hint('dicom')}, which brings pylibjpeg"


def _lossy_bits(pydicom: Any, header: Any, frame: bytes) -> int:
    """Bits a pixel of a lossy JPEG by its own header, in the extended syntax by the file's too; 0 of other frames."""
    found = jpeg_frame(frame)
    syntax = header.file_meta.TransferSyntaxUID
    if found is None or syntax not in (pydicom.uid.JPEGBaseline8Bit, pydicom.uid.JPEGExtended12Bit):
        return 0
    return max(found[1], int(header.BitsStored)) if syntax == pydicom.uid.JPEGExtended12Bit else found[1]


def _coded_size(frame: bytes) -> tuple[int, int] | None:
    """Width and height by the frame header of JPEG, JPEG-LS or JPEG 2000; None where there is none."""
    if frame.startswith(_J2K):
        right, bottom, left, top = struct.unpack(">4I", frame[8:24])
        return right - left, bottom - top
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        if frame[at + 1] in _SOF:
            height, width = struct.unpack(">2H", frame[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _look_up(table: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """pixels: (H, W) integers   table: (256,) or (65536,) uint8, by the bits of a value   returns (H, W) uint8."""
    width = len(table).bit_length() // 8  # bytes; a codec may return 8-bit pixels of a file that states 16
    values = pixels.astype(f"{pixels.dtype.kind}{width}", copy=False)
    return table[values.view(f"u{width}")]


def _table(header: Any) -> np.ndarray:
    """What becomes of every stored value: (2 ** BitsAllocated,) uint8, by its bits as an unsigned number."""
    bits, signed = int(header.BitsAllocated), bool(header.get("PixelRepresentation", 0))
    stored = np.arange(2**bits, dtype=f"u{bits // 8}")
    values, low, high = _modality(header, (stored.view(f"i{bits // 8}") if signed else stored).astype(np.float64))
    values, low, high = _voi(header, values, low, high)
    if header.PhotometricInterpretation == "MONOCHROME1":
        values = low + high - values
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.floor(share * 255 + 0.5).astype(np.uint8)


def _modality(header: Any, values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Values as the modality means them (PS3.3 C.11.1), and the range they are declared to have."""
    if header.get("ModalityLUTSequence"):
        return _lut(header, header.ModalityLUTSequence[0], values)
    bits, signed = int(header.BitsStored), bool(header.get("PixelRepresentation", 0))
    low = -float(2 ** (bits - 1)) if signed else 0.0
    ends = [low, low + 2**bits - 1]
    if header.get("RescaleSlope") is not None and header.get("RescaleIntercept") is not None:
        slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
        if slope == 0:
            raise BadImage("a rescale slope of 0", "fix the file's header, or remove the row")
        values, ends = values * slope + intercept, [end * slope + intercept for end in ends]
    return values, min(ends), max(ends)


def _voi(header: Any, values: np.ndarray, low: float, high: float) -> tuple[np.ndarray, float, float]:
    """Values as they are to be shown (PS3.3 C.11.2), and their range."""
    if header.get("VOILUTSequence"):
        return _lut(header, header.VOILUTSequence[0], values)
    centre, width = _first(header.get("WindowCenter")), _first(header.get("WindowWidth"))
    if centre is None or width is None:
        return values, low, high
    shape = str(header.get("VOILUTFunction", "") or "LINEAR").upper()
    if width <= 0 or (shape == "LINEAR" and width < 1) or shape not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise BadImage(f"a window of width {width} and shape {shape[:16]}", "fix the file's header, or remove the row")
    if shape == "SIGMOID":
        share = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    elif shape == "LINEAR_EXACT":
        share = np.clip((values - centre) / width + 0.5, 0, 1)
    elif width == 1:
        share = (values > centre - 0.5).astype(np.float64)
    else:
        share = np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    return low + share * (high - low), low, high


def _lut(header: Any, item: Any, values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Look ``values`` up in a table of the header (PS3.3 C.11.1.1): its first and last entry serve what lies beyond."""
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = entries or 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        order = "<" if header.file_meta.TransferSyntaxUID.is_little_endian else ">"
        packed = bits <= 8 and len(data) < 2 * entries  # two entries of 8 bits in a word
        data = np.frombuffer(data, "u1" if packed else f"{order}u2")
    table = np.asarray(data, np.float64).ravel()[:entries]
    if len(table) < entries or not 1 <= bits <= 16:
        raise BadImage(f"a lookup table of {len(table)} entries that states {entries}, of {bits} bits")
    return table[np.clip(np.rint(values - first), 0, entries - 1).astype(np.int64)], 0.0, float(2**bits - 1)


def _first(value: Any) -> float | None:
    """The first of one or several numbers of the header."""
    if value is None or value == "":
        return None
    return float(value[0] if isinstance(value, (list, tuple)) or hasattr(value, "append") else value)
