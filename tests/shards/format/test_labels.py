"""What is known of a class: four states from the source to the task, and sets of format 2, which had two."""

import hashlib
import json
import math

import pytest

from ecamp_fast.errors import DataError
from ecamp_fast.phantom import FINDINGS, describe
from ecamp_fast.shards.describe.stats import stats
from ecamp_fast.shards.format.labels import class_order, read_labels, targets
from ecamp_fast.shards.format.manifest import MANIFEST, read_manifest
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.webdataset import WebdatasetSource

CLASSES = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion", "Fracture")


def rewritten(folder, change):
    """A manifest with other content, sealed as a builder seals it."""
    raw = (folder / MANIFEST).read_bytes()
    tree = json.loads(raw)
    del tree["sha256"]
    change(tree)
    rest = json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()[1:]
    head = b'{"sha256":"' + hashlib.sha256(rest).hexdigest().encode() + b'",'
    (folder / MANIFEST).write_bytes(head + rest)
    return folder


def test_a_phantom_states_every_class_and_names_its_masks(phantom_set):
    shards = ShardSet(phantom_set)
    assert shards.manifest.labels == shards.manifest.masks == FINDINGS
    for row in range(shards.count("train")):
        about = shards.metadata("train", row)
        drawn = describe(42, about["row"])
        assert about["labels"] == {name: int(name in drawn.labels) for name in FINDINGS}
        assert tuple(about["masks"]) == FINDINGS
    found = stats(phantom_set)
    for name in FINDINGS:
        values = found["label_values"][name]
        assert values["present"] == found["labels"].get(name, 0) and sum(values.values()) == 12
        assert values["uncertain"] == values["unknown"] == 0
    assert found["masks"] == {"names": list(FINDINGS), "samples": 12}


def test_sets_of_format_2_are_read_as_they_were_meant(copied):
    def former(tree):
        assert tree.pop("labels") == tree.pop("masks") == list(FINDINGS)
        tree["format"] = 2

    manifest = read_manifest(rewritten(copied, former))
    assert (manifest.labels, manifest.masks) == ((), FINDINGS)
    with pytest.raises(DataError, match="format 4, this version reads 2 and 3"):
        read_manifest(rewritten(copied, lambda tree: tree.update(format=4)))


@pytest.mark.parametrize(
    "change",
    [{"labels": "a"}, {"labels": [1]}, {"masks": ["a", "a"]}, {"masks": [f"m{i}" for i in range(17)]}],
    ids=str,
)
def test_names_in_a_manifest_are_names(change, copied):
    with pytest.raises(DataError, match="not a manifest"):
        read_manifest(rewritten(copied, lambda tree: tree.update(change)))


def test_a_set_is_a_source_with_its_classes_and_planes(phantom_set):
    listing = WebdatasetSource(phantom_set).list_records()
    assert listing.labels == listing.masks == FINDINGS and not listing.notes
    own = {record.study_id: record.labels for record in listing.records}
    shards = ShardSet(phantom_set)
    for row in range(shards.count("val")):
        about = shards.metadata("val", row)
        assert own[about["study_id"]] == about["labels"]


def test_uncertain_classes_count_as_the_paper_has_them():
    """SPEC 7.1: uncertain is present for atelectasis, edema, effusion, absent for cardiomegaly, consolidation."""
    uncertain = dict.fromkeys(CLASSES, -1)
    found = targets(uncertain, CLASSES, CLASSES, "chexpert")
    assert found[:5] == [1, 0, 0, 1, 1] and math.isnan(found[5])
    assert targets({"Edema": 1, "Fracture": 0}, ("Fracture", "Edema"), CLASSES, "csv") == [0, 1]


def test_what_is_blank_is_absent_where_the_labeller_means_that_and_where_sets_list():
    (blank,) = targets({}, ("Edema",), ("Edema",), "csv")
    assert math.isnan(blank)
    assert targets({}, ("Edema",), ("Edema",), "chexpert") == [0]
    assert targets({}, ("Edema",), ("Edema",), "mimic-cxr") == [0]
    assert targets({"Mass": 1}, ("Edema", "Mass"), (), "openi") == [0, 1]


def test_classes_lie_in_the_order_of_the_source_though_samples_lack_some():
    assert class_order([{"b": 0}, {"a": 1, "b": 0, "d": -1}, {"b": 1, "c": 0, "d": 1}]) == ("a", "b", "c", "d")
    assert class_order([{"b": 1}, {"a": 1}]) == () == class_order([])


def test_values_are_one_of_three_and_lists_are_what_is_present():
    assert read_labels({"a": 1, "b": 0, "c": -1}) == {"a": 1, "b": 0, "c": -1}
    assert read_labels(["a", "b"]) == {"a": 1, "b": 1}
    for value in ({"a": 2}, {"a": -2}, {"a": True}, {"a": 1.0}, {"a": None}, [1], "a", None):
        assert read_labels(value) is None
