"""A JPEG is stored as it is only where the builder could have written it."""

import pytest

from ecamp_fast.shards.images.encode import jpeg
from ecamp_fast.shards.images.jpeg_passthrough import as_built


def test_what_the_builder_writes_is_what_it_takes(film, film_bytes):
    assert as_built(jpeg(film(1))) and as_built(film_bytes(film(2, 600, 400), quality=50))
    assert as_built(film_bytes(film(1), restart_marker_rows=1))


@pytest.mark.parametrize(
    "options",
    [{"progressive": True}, {"comment": b"Jane Doe"}, {"exif": b"Exif\0\0x"}, {"icc_profile": b"x"}],
    ids=["progressive", "comment", "exif", "profile"],
)
def test_other_kinds_and_metadata_are_not(film, film_bytes, options):
    assert not as_built(film_bytes(film(1), **options))


def test_colour_rests_cuts_and_other_files_are_not(film, film_bytes):
    whole = jpeg(film(1))
    colour, png = film_bytes(film(1).convert("RGB")), film_bytes(film(1), "PNG")
    others = [colour, png, b"", whole + b"Jane", whole + whole, *(whole[:cut] for cut in range(0, len(whole), 7))]
    assert not any(map(as_built, others))
