"""Identifiers are repeated in messages, reports and private folders are not."""

import pytest

from ecamp_fast.shards.sources.redact import redact, redact_place


@pytest.mark.parametrize("value", ["s50414267", "1.2.840.113619", "p/1_IM-0001.dcm.png", "image_path", "02aa-bde(1)"])
def test_identifiers_are_shown(value):
    assert redact(value) == redact_place(value) == value


@pytest.mark.parametrize("value", ["No edema.", "Größe", "x" * 61, "two\nlines", "", "Smith John"])
def test_of_texts_only_the_length_is_shown(value):
    assert redact(value) == redact_place(value) == f"(a text of {len(value)} characters)"


def test_places():
    assert redact_place("/data/Smith_John/a.jpg") == "a.jpg"
    assert redact_place("/data/Smith_John/scan 1.DCM") == "scan 1.DCM"
    assert redact_place("images/scan 1.png") == "images/scan 1.png"
    assert redact_place("/data/No acute process.") == "(a text of 17 characters)"
    assert redact_place("No edema.\nSee a.jpg") == "(a text of 19 characters)"
