"""Splits that are carved: whole patients of train, as many images as wanted, the same for one seed."""

from collections import Counter

from ecamp_fast.shards.sources.base import Record
from ecamp_fast.shards.sources.tasks.draw import carve, few


def records(count=60, split="train"):
    """Patients with one to three images each; the last ten images name none."""
    return [
        Record("row", n, f"s{n}", "1", "", "", patient_id=f"p{n * 2 // 5}" if n < count - 10 else "", split=split)
        for n in range(count)
    ]


def test_whole_patients_leave_train_until_there_are_enough():
    found = records()
    taken = carve(found, {"test": 7, "val": 5}, 3)
    counts = Counter(one.split for one in found)
    assert taken == {"test": counts["test"], "val": counts["val"]}
    assert 7 <= counts["test"] <= 9 and 5 <= counts["val"] <= 7
    home = {one.patient_id: one.split for one in found if one.patient_id}
    assert all(home[one.patient_id] == one.split for one in found if one.patient_id)


def test_only_train_is_carved():
    found = [*records(40), *records(20, "test")]
    for number, one in enumerate(found):
        one.study_id = f"s{number}"
        one.patient_id = f"q{number}"
    assert carve(found, {"val": 1000}, 3) == {"val": 40}
    assert Counter(one.split for one in found) == {"val": 40, "test": 20}


def test_seeds_differ_and_new_patients_move_no_other():
    def val(seed, found):
        carve(found, {"val": 12}, seed)
        return {one.study_id for one in found if one.split == "val"}

    assert val(1, records()) == val(1, records()[::-1]) != val(2, records())
    whole = records()
    assert len(val(1, [one for one in records() if one.row % 9]) & val(1, whole)) > 5  # not drawn anew


def test_of_few_images_an_eighth_is_taken():
    assert few(records(80), 5000) == 10 and few(records(80), 3) == 3 and few(records(80, "test"), 3) == 0
