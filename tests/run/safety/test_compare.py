"""Two lists of records: the first step, and in it the first quantity, in which they differ."""

import numpy as np
import pytest

from ecamp_fast.run.safety.compare import QUANTITIES, compare, compare_redone
from ecamp_fast.run.safety.flight import LEFT_OUT, RECORD, Flight


def records(*steps: int) -> np.ndarray:
    rows = [(step, 0, 2, step * 3, step * 5, step * 7, 9.5, 4, 3, 2.5, 1.25, step * 11, 0) for step in steps]
    return np.array(rows, RECORD)


def changed(name: str, at: int, records: np.ndarray) -> np.ndarray:
    records = records.copy()
    if name == "left_out":
        records["flags"][at] ^= LEFT_OUT
    elif name in ("loss", "mim", "sr", "mlm", "norm"):
        records[name][at] = np.nextafter(records[name][at], np.float32(np.inf))
    else:
        records[name][at] ^= 1 << 40
    return records


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_one_changed_quantity_is_named(quantity: str) -> None:
    one = records(1, 2, 3, 4)
    found = compare(one, changed(quantity, 2, one))
    assert found.first and (found.first.step, found.first.quantity) == (3, quantity)
    assert found.first.one != found.first.other
    assert found.differ == {name: int(name == quantity) for name in QUANTITIES}


@pytest.mark.parametrize("place", range(1, len(QUANTITIES)))
def test_the_cause_is_named_before_what_follows_from_it(place: int) -> None:
    one = records(1, 2, 3, 4)
    other = changed(QUANTITIES[place - 1], 2, changed(QUANTITIES[place], 2, changed("samples", 3, one)))
    found = compare(one, other)
    assert found.first and (found.first.step, found.first.quantity) == (3, QUANTITIES[place - 1])


def test_ranks_flags_of_legs_and_checksums_are_no_quantities() -> None:
    one, other = records(1, 2), records(1, 2)
    other["ranks"], other["flags"], other["crc"] = 1, 2, 5
    assert compare(one, other).first is None


def test_steps_that_one_of_them_lacks_do_not_count() -> None:
    found = compare(records(1, 2, 3, 5), records(2, 3, 4, 5, 6))
    assert found.first is None and found.compared == 3


def test_a_tolerance_is_relative_and_leaves_weights_out() -> None:
    one, other = records(1, 2, 3), records(1, 2, 3)
    other["mlm"] *= np.float32(1 + 1e-5)
    other["norm"][1] *= np.float32(1 + 4e-5)
    other["weights"] += 1
    assert compare(one, other, 1e-4).first is None
    assert "weights" not in compare(one, other, 1e-4).differ
    found = compare(one, other, 3e-5)
    assert found.first and (found.first.step, found.first.quantity) == (2, "norm")
    apart, step = found.largest["norm"]
    assert apart == pytest.approx(4e-5, rel=0.01) and step == 2 and found.largest["loss"][0] == 0.0
    exact = compare(one, other).first
    assert exact and (exact.step, exact.quantity) == (1, "mlm")
    for quantity in ("samples", "patches", "words", "left_out"):
        loose = compare(one, changed(quantity, 0, one), 1e9).first
        assert loose and loose.quantity == quantity


def test_what_is_no_number_is_the_same_as_itself_alone() -> None:
    one, other = records(1, 2, 3), records(1, 2, 3)
    for value in (np.nan, np.inf):
        one["loss"][1] = other["loss"][1] = value
        assert compare(one, other).first is None
        other["loss"][1] = 1.0
        for tolerance in (None, 0.5):
            first = compare(one, other, tolerance).first
            assert first and (first.step, first.quantity) == (2, "loss")
    zero, minus = records(1), records(1)
    zero["sr"], minus["sr"] = 0.0, -0.0
    assert compare(zero, minus).first  # to the bit
    assert compare(records(), records()).compared == 0


def test_redone_steps_are_compared_with_the_last_time() -> None:
    last = records(1, 2, 3, 4)
    earlier = records(3, 2, 3)
    assert compare_redone(Flight(last, earlier)).first is None
    assert compare_redone(Flight(last, earlier)).compared == 3
    earlier["weights"][2] += 1
    earlier["samples"][1] += 1
    first = compare_redone(Flight(last, earlier)).first
    assert first and (first.step, first.quantity) == (2, "samples")
    assert compare_redone(Flight(last, records())).first is None
