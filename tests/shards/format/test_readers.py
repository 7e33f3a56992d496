"""Other readers open the shards as they are: tar, webdataset, DALI."""

import io
import subprocess

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.shards.load.read import ShardSet


@pytest.fixture(scope="module")
def expected(phantom_set):
    shards = ShardSet(phantom_set)
    name = shards.manifest.shards[0].name
    samples = [shards.read("train", index) for index in range(len(shards.manifest.shards[0].keys))]
    return str(phantom_set / name), samples


def test_tar_lists_them(expected):
    path, samples = expected
    listed = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == [f"{s.key}.{ext}" for s in samples for ext in s] and listed.stderr == ""


@pytest.mark.slow  # imports torch
def test_webdataset_reads_them(expected):
    import webdataset

    path, samples = expected
    read = list(webdataset.WebDataset(path, shardshuffle=False, empty_check=False))
    assert [s["__key__"] for s in read] == [s.key for s in samples]
    for ours, theirs in zip(samples, read, strict=True):
        assert {ext: data for ext, data in theirs.items() if not ext.startswith("__")} == dict(ours)


def test_dali_reads_them(expected):
    fn = pytest.importorskip("nvidia.dali.fn")
    from nvidia.dali import pipeline_def, types

    path, samples = expected

    @pipeline_def(batch_size=len(samples), num_threads=1, device_id=None)
    def pipeline():
        data, text, tokens = fn.readers.webdataset(
            paths=[path], ext=["jpg", "txt", "tokens"], missing_component_behavior="error"
        )
        return fn.decoders.image(data, device="cpu", output_type=types.GRAY), text, tokens

    built = pipeline()
    built.build()
    images, texts, tokens = built.run()
    for row, sample in enumerate(samples):
        assert texts.at(row).tobytes() == sample["txt"] and tokens.at(row).tobytes() == sample["tokens"]
        ours = np.asarray(Image.open(io.BytesIO(sample["jpg"])), int)
        assert np.abs(images.at(row)[..., 0].astype(int) - ours).max() <= 2
