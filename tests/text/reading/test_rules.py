import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecamp_fast.text.reading.annotate import describe
from ecamp_fast.text.reading.rules import distill


@pytest.mark.parametrize(
    ("report", "text"),
    [
        # adjectives and verbs become nouns, or keep the noun that follows them
        ("Lungs are mildly hyperinflated.", "There is mild hyperinflation."),
        ("Hyperinflated lungs.", "There is hyperinflated lungs."),
        ("Prior granulomatous disease.", "There is prior granuloma."),
        ("The heart border is obscured.", "There is obscuration."),
        ("Right hilar fullness.", "There is right hilar fullness."),
        ("Hyperinflated left lung.", "There is hyperinflation."),  # a place is no noun
        # anatomy is described, not found; denying it means something else
        ("The aorta is tortuous.", "There is tortuous aorta."),
        ("The aorta is not enlarged.", "There is aorta."),
        (
            "The silhouette and vascularity are within normal limits.",
            "There is normal silhouette. There is normal vascularity.",
        ),
        ("The heart is normal; the aorta is tortuous.", "There is tortuous aorta."),
        ("No free air beneath the hemidiaphragm.", ""),
        ("The vasculature is not engorged.", "There is vasculature. There is no engorgement."),
        # a compound is one finding
        ("Mild perihilar opacities.", "There is mild perihilar opacities."),
        ("Small left hilar mass.", "There is small left hilar mass."),
        ("Left hilar mass calcification.", "There is left hilar mass calcification."),
        # measures, places in between, function words and what a comma parts off are no adjectives
        ("A 4 cm mass.", "There is mass."),
        ("A 5mm nodule.", "There is nodule."),
        ("Large, left effusion.", "There is left effusion."),
        ("The film demonstrates edema.", "There is edema."),
        ("Very large right pleural effusion.", "There is right pleural effusion."),
        # a denied entity keeps what narrows the denial
        ("No large effusion.", "There is no large effusion."),
        # one sentence for each entity and way it is said to be: the first
        ("Edema. Mild edema.", "There is edema."),
        ("Edema. No edema. Possible edema.", "There is edema. There is no edema. There may be edema."),
    ],
)
def test_sentences_of_the_distiller(report: str, text: str) -> None:
    assert distill(report) == text


@pytest.mark.parametrize(
    ("report", "doubted", "certain"),
    [
        ("Opacities, which may represent atelectasis.", {"atelectasis"}, {"opacity"}),
        ("Pneumonia cannot be excluded.", {"pneumonia"}, set()),
        ("Findings concerning for edema; small effusion.", {"edema"}, {"effusion"}),
        ("Cardiomegaly with infiltrate versus atelectasis.", {"infiltrate", "atelectasis"}, {"cardiomegaly"}),
        ("A nodule may be present.", {"nodule"}, set()),
        ("Likely atelectasis, or pneumonia.", {"atelectasis", "pneumonia"}, set()),
        ("Pneumothorax?", {"pneumothorax"}, set()),
        ("Film to exclude fracture.", {"fracture"}, set()),
        ("A suspicious nodule.", set(), {"nodule"}),
        ("Possible edema. Mild effusion.", {"edema"}, {"effusion"}),
    ],
)
def test_doubt_reaches_what_it_is_about(report: str, doubted: set[str], certain: set[str]) -> None:
    sentences = distill(report).split(". ")
    for opening, entities in (("There may be", doubted), ("There is", certain)):
        found = {d.mention.entity for s in sentences if s.startswith(opening) for d in describe(s)}
        assert found == entities


WORDS = """
no there is are not mild left the effusion edema mass lungs aorta silhouette hilar opacity normal and but with without
, . ; may likely resolved seen excluded hyperinflated calcified granuloma of dilated nodular
"""


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS.split()), max_size=25).map(" ".join))
def test_nothing_denied_is_asserted_and_nothing_is_invented(report: str) -> None:
    source = {(description.mention.entity, description.denied) for description in describe(report)}
    for description in describe(distill(report)):
        assert (description.mention.entity, description.denied) in source
