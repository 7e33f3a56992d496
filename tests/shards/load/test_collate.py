"""A picture's size is read from its file's header, and a file without its two ends is refused."""

import io

import pytest
from PIL import Image

from ecamp_fast.shards.load.collate import jpeg_size


def jpeg(**options):
    file = io.BytesIO()
    Image.linear_gradient("L").resize((90, 70)).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": b"\xff\xc0"}], ids=str)
def test_height_and_width_by_the_frame_header(options):
    assert jpeg_size(jpeg(**options)) == (70, 90)


@pytest.mark.parametrize("part", [slice(-1), slice(-2), slice(2, None), slice(0)], ids=str)
def test_a_jpeg_without_its_two_ends_is_refused(part):
    with pytest.raises(ValueError, match="truncated"):
        jpeg_size(jpeg()[part])


def test_a_jpeg_without_a_frame_is_refused():
    with pytest.raises(ValueError, match="no frame header"):
        jpeg_size(b"\xff\xd8\xff\xd9")
