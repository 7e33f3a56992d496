"""Every cue of doubt in a sentence of its own."""

import pytest

from ecamp_fast.text.reading.doubt import Doubts
from ecamp_fast.text.reading.entities import find_mentions

# A sentence, which of its entities are doubted, and the cues that fill its gap one after the other.
CUES = [
    (
        "{} edema",
        {"edema": True},
        "may be|might be|could be|possible|possibly|probable|probably|likely|suspected|suspect|suspicion of"
        "|suspicious for|concerning for|worrisome for|concern for|evaluate for|question of|suggest|suggests"
        "|suggestive of|questionable|presumed|presumably|consider|equivocal|perhaps|differential|consideration of"
        "|considerations are|cannot exclude|can not exclude|exclude|to exclude|rule out|r/o|s/o|if|versus|vs",
    ),
    (
        "Edema {} now",
        {"edema": True},
        "is possible|are possible|was possible|were possible|be possible|is likely|is suspected|is questioned"
        "|is considered|is questionable|is a possibility|cannot be excluded|can not be excluded|could not be excluded"
        "|not excluded|not ruled out|cannot be entirely excluded|may be present|might be present|could be present"
        "|may be seen|may also be seen",
    ),
    ("Edema{}", {"edema": True}, "?| ?|?)"),
    ("Edema of organisms{} such as these", {"edema": False}, " ?| now ?"),
    ("Congestion with edema {} effusion", {"congestion": False, "edema": True, "effusion": True}, "versus|vs"),
    ("Congestion{} edema versus effusion", {"congestion": False, "edema": True, "effusion": True}, " with|,|;|:"),
    (
        "Possible effusion{} edema",
        {"effusion": True, "edema": False},
        ";| but| however| although|, with| there is| there are| without",
    ),
    ("Effusion{} edema is possible", {"effusion": False, "edema": True}, ";| but| however| although|, with| without"),
    ("Possible {} edema", {"edema": True}, "left and right|left base and right base|right upper and left lower lobe"),
    ("Possible edema at the {} effusion", {"edema": True, "effusion": False}, "left and right|left base and small"),
    ("Possible {} effusion", {"effusion": False}, "scar and right|scar at the left; small"),
    ("However {} edema", {"edema": True}, "possible"),
    ("{} edema", {"edema": False}, "suspicious|suspicion|mild|with"),
]


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [(sentence.format(cue), expected) for sentence, expected, cues in CUES for cue in cues.split("|")],
)
def test_every_cue(sentence: str, expected: dict[str, bool]) -> None:
    for text in (sentence, sentence.upper()):
        doubts = Doubts(text, (0, len(text)))
        assert {mention.entity: doubts.cover(mention) for mention in find_mentions(text)} == expected
