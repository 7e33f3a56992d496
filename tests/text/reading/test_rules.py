"""The distilled sentences, word by word: template, number, what is kept and what is left out."""

import pytest

from ecamp_fast.text.reading.annotate import describe
from ecamp_fast.text.reading.rules import distill


@pytest.mark.parametrize(
    ("report", "text"),
    [
        # adjectives and verbs become nouns, or keep the noun that follows them
        ("Lungs are mildly hyperinflated.", "There is mild hyperinflation."),
        ("Hyperinflated lungs.", "There are hyperinflated lungs."),
        ("Prior granulomatous disease.", "There is granulomatous disease."),
        ("Hyperinflated left lung.", "There is hyperinflated left lung."),
        ("Heavily calcified.", "There is heavy calcification."),
        ("The left clavicle is fractured.", "There is fracture of the left clavicle."),
        ("The heart border is obscured.", "There is obscuration of the heart border."),
        (
            "Opacity obscuring the right heart border.",
            "There is opacity. There is obscuration of the right heart border.",
        ),
        ("The aortic arch is calcified.", "There is calcification."),
        ("Opacity obscuring hilum.", "There is opacity. There is obscuration."),
        ("Calcified implants obscure it.", "There are calcified implants. There is obscuration."),
        ("Obscured left costophrenic angle.", "There is obscured left costophrenic angle."),
        ("Calcified right upper lobe nodule.", "There is calcification. There is right upper lobe nodule."),
        ("The lungs are well aerated.", "There are well aerated lungs."),
        # what is missing behind the noun is no place
        ("Opacity obscuring the right heart XXXX.", "There is opacity. There is obscuration."),
        # a compound is one finding
        ("Mild perihilar opacities.", "There are mild perihilar opacities."),
        ("Small left hilar mass.", "There is small left hilar mass."),
        ("Left hilar mass calcification.", "There is left hilar mass calcification."),
        ("Calcified hilar lymph nodes.", "There are calcified hilar lymph nodes."),
        ("Calcified hilar lymph XXXX.", "There is calcification."),
        ("Aorta calcified.", "There is calcified aorta."),
        ("Dilated aorta.", "There is dilated aorta."),
        ("Vascular calcifications aorta.", "There are vascular calcifications."),
        # measures go, and what stands before them stays; function words and verbs end a phrase
        ("A 4 cm mass.", "There is mass."),
        ("A 5mm nodule.", "There is nodule."),
        ("A large 1.5 cm calcified granuloma.", "There is large calcified granuloma."),
        ("A small (1 cm) nodule.", "There is small nodule."),
        ("A spiculated, 2 cm mass.", "There is spiculated mass."),
        ("Nodule (calcified) mass.", "There is nodule. There is calcification. There is mass."),
        ("Two calcified granulomas, 2 nodules.", "There are two calcified granulomas. There are nodules."),
        ("Very large right pleural effusion.", "There is very large right pleural effusion."),
        ("The film demonstrates edema.", "There is edema."),
        ("Chest film showed diffuse infiltrate.", "There is diffuse infiltrate."),
        ("Edema, obscuring mild opacity.", "There is edema. There is obscuration. There is mild opacity."),
        # another film, and how sure one is
        ("Small stable left effusion.", "There is small left effusion."),
        ("Previously noted small effusion.", "There is small effusion."),
        ("New right effusion.", "There is new right effusion."),
        ("Worsening small possible effusion.", "There may be small effusion."),
        # a denied entity keeps what narrows the denial
        ("No large effusion.", "There is no large effusion."),
        ("No acute or focal consolidation.", "There is no acute or focal consolidation."),
        # one sentence for each entity and way it is said to be: the first, or the one that says the same and more
        ("Edema. Mild edema. Edema.", "There is mild edema."),
        ("Mild edema. Interstitial edema.", "There is mild edema."),
        ("No effusion. No large effusion.", "There is no effusion."),
        ("Edema. No edema. Possible edema.", "There is edema. There is no edema. There may be edema."),
        # what was or will be done about it is no finding
        ("Hernia repair.", ""),
        ("S/p hernia surgery, small effusion.", "There is small effusion."),
    ],
)
def test_sentences_of_the_distiller(report: str, text: str) -> None:
    assert distill(report) == text


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("Bilateral pleural effusions.", "There are bilateral pleural effusions."),
        ("No pleural effusions.", "There is no pleural effusion."),
        ("No pneumothoraces, masses or opacities.", "There is no pneumothorax. There is no mass. There is no opacity."),
        ("No multiple nodules.", "There are no multiple nodules."),
        ("No calcified lymph nodes.", "There is no calcified lymph node."),
        ("No granulomatous changes.", "There is no granuloma."),
        ("No calcified lesions.", "There is no calcified lesion."),
        ("Possible effusions.", "There may be effusions."),
        ("A mass, atelectasis, fibrosis.", "There is mass. There is atelectasis. There is fibrosis."),
        ("Granulomata and emboli.", "There are granulomata. There are emboli."),
        ("The hila are prominent.", "There are prominent hila."),
        ("Right and left pleural effusions.", "There are right and left pleural effusions."),
        ("Scattered areas of opacity.", "There is scattered opacity."),
        ("No focal areas of consolidation.", "There is no focal consolidation."),
        ("Flattening of the hemidiaphragms.", "There is flattening of the hemidiaphragms."),
        ("Atherosclerotic changes of the aorta.", "There are atherosclerotic changes of the aorta."),
    ],
)
def test_verb_and_noun_agree(report: str, text: str) -> None:
    assert distill(report) == text


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("Right upper lobe opacity.", "There is right upper lobe opacity."),
        ("Opacity in the right upper lobe.", "There is opacity in the right upper lobe."),
        ("Opacity is again seen in the right upper lobe.", "There is opacity in the right upper lobe."),
        ("Opacity which appears to be in the left base.", "There is opacity in the left base."),
        ("A mass has developed in the left lung.", "There is mass in the left lung."),
        ("Opacities persist; effusion on the left.", "There are opacities. There is effusion on the left."),
        ("Opacities bilaterally.", "There are bilateral opacities."),
        (
            "Consolidation in the right and left lower lobes.",
            "There is consolidation in the right and left lower lobes.",
        ),
        ("Opacities in the mid to upper zones.", "There are opacities in the mid to upper zones."),
        ("Fractures of the left 4th, 5th and 6th ribs.", "There are fractures of the left 4th 5th and 6th ribs."),
        ("Fracture of the seventh rib.", "There is fracture of the seventh rib."),
        ("Fracture of T12.", "There is fracture of t12."),
        ("Opacity left lung base.", "There is opacity in the left lung base."),
        ("Nodular densities right upper lobe.", "There are nodular densities in the right upper lobe."),
        ("Opacity left lung is clear.", "There is opacity."),
        ("Opacity left lung clear.", "There is opacity."),
        ("Opacity left lung nodule.", "There is opacity. There is left lung nodule."),
        ("At the left base, there is an opacity.", "There is opacity at the left base."),
        ("No effusion is seen on the right.", "There is no effusion on the right."),
        ("Right greater than left effusions.", "There are right greater than left effusions."),
        # the side of something else, of another subject, of another entity
        ("Opacity on the left view.", "There is opacity."),
        ("Opacity on the lateral film.", "There is opacity."),
        ("Nodule in the left lung and the heart is large.", "There is nodule in the left lung."),
        ("Nodule in the left lung and right heart is large.", "There is nodule in the left lung."),
        ("Nodule in the left lung opacity.", "There is nodule. There is left lung opacity."),
        (
            "Effusion on the left and moderate cardiomegaly.",
            "There is effusion on the left. There is moderate cardiomegaly.",
        ),
        ("Opacity in the left XXXX.", "There is opacity."),
        ("Opacity in the left base XXXX edema.", "There is opacity in the left base. There is edema."),
        ("Distention of this stomach.", "There is distention of the stomach."),
        ("Opacity in XXXX region.", "There is opacity."),
        ("Opacity in the left hilum.", "There is opacity."),
        ("No effusion in the interval.", "There is no effusion."),
    ],
)
def test_side_and_place_are_kept(report: str, text: str) -> None:
    assert distill(report) == text


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("The effusion is small.", "There is small effusion."),
        ("Cardiomegaly is mild.", "There is mild cardiomegaly."),
        ("The effusions are small and bilateral.", "There are small bilateral effusions."),
        ("The edema is mild to moderate.", "There is mild to moderate edema."),
        ("Mild edema is mild to moderate.", "There is mild edema."),
        ("Right effusion, which is small.", "There is small right effusion."),
        ("The effusion is small and located at the left base.", "There is small effusion at the left base."),
        ("Effusion: small left.", "There is small left effusion."),
        ("Mild, diffuse, bilateral opacities.", "There are mild diffuse bilateral opacities."),
        ("Left perihilar airspace opacity.", "There is left airspace opacity."),
        (
            "Small densely calcified pleural nodule.",
            "There is small dense calcification. There is small pleural nodule.",
        ),
        ("No acute or progressive edema.", "There is no acute edema."),
        ("Moderate, bilateral effusions.", "There are moderate bilateral effusions."),
        ("Small high density nodules.", "There are small high density nodules."),
        ("Mucous or possibly focal pneumonia.", "There may be focal pneumonia."),
        ("Small to moderate effusion.", "There is small to moderate effusion."),
        ("Moderate amount of patchy opacification.", "There is moderate patchy opacification."),
        ("The opacity is adjacent to the heart.", "There is opacity."),
        ("Features of pneumonia are non-specific.", "There is pneumonia."),
        # of a comparison, of another subject, of another noun
        ("The effusion is decreased.", "There is effusion."),
        ("The effusion is unchanged.", "There is effusion."),
        ("Edema, heart is enlarged.", "There is edema."),
        ("Heart large, small effusion.", "There is small effusion."),
        ("The heart is normal and small effusion is seen.", "There is small effusion."),
        ("The heart is not enlarged and small effusions are seen.", "There are small effusions."),
        ("Secondary to small effusion.", "There is small effusion."),
        ("Edema: small left effusion.", "There is edema. There is small left effusion."),
    ],
)
def test_severity_is_kept(report: str, text: str) -> None:
    assert distill(report) == text


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("The aorta is tortuous.", "There is tortuous aorta."),
        ("The aorta is tortuous and ectatic.", "There is tortuous ectatic aorta."),
        ("Cardiomediastinal silhouette is normal and stable.", "There is normal cardiomediastinal silhouette."),
        ("Normal and stable contours.", "There are normal contours."),
        ("Tortuous and dilated aorta.", "There is tortuous and dilated aorta."),
        ("No enlarged silhouette.", ""),
        ("Vascularity within normal limits.", "There is normal vascularity."),
        ("Aorta tortuous.", "There is tortuous aorta."),
        ("The silhouette is normal size.", "There is normal silhouette."),
        ("Normal size and configuration of the silhouette.", "There is normal silhouette."),
        ("The contour is unremarkable.", "There is unremarkable contour."),
        ("The silhouette and vascularity are normal.", "There is normal silhouette. There is normal vascularity."),
        ("The aorta, heart and mediastinum are enlarged.", "There is enlarged aorta."),
        ("The heart is normal; the aorta is tortuous.", "There is tortuous aorta."),
        ("Elevation of the right hemidiaphragm.", "There is elevation of the right hemidiaphragm."),
        ("Right hemidiaphragm elevation.", "There is right hemidiaphragm elevation."),
        ("The right hemidiaphragm is mildly elevated.", "There is mildly elevated right hemidiaphragm."),
        ("No elevation of the hemidiaphragm.", "There is no elevation of the hemidiaphragm."),
        ("Right hilar fullness.", "There is right hilar fullness."),
        ("No hilar adenopathy.", "There is no hilar adenopathy."),
        ("Possible perihilar haziness.", "There may be perihilar haziness."),
        ("Poor aeration.", "There is poor aeration."),
        # named and no more, or said of something else
        ("The cardiac contour.", ""),
        ("Left hilar and silhouette.", ""),
        ("The hila are stable.", ""),
        ("The aorta is not enlarged.", ""),
        ("Aerated.", ""),
        ("No free air beneath the hemidiaphragm.", ""),
        ("Prominent hilar XXXX.", ""),
        ("Atherosclerosis of the aortic XXXX.", ""),
        ("The heart contour is enlarged.", ""),  # "enlarged heart" would be cardiomegaly
        ("The vasculature is not engorged.", "There is no engorgement."),
        ("Tortuous aorta, the heart is enlarged.", "There is tortuous aorta."),
        ("Stable aorta, heart is enlarged.", ""),
        ("No change in the aorta, heart and lungs are normal.", ""),
        ("The heart is normal in size and contour.", ""),
    ],
)
def test_an_organ_is_stated_with_what_is_said_of_it(report: str, text: str) -> None:
    assert distill(report) == text


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("Non-displaced rib fracture.", "There is non-displaced rib fracture."),
        ("A non displaced rib fracture.", "There is non displaced rib fracture."),
        ("Ill-defined opacity.", "There is ill-defined opacity."),
        ("An ill defined opacity.", "There is ill defined opacity."),
        ("Non-calcified nodule.", "There is non-calcified nodule."),
        ("Left-sided, poorly-defined mass.", "There is left-sided poorly-defined mass."),
        ("Ring-shaped and tree-in-bud opacities.", "There are ring-shaped and tree-in-bud opacities."),
        ("Small-to-moderate effusion.", "There is small-to-moderate effusion."),
        ("Right-sided small-bore catheter.", "There is right-sided small-bore catheter."),
        ("Follow-up x-ray opacity.", "There is opacity."),
        ("Post-operative atelectasis.", "There is post-operative atelectasis."),
        ("Wedge shaped opacity.", "There is wedge shaped opacity."),
        # a blank behind the hyphen: rather nothing than the opposite
        ("Non- segmental opacity.", "There is opacity."),
        ("Shaped opacity.", "There is opacity."),
    ],
)
def test_hyphenated_words_stay_whole(report: str, text: str) -> None:
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
    for openings, entities in ((("There may be",), doubted), (("There is", "There are"), certain)):
        found = {d.mention.entity for s in sentences if s.startswith(openings) for d in describe(s)}
        assert found == entities


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (
            "Left upper lobe and right lower lobe opacities.",
            "There are left upper lobe and right lower lobe opacities.",
        ),
        (
            "Right upper lobe and left lower lobe consolidation.",
            "There is right upper lobe and left lower lobe consolidation.",
        ),
        ("Left base and right base opacities.", "There are left base and right base opacities."),
        ("Upper lobe and lower lobe opacities.", "There are upper lobe and lower lobe opacities."),
        ("Lingula and left lower lobe opacities.", "There are lingula and left lower lobe opacities."),
        ("Right apex and left base nodules.", "There are right apex and left base nodules."),
        ("No left base or right base opacity.", "There is no left base or right base opacity."),
        (
            "Small left lung and large right lung opacities.",
            "There are small left lung and large right lung opacities.",
        ),
        (
            "There are left base and right lower lobe opacities, no effusion.",
            "There are left base and right lower lobe opacities. There is no effusion.",
        ),
        (
            "Possible left base and right base pneumonia.",
            "There may be left base and right base pneumonia.",
        ),
        # another finding, an organ, or where the finding before is
        ("Cardiomegaly and right effusion.", "There is cardiomegaly. There is right effusion."),
        ("Heart and right lower lobe opacity.", "There is right lower lobe opacity."),
        ("Lungs and right lower lobe opacity.", "There is right lower lobe opacity."),
        ("Clear left lung and right lower lobe opacity.", "There is right lower lobe opacity."),
        ("Left base and right effusion.", "There is right effusion."),
        (
            "Effusion at the left base and right lower lobe opacity.",
            "There is effusion at the left base. There is right lower lobe opacity.",
        ),
        (
            "Effusion in left base and right base opacity.",
            "There is effusion in left base. There is right base opacity.",
        ),
    ],
)
def test_two_places_before_a_finding(report: str, text: str) -> None:
    assert distill(report) == text


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("RLL pneumonia.", "There is rll pneumonia."),
        ("RLL and LLL pneumonia.", "There is rll and lll pneumonia."),
        ("Small LUL nodule.", "There is small lul nodule."),
        ("RML atelectasis.", "There is rml atelectasis."),
        ("RUL mass.", "There is rul mass."),
        ("No RUL opacity.", "There is no rul opacity."),
        ("Pneumonia in the RLL.", "There is pneumonia in the rll."),
        ("Opacities of RUL and LLL.", "There are opacities of rul and lll."),
        ("Nodule LUL.", "There is nodule in the lul."),
        ("Edema, RLL pneumonia.", "There is edema. There is rll pneumonia."),
        ("B/l effusions.", "There are b/l effusions."),
        ("b/l lower lobe opacities.", "There are b/l lower lobe opacities."),
    ],
)
def test_abbreviated_places(report: str, text: str) -> None:
    assert distill(report) == text


