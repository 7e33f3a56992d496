"""Grey values of DICOM files, worked out by hand; `tests/faults/test_dicom.py` compares all kinds with pydicom."""

import io

import numpy as np
import pytest

from ecamp_fast.shards.images.encode import decode


@pytest.fixture
def grey():
    """grey(values, **elements): what becomes of a row of pixels of 12 bits in 16."""
    pydicom = pytest.importorskip("pydicom", reason="needs pydicom")

    def read(values, **elements):
        ds, buffer = pydicom.dataset.Dataset(), io.BytesIO()
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
        ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.Rows, ds.Columns = "MONOCHROME2", 1, 1, len(values)
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, int(min(values) < 0)
        ds.PixelData = np.array(values, "<i2").tobytes()
        for name, value in elements.items():
            setattr(ds, name, value)
        ds.save_as(buffer, enforce_file_format=True)
        return np.asarray(decode(buffer.getvalue()))[0].tolist()

    return read


@pytest.mark.parametrize(("polarity", "expected"), [("MONOCHROME2", [0, 128, 255]), ("MONOCHROME1", [255, 127, 0])])
@pytest.mark.parametrize("rescale", [{}, {"RescaleSlope": "0.5", "RescaleIntercept": "-100"}], ids=["", "rescaled"])
@pytest.mark.parametrize("values", [[0, 2048, 4095], [-2048, 0, 2047]], ids=["unsigned", "signed"])
def test_the_range_that_12_bits_can_hold(values, rescale, polarity, expected, grey):
    """2048 / 4095 of 255 is a little above 127.5, and below when turned. A slope takes the ends of the range along."""
    assert grey(values, PhotometricInterpretation=polarity, **rescale) == expected


def test_the_first_of_several_windows(grey):
    """Of 1024 values around 2048 (PS3.3 C.11.2.1.2.1): from 1536 to 2559."""
    window = {"WindowCenter": ["2048", "100"], "WindowWidth": ["1024", "10"]}
    assert grey([1000, 1536, 1792, 2048, 2559, 3000], **window) == [0, 0, 64, 128, 255, 255]
