"""Shards are plain webdataset tars: webdataset alone reads the same samples, ours are checked as well."""

import copy
import json
import tarfile

import numpy as np
import pytest
import webdataset as wds

from ecamp_fast.errors import DataError
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.load.stream import stream


def test_samples_are_what_webdataset_reads_alone(phantom_set):
    shards = [str(phantom_set / shard.name) for shard in ShardSet(phantom_set).manifest.of("train")]
    alone = list(wds.DataPipeline(wds.SimpleShardList(shards), wds.tarfile_to_samples()))
    ours = list(stream(phantom_set, "train"))
    assert len(ours) == len(alone) == len(stream(phantom_set, "train")) > 8
    for a, b in zip(ours, alone, strict=True):
        assert a == {name: value for name, value in b.items() if name in a} and a["__key__"] == b["__key__"]
        assert {name for name in b if not name.startswith("__")} <= a.keys()


def test_members_are_what_tarfile_reads(phantom_set):
    sample = next(iter(stream(phantom_set, "train")))
    with tarfile.open(sample["__url__"]) as tar:
        for name, content in sample.items():
            if not name.startswith("__"):
                assert tar.extractfile(f"{sample['__key__']}.{name}").read() == content


def test_it_starts_a_pipeline_of_webdataset(phantom_set):
    source = copy.deepcopy(stream(phantom_set, "train"))  # as worker processes get it
    pipeline = wds.DataPipeline(source, wds.shuffle(5, seed=0), wds.decode("l"), wds.to_tuple("jpg", "txt", "json"))
    for _ in range(2):
        samples = list(pipeline)
        assert len(samples) == len(source)
        for image, text, metadata in samples:
            assert image.shape == (metadata["height"], metadata["width"]) and image.dtype == np.float32
            assert isinstance(text, str) and text


def test_damage_is_an_error_where_webdataset_sees_none(copied):
    shard = ShardSet(copied).manifest.of("train")[0]
    text = shard.members["txt"]
    with open(copied / shard.name, "r+b") as file:
        file.seek(int(text.offset[1]))
        file.write(b"\x00")
    alone = wds.DataPipeline(wds.SimpleShardList([str(copied / shard.name)]), wds.tarfile_to_samples())
    assert len(list(alone)) == len(shard.keys)
    with pytest.raises(DataError, match=shard.keys[1]):
        list(stream(copied, "train"))


def test_an_unknown_split_is_refused_at_once(phantom_set):
    with pytest.raises(DataError, match="no split 'test'"):
        stream(phantom_set, "test")
    assert json.loads(next(iter(stream(phantom_set, "val")))["json"])["split"] == "val"