@pytest.mark.parametrize(
    "word",
    [
        "partially-loculated",
        "re-expansion",
        "retro-cardiac",
        "un-displaced",
        "recently-healed",
        "part-solid",
        "semi-solid",
        "subsolid",
        "sub-solid",
        "non-solid",
        "un-healed",
        "para-septal",
        "densely-lobulated",
        "thinly-layering",
    ],
)
def test_a_hyphenated_adjective_is_known_by_its_parts(word: str) -> None:
    assert distill(f"A small {word} mass.") == f"There is small {word} mass."


@pytest.mark.parametrize(
    "word", ["likely-acute", "possibly-healed", "versus-old", "previously-displaced", "query-small"]
)
def test_a_cue_before_a_hyphen_is_no_adjective(word: str) -> None:
    assert word not in distill(f"A {word} mass.")


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("Obscured.", ""),
        ("There is obscuration.", ""),
        ("Is obscured.", ""),
        ("Obscuring it.", ""),
        ("Mild obscuration.", "There is mild obscuration."),
        ("Obscured on the left.", "There is obscuration on the left."),
        ("No obscuration.", "There is no obscuration."),
        ("May be obscured.", "There may be obscuration."),
        ("Obscured. Edema.", "There is edema."),
        ("Edema, obscured.", "There is edema. There is obscuration."),
    ],
)
def test_what_is_obscured_is_said(report: str, text: str) -> None:
    assert distill(report) == text


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ("Effusion, small.", "There is small effusion."),
        ("Bibasilar atelectasis, mild.", "There is mild bibasilar atelectasis."),
        ("Pulmonary edema, severe", "There is severe pulmonary edema."),
        ("Effusion, trace; no edema.", "There is trace effusion. There is no edema."),
        ("Effusion, small to moderate.", "There is small to moderate effusion."),
        ("Effusion at the left base, small.", "There is small effusion at the left base."),
        ("Cardiomegaly, edema, mild.", "There is cardiomegaly. There is mild edema."),
        ("Possible pneumothorax, tiny.", "There may be tiny pneumothorax."),
        ("No effusion, small.", "There is no effusion."),
        # of what comes behind it
        ("Opacity, mild edema.", "There is opacity. There is mild edema."),
        ("Effusion, small, and edema.", "There is effusion. There is edema."),
        ("Effusion, small heart.", "There is effusion."),
        ("Effusion, mild to.", "There is effusion."),
    ],
)
def test_a_degree_behind_a_comma(report: str, text: str) -> None:
    assert distill(report) == text
