"""Decoded views are the crop, resized and mirrored, close to float64; the sample that does not decode is named."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ecamp_fast.errors import DataError
from ecamp_fast.shards.load.decode import JpegDecoder, gpu_views

SIZE = 96
KEYS = ("a", "b", "c", "d")
BOXES = np.array([[0, 0, 301, 257], [10, 21, 40, 47], [33, 0, 200, 256], [100, 57, 201, 150]], np.int32)
FLIPPED = np.array([False, True, True, False])


def jpeg(seed, height=301, width=257):
    grain = np.random.default_rng(seed).integers(0, 256, (height // 6, width // 6), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
    return file.getvalue()


def reference(content, box, flipped):
    """Antialiased bicubic resize of the crop, in float64."""
    top, left, height, width = box
    crop = np.asarray(Image.open(io.BytesIO(content)), np.float64)[top : top + height, left : left + width]
    image = torch.nn.functional.interpolate(
        torch.from_numpy(crop)[None, None], (SIZE, SIZE), mode="bicubic", antialias=True, align_corners=False
    )
    image = image[0].clamp(0, 255)
    return image.flip(-1) if flipped else image


@pytest.fixture(scope="module")
def jpegs():
    return [jpeg(seed) for seed in range(4)]


@pytest.fixture
def decoder():
    return JpegDecoder(4, SIZE, "cpu", 1)


def test_views_are_the_float64_resize_of_their_crops(decoder, jpegs):
    views = decoder.decode(KEYS, jpegs, BOXES, FLIPPED)
    assert views.shape == (4, 1, SIZE, SIZE) and views.dtype == torch.uint8
    for view, *of in zip(views, jpegs, BOXES, FLIPPED, strict=True):
        error = (view.double() - reference(*of)).abs()
        assert error.max() < 2.5 and error.mean() < 0.33  # rounding twice, as Pillow does, gives up to 0.32


def test_a_batch_may_be_smaller_and_does_not_matter_to_its_samples(decoder, jpegs):
    whole = decoder.decode(KEYS, jpegs, BOXES, FLIPPED)
    for count in (1, 3):
        part = decoder.decode(KEYS[:count], jpegs[:count], BOXES[:count], FLIPPED[:count])
        assert torch.equal(part, whole[:count])
    assert torch.equal(JpegDecoder(4, SIZE, "cpu", 2).decode(KEYS, jpegs, BOXES, FLIPPED), whole)


def test_two_batches_may_be_under_way_and_results_last(decoder, jpegs):
    expected = [decoder.decode(KEYS[k:], jpegs[k:], BOXES[k:], FLIPPED[k:]) for k in range(3)]
    kept = [one.clone() for one in expected]
    out = []
    for k in range(3):
        decoder.submit(KEYS[k:], jpegs[k:], BOXES[k:], FLIPPED[k:])
        if len(decoder) == 2:
            out.append(decoder.fetch())
    out.append(decoder.fetch())
    assert len(decoder) == 0
    for a, b, c in zip(out, expected, kept, strict=True):
        assert torch.equal(a, b) and torch.equal(b, c)


def test_a_third_batch_and_none_at_all_are_refused(decoder, jpegs):
    with pytest.raises(RuntimeError, match="no batch"):
        decoder.fetch()
    for _ in range(2):
        decoder.submit(KEYS, jpegs, BOXES, FLIPPED)
    with pytest.raises(RuntimeError, match="under way"):
        decoder.submit(KEYS, jpegs, BOXES, FLIPPED)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"not a JPEG at all" * 9])
def test_the_sample_that_does_not_decode_is_named(decoder, jpegs, damage):
    decoder.submit(KEYS, jpegs, BOXES, FLIPPED)
    good = decoder.fetch()
    decoder.submit(KEYS, jpegs, BOXES, FLIPPED)
    boxes = BOXES[[1, 0, 2]]  # all of the damaged one is asked for: DALI reads no further than a crop reaches
    decoder.submit(("e", "bad-one", "g"), [jpegs[1], damage(jpegs[0]), jpegs[2]], boxes, FLIPPED[:3])
    assert torch.equal(decoder.fetch(), good)
    with pytest.raises(DataError, match="sample bad-one") as caught:
        decoder.fetch()
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("region", [True, False])
def test_the_graph_for_the_gpu_gives_the_same_views(jpegs, region):
    pipeline = gpu_views(
        SIZE, region, 0.5, backend="cpu", batch_size=4, num_threads=1, device_id=None, prefetch_queue_depth=1
    )
    pipeline.build()
    pipeline.feed_input("jpeg", [np.frombuffer(content, np.uint8) for content in jpegs])
    pipeline.feed_input("anchor", np.ascontiguousarray(BOXES[:, :2]))
    pipeline.feed_input("shape", np.ascontiguousarray(BOXES[:, 2:]))
    pipeline.feed_input("flip", FLIPPED.astype(np.int32))
    (views,) = pipeline.run()
    for view, *of in zip(torch.from_numpy(views.as_array()), jpegs, BOXES, FLIPPED, strict=True):
        error = (view.double() - reference(*of)).abs()
        assert error.max() < 2.5 and error.mean() < 0.33
