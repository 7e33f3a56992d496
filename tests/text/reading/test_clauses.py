"""Where clauses begin: at a joint behind which another subject has a verb."""

import pytest

from ecamp_fast.text.reading.clauses import clause_starts


@pytest.mark.parametrize(
    "sentence",
    [
        "the heart is large |and the lungs are clear",
        "the heart is large|, the lungs are clear",
        "the heart is large |while effusion persists",
        "the effusion is large and has grown",
        "the effusion and edema are large",
        "effusion, edema and congestion are seen |and the aorta is calcified",
        "no effusion seen, |and the aorta is calcified",
        "the heart is large and no effusion, edema or mass is seen",
        "the heart is large, effusion or edema|, mass is seen",
        "effusion or edema, or mass is seen",
        "no verb, none",
    ],
)
def test_where_clauses_begin(sentence: str) -> None:
    parts = sentence.split("|")
    starts = [sum(map(len, parts[:count])) for count in range(1, len(parts))]
    assert clause_starts("".join(parts)) == starts
