"""What the data card of a set tells, and what it does not."""

from typing import Any

from mutant import mutants

CARDS = "tests/test_cards.py"


def card() -> Any:
    from ecamp_fast.shards.describe.card import data_card

    text = {"tokens_mean": 99.7, "tokens_max": 145}
    side = {"min": 60, "median": 64, "max": 70}
    stats = {"samples": 12, "studies": 11, "patients": 9, "splits": {"train": 10, "val": 2}, "source": {"kind": "csv"}}
    stats |= {"image": {"short_side": side, "long_side": side}, "text": text, "views": {"PA": 8, "Miller": 4}}
    stats |= {"labels": {"Mass": 5, "Rare": 1}, "attention_maps": 3, "masks": {"samples": 2}, "without_text": 1}
    return data_card(stats | {"quarantined": 6, "dropped_empty": 7})


MUTANTS = mutants(
    "shards/describe/card.py",
    CARDS,
    card,
    {
        "what is rare is told by name": ("if count >= RARE]", "if count >= 0]"),
        "what is just often enough is counted twice": ("if count < RARE]", "if count <= RARE]"),
        "two samples are often": ("RARE = 5", "RARE = 2"),
        "the greatest side is called the least": ("{side['min']:,} to", "{side['max']:,} to"),
    },
)
