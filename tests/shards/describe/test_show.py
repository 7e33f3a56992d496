"""What people see of a set: numbers and pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from ecamp_fast.errors import DataError
from ecamp_fast.shards.describe.show import colours, overlay, show
from ecamp_fast.shards.describe.stats import stats
from ecamp_fast.shards.load.read import ShardSet


def test_a_sheet_of_samples(phantom_set):
    shards = ShardSet(phantom_set)
    data, keys = show(shards, "train", 5)
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "PNG" and picture.mode == "RGB" and len(set(keys)) == 5
    one, _ = show(shards, "train", 1)
    assert Image.open(io.BytesIO(one)).size[0] * 2 == picture.size[0]
    assert len(np.unique(np.asarray(picture))) > 50
    assert show(shards, "train", 5) == (data, keys) != show(shards, "train", 5, seed=1)


def test_named_samples_from_any_split(phantom_set):
    shards = ShardSet(phantom_set)
    names = [shards.key("val", 0), shards.key("train", 2)]
    assert show(shards, "train", 1, keys=[*names, names[0]])[1] == names
    with pytest.raises(DataError, match="no sample nobody"):
        show(shards, "train", 1, keys=["nobody"])


def test_more_than_there_are(phantom_set):
    shards = ShardSet(phantom_set)
    assert len(show(shards, "val", 100)[1]) == shards.count("val")


def test_attention_colours_only_where_it_is_high():
    grey = Image.new("L", (56, 56), 100)
    attention = np.zeros((28, 28), np.uint8)
    attention[:14, :14] = 200
    drawn = np.asarray(overlay(grey, attention), int)
    assert drawn[5, 5, 0] > drawn[5, 5, 2] and np.ptp(drawn[50, 50]) == 0
    assert np.array_equal(np.asarray(overlay(grey, None)), np.full((56, 56, 3), 100))
    assert np.array_equal(np.asarray(overlay(grey, 0 * attention)), np.full((56, 56, 3), 100))


def test_colours_run_from_blue_to_red():
    low, middle, high = colours(np.array([0.0, 0.5, 1.0]))
    assert low.argmax() == 2 and middle.argmax() == 1 and high.argmax() == 0


def test_numbers_of_a_set(phantom_set):
    found = stats(phantom_set)
    assert found["samples"] == 12 and sum(found["splits"].values()) == 12 and found["shards"] == 4
    assert found["attention_maps"] == 12 and found["image"]["short_side"] == {"min": 64, "median": 64, "max": 64}
    assert sum(found["views"].values()) == 12
    marks = found["marks"]
    assert marks["words"] > marks["entity_words"] >= 0
    assert marks["descriptor_words"] >= marks["negative_descriptor_words"] >= 0
