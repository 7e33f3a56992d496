"""Keys are unique and portable; held-out patients are drawn by their own names."""

import re

from hypothesis import given
from hypothesis import strategies as st

from ecamp_fast.shards.builder.naming import KEY_LENGTH, assign_keys, assign_splits
from ecamp_fast.shards.sources.base import Record

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=120)


def record(study="s1", stem="i1", patient="", split="", number=0):
    return Record(f"row {number}", number, study, stem, f"{study}/{stem}.jpg", "text", patient_id=patient, split=split)


def keyed(*pairs):
    records = [record(*pair) for pair in pairs]
    assign_keys(records)
    return [r.key for r in records]


def test_a_key_is_made_of_study_and_image():
    assert keyed(("s50414267", "02aa804e-bde0afdd")) == ["s50414267_02aa804e-bde0afdd"]


def test_foreign_characters_and_dots_are_replaced():
    assert keyed(("1.2.840", "a b/é")) == ["1_2_840_a_b__"]


@given(st.lists(st.tuples(names, names), min_size=1, max_size=12, unique=True))
def test_keys_are_unique_legal_and_short(pairs):
    keys = keyed(*pairs)
    assert len({key.lower() for key in keys}) == len(pairs)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", key) and len(key) <= KEY_LENGTH for key in keys)


@given(st.permutations([("a.b", "c"), ("a_b", "c"), ("A_b", "C"), ("x" * 100, "y"), ("z", "1")]))
def test_a_key_does_not_depend_on_the_place_in_the_table(pairs):
    expected = dict(zip(sorted(pairs), keyed(*sorted(pairs)), strict=True))
    assert dict(zip(pairs, keyed(*pairs), strict=True)) == expected


def split(records, holdout=0.1, seed=0):
    faults = assign_splits(records, holdout, seed)
    return faults, {r.study_id: r.split for r in records}


@given(st.integers(2, 60), st.integers(0, 100), st.floats(0.001, 0.9))
def test_some_are_held_out_and_some_stay(patients, seed, holdout):
    records = [record(f"s{n}", patient=f"p{n // 2}") for n in range(2 * patients)]
    faults, splits = split(records, holdout, seed)
    assert not faults and set(splits.values()) == {"train", "val"}
    assert all(splits[f"s{2 * n}"] == splits[f"s{2 * n + 1}"] for n in range(patients))


def test_the_share_holds_on_average_and_seeds_differ():
    held = [
        {s for s, where in split([record(f"s{n}") for n in range(2000)], 0.1, k)[1].items() if where == "val"}
        for k in (1, 2)
    ]
    assert all(150 < len(h) < 250 for h in held) and held[0] != held[1]


def test_adding_patients_moves_no_other():
    few, many = (split([record(f"s{n}") for n in range(count)], 0.3)[1] for count in (50, 80))
    assert all(many[study] == where for study, where in few.items())


def test_one_patient_or_no_share_stays_whole():
    assert split([record("s1", "a"), record("s1", "b")])[1] == {"s1": "train"}
    assert set(split([record(f"s{n}") for n in range(30)], holdout=0)[1].values()) == {"train"}


def test_named_splits_are_kept_with_their_usual_names():
    records = [record("a", split="Train"), record("b", split="validate"), record("c", split="TEST")]
    assert split(records) == ([], {"a": "train", "b": "val", "c": "test"})


def test_unknown_or_missing_split_is_a_fault():
    faults, _ = split([record("a", split="train"), record("b", split="hold", number=7), record("c", number=8)])
    assert [f.origin for f in faults] == ["row 7", "row 8"]
    assert "split hold" in faults[0].what and "no split" in faults[1].what


def test_a_patient_in_two_splits_is_a_fault_that_names_both_rows():
    faults, _ = split(
        [record("a", patient="p1", split="train", number=2), record("b", patient="p1", split="val", number=9)]
    )
    assert len(faults) == 1 and faults[0].origin == "row 9" and "row 2" in faults[0].what and "p1" in faults[0].what


def test_without_patients_a_study_may_not_be_in_two_splits():
    faults, _ = split([record("a", "1", split="train"), record("a", "2", split="test")])
    assert len(faults) == 1


def test_a_report_in_the_wrong_column_is_not_repeated():
    faults, _ = split([record("a", split="There is a SECRET finding in the left upper lobe, unchanged.")])
    assert len(faults) == 1 and "SECRET" not in str(faults[0])


def test_a_study_of_two_patients_is_a_fault():
    faults, _ = split([record("a", "1", patient="p1", number=2), record("a", "2", patient="p2", number=3)])
    assert len(faults) == 1 and "row 2" in faults[0].what and faults[0].origin == "row 3"
