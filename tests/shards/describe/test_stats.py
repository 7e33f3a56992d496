"""Descriptive terms and text lengths of a set, counted without opening an image."""

import io

import pytest
from PIL import Image

from ecamp_fast.shards.builder.build import Options, build
from ecamp_fast.shards.describe.stats import stats
from ecamp_fast.shards.describe.terms import CUES, FUNCTION_WORDS, Terms, plot
from ecamp_fast.shards.format.manifest import IMAGE, TOKENS
from ecamp_fast.shards.format.tokens import unpack_tokens
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.csv_file import CsvSource

REPORTS = [
    "There is no large effusion. There may be left pneumonia.",
    "There is no large effusion. Small effusion, but the aorta is fine.",
    "Effusion.",
]


def counted():
    found = Terms()
    for study, report in enumerate(REPORTS):
        found.add(f"s{study}", report)
    return found


def test_a_term_is_what_describes_an_entity():
    table = counted().table(0)
    assert table["descriptors"] == {
        "large": {"count": 2, "denied": 2},
        "left": {"count": 1, "denied": 0},
        "small": {"count": 1, "denied": 0},
    }
    assert table["descriptor_terms"] == 3 and table["other_descriptors"] == 0


def test_rare_terms_are_others():
    table = counted().table(1)
    assert list(table["descriptors"]) == ["large"] and table["other_descriptors"] == 2
    assert table["descriptor_threshold"] == 1 and table["descriptor_terms"] == 3


def terms(text):
    found = Terms()
    found.add("s0", text)
    return list(found.table(0)["descriptors"])


@pytest.mark.parametrize("word", sorted(FUNCTION_WORDS | CUES))
def test_every_word_that_describes_nothing(word):
    assert terms(f"Large {word} effusion.") == terms(f"Large {word.upper()} effusion.") == []
    assert terms(f"{word} large effusion.") == ["large"]
    assert not FUNCTION_WORDS & CUES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Moderate left effusion.", ["moderate left"]),
        ("Mild to moderate edema.", ["moderate"]),
        ("No focal consolidation.", ["focal"]),
        ("A 5 mm nodule.", ["5 mm"]),
        ("A non-displaced rib fracture.", ["non-displaced rib"]),
        ("1 Opacity. 2 Left opacity.", ["left"]),
        ("XXXX opacity, XXXX dense mass.", ["dense"]),
        ("Lungs are hyperinflated.", []),
        ("Heart size and contour.", []),
        ("An area of fibrosis.", []),
        ("Right lower lobe pneumonia.", ["lower lobe"]),
        ("The effusion is no larger; evidence of edema.", []),
    ],
)
def test_terms_of_sentences(text, expected):
    assert terms(text) == expected


def test_views_of_a_study_share_their_report():
    twice = counted()
    twice.add("s0", REPORTS[0])
    assert twice.table(0) == counted().table(0)


def test_the_threshold_is_the_papers_share_of_reports():
    many = Terms()
    for study in range(2278):
        many.add(str(study), "Fine.")
    assert many.table()["descriptor_threshold"] == 99  # 10,000 of 227,835 reports: 4.4 %


def test_what_few_reports_say_is_not_listed_unless_asked_for():
    table = counted().table()
    assert table["descriptors"] == {} and table["other_descriptors"] == 4


def test_the_plot_is_a_picture_with_a_bar_for_each_term_and_the_others():
    small, large = (Image.open(io.BytesIO(plot(counted().table(least)))) for least in (1, 0))
    assert small.format == "PNG" and small.height < large.height
    many = {f"term {number}": {"count": 100 - number, "denied": number % 3} for number in range(60)}
    tall = plot({"descriptors": many, "descriptor_threshold": 1, "other_descriptors": 7})
    assert Image.open(io.BytesIO(tall)).height < 2500
    plot(Terms().table())


@pytest.mark.fault("T3.cut-counted")
def test_texts_that_a_recipe_would_cut_are_counted(table, tmp_path):
    path = table([{"report": " ".join(["effusion"] * count)} for count in (3, 20, 40)])
    build(CsvSource(path), tmp_path / "set", Options(workers=1, vocab_size=200))
    shards = ShardSet(tmp_path / "set")
    lengths = []
    for split in shards.splits:
        for index in range(shards.count(split)):
            lengths.append(1 + sum(map(len, unpack_tokens(shards.read(split, index, (TOKENS,))[TOKENS]))))
    expected = {"max_tokens": 10, "texts": 2, "tokens": sum(max(length - 10, 0) for length in lengths)}
    assert stats(tmp_path / "set", max_tokens=10)["truncated"] == expected
    assert stats(tmp_path / "set")["truncated"] == {"max_tokens": 256, "texts": 0, "tokens": 0}


def test_no_image_is_read(phantom_set, monkeypatch):
    asked = []
    read = ShardSet.read
    monkeypatch.setattr(ShardSet, "read", lambda self, *place: (asked.append(place[2]), read(self, *place))[1])
    assert stats(phantom_set, threshold=0)["descriptors"]
    assert len(asked) == 12 and not any(IMAGE in extensions for extensions in asked)
