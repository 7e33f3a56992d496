import time

import pytest

from ecamp_fast.text.reading.annotate import describe
from ecamp_fast.text.reading.rules import distill


def denied(text: str) -> dict[str, bool]:
    return {description.mention.entity: description.denied for description in describe(text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("An infiltrate is not excluded.", {"infiltrate": False}),
        ("Pneumonia cannot be ruled out.", {"pneumonia": False}),
        ("Pneumonia is ruled out.", {"pneumonia": True}),
        ("Pneumonia is unlikely.", {"pneumonia": True}),
        ("The vasculature is not engorged.", {"vasculature": False, "engorgement": True}),
        ("The aorta is not dilated, mild edema.", {"aorta": False, "dilation": True, "edema": False}),
        ("Resolved edema.", {"edema": True}),
        ("Effusion has resolved, new consolidation.", {"effusion": True, "consolidation": False}),
        ("Resolution of the effusion, with residual atelectasis.", {"effusion": True, "atelectasis": False}),
        ("Pneumothorax not seen, small effusion.", {"pneumothorax": True, "effusion": False}),
        ("Small effusion is present and pneumothorax is not seen.", {"effusion": False, "pneumothorax": True}),
        ("No effusion is seen and the aorta is tortuous.", {"effusion": True, "aorta": False}),
        ("No effusion, pneumothorax or edema is seen.", {"effusion": True, "pneumothorax": True, "edema": True}),
        ("Effusion, pneumothorax and edema are not seen.", {"effusion": True, "pneumothorax": True, "edema": True}),
        ("No progression of the nodule.", {"nodule": False}),
        ("The nodule is not well seen.", {"nodule": False}),
        ("A fracture may not be demonstrated.", {"fracture": False}),
        ("Negative for edema, effusion.", {"edema": True, "effusion": True}),
        ("The study is negative for edema.", {"edema": True}),
        ("Pneumothorax: none.", {"pneumothorax": True}),
        ("Neither edema nor effusion.", {"edema": True, "effusion": True}),
        ("Lungs are clear without edema; small nodule.", {"edema": True, "nodule": False}),
        ("No edema except at the bases, small effusion.", {"edema": True, "effusion": False}),
    ],
)
def test_what_a_sentence_denies(text: str, expected: dict[str, bool]) -> None:
    assert denied(text) == expected


@pytest.mark.parametrize("text", ["There is no mild effusion. " * 4000, "no mild effusion and " * 5000])
def test_a_report_of_100_kb_is_read_in_linear_time(text: str) -> None:
    began = time.process_time()
    assert len(describe(text)) >= 4000
    assert distill(text) == "There is no mild effusion."
    assert time.process_time() - began < 4  # was 15 when it grew with the square
