"""Negative descriptors against others, counted as Eq. 3 counts them."""

import numpy as np
import pytest
from click.testing import CliRunner

from ecamp_fast.commands import shard
from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.describe.annotate import annotate
from ecamp_fast.shards.describe.imbalance import Imbalance
from ecamp_fast.shards.describe.stats import stats
from ecamp_fast.shards.sources.csv_file import CsvSource
from ecamp_fast.text.reading.annotate import Description, describe
from ecamp_fast.text.reading.entities import ANATOMY, Mention


def table(*reports):
    counted = Imbalance()
    for report in reports:
        counted.add(describe(report))
    return counted.table()


@pytest.mark.parametrize(
    ("report", "negative", "other", "of_findings"),
    [
        ("No effusion.", 1, 0, (1, 0)),
        ("There is no effusion.", 2, 0, (2, 0)),
        ("There is no acute pneumonia.", 2, 0, (2, 0)),
        ("Small left effusion.", 0, 2, (0, 2)),
        ("Mild edema. No effusion.", 1, 1, (1, 1)),
        ("Possible pneumonia.", 0, 1, (0, 1)),
        ("The aorta is fine.", 0, 1, (0, 0)),
        ("Tortuous thoracic aorta, no large mass.", 2, 2, (2, 0)),
        ("Effusion.", 0, 0, (0, 0)),
        ("Mass effusion.", 0, 0, (0, 0)),
        ("No large edema effusion.", 2, 0, (2, 0)),
        ("Small mass, edema; no edema.", 1, 1, (1, 1)),
        ("", 0, 0, (0, 0)),
    ],
)
def test_words_are_counted_once(report, negative, other, of_findings):
    found = table(report)
    assert (found["descriptors"]["negative"], found["descriptors"]["other"]) == (negative, other)
    assert (found["findings"]["negative"], found["findings"]["other"]) == of_findings


@pytest.mark.parametrize("denials", [(True, False), (False, True)])
def test_a_word_before_two_entities_is_negative_if_one_is_denied(denials):
    counted = Imbalance()
    counted.add(Description(Mention("edema", 9, 14), ((0, 5),), denied, False) for denied in denials)
    assert counted.table()["descriptors"] == {"negative": 1, "other": 0, "ratio": None, "lambda_neg": None}


@pytest.mark.parametrize(
    ("negative", "other", "ratio", "wanted"),
    [
        *((20, 1, 20, 0.05), (4, 2, 2, 0.5), (3, 2, 1.5, 0.67), (300, 2, 150, 0.0067)),
        *((1, 3, 0.33, 1), (0, 2, 0, 1), (2, 0, None, None), (0, 0, None, None)),
    ],
)
def test_lambda_neg_is_one_over_the_ratio(negative, other, ratio, wanted):
    found = table(*["No effusion."] * negative, *["Small effusion."] * other)["descriptors"]
    assert (found["ratio"], found["lambda_neg"]) == (ratio, wanted)


def test_what_everybody_has_is_no_finding():
    assert {"aorta", "hilar", "silhouette", "vasculature"} <= ANATOMY and not ANATOMY & {"effusion", "mass", "copd"}


def test_a_set_and_its_source_have_one_imbalance(table, tmp_path):
    texts = ["No large effusion. Small mass.", "Mild edema.", "There is no pneumothorax.", "Effusion."]
    path = table([{"report": text} for text in texts])
    build(CsvSource(path), tmp_path / "set", Options(workers=1, vocab_size=200))
    found = stats(tmp_path / "set")
    assert found["imbalance"] == annotate(CsvSource(path))["imbalance"]
    marks = found["marks"]
    of_marks = (marks["negative_descriptor_words"], marks["descriptor_words"] - marks["negative_descriptor_words"])
    assert of_marks == (found["imbalance"]["descriptors"]["negative"], found["imbalance"]["descriptors"]["other"])
    assert np.isclose(found["imbalance"]["descriptors"]["lambda_neg"], 0.5)
    told = CliRunner().invoke(shard.command, ["stats", str(tmp_path / "set")]).stdout
    assert "descriptors: negative 4, other 2, ratio 2.0, lambda_neg 0.5" in told
