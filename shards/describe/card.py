"""The data card of a set: numbers out of ``stats``, and blanks for what only its owner knows. No text, path or key."""

from collections.abc import Mapping
from typing import Any

RARE = 5  # names of views and classes that fewer samples have are counted together: they may tell a person
DUTIES = (
    "Who may have the originals: TERMS. Shards hold the images and reports themselves, so the same terms hold for "
    "them, for caches and pictures made of them, and for weights that were learned from them, which owners like those "
    "of MIMIC-CXR (PhysioNet Credentialed Health Data License 1.5.0) count as derived. Copies of the set are kept at "
    "PLACES and are deleted by DATE."
)


def data_card(stats: Mapping[str, Any] | None = None) -> str:
    """A card in Markdown.  stats: of ``describe.stats``; None: a blank one, docs/cards/data-card.md"""
    lines = ["# TITLE", "", "What it is, who made it and what for: ANSWER.", "", "## In numbers", ""]
    lines += [f"- {line}" for line in (_numbers(stats) if stats else _BLANKS)]
    lines += ["", "## Where it comes from", ""]
    lines += ["Hospitals, years, devices, views and ages: ANSWER. Whom it has few of or none: ANSWER.", ""]
    lines += ["How the reports were read, and who took names out of them: ANSWER.", ""]
    lines += ["## Splits", "", "By patient: YES OR NO. The test split was looked at for: NOTHING OR ANSWER.", ""]
    lines += ["## Duties", "", DUTIES, ""]
    lines += ["## Limits", "", "For research. What is known to be wrong with it: ANSWER.", ""]
    return "\n".join(lines)


_BLANKS = (
    "samples SAMPLES, studies STUDIES, patients PATIENTS",
    "by split: SPLITS",
    "source: KIND",
    "images: short side LEAST to GREATEST pixels, median MEDIAN",
    "views: VIEWS",
    "classes: CLASSES",
    "attention maps of MAPS samples, masks of MASKS",
    "text: mean TOKENS tokens, at most MOST; WITHOUT samples without a report",
    "left out: BAD rows with a bad image, EMPTY with an empty report",
)


def _numbers(stats: Mapping[str, Any]) -> list[str]:
    side, text = stats["image"]["short_side"], stats["text"]
    tokens = f"mean {text['tokens_mean']:,.0f} tokens, at most {text['tokens_max']:,}" if text else "none"
    return [
        f"samples {stats['samples']:,}, studies {stats['studies']:,}, patients {stats['patients'] or 'not known'}",
        "by split: " + ", ".join(f"{name} {count:,}" for name, count in stats["splits"].items()),
        f"source: {stats['source']['kind']}",
        f"images: short side {side['min']:,} to {side['max']:,} pixels, median {side['median']:,}",
        f"views: {_counted(stats['views'])}",
        f"classes: {_counted(stats['labels'])}",
        f"attention maps of {stats['attention_maps']:,} samples, masks of {stats['masks']['samples']:,}",
        f"text: {tokens}; {stats['without_text']:,} samples without a report",
        f"left out: {stats['quarantined']:,} rows with a bad image, {stats['dropped_empty']:,} with an empty report",
    ]


def _counted(counts: Mapping[str, int]) -> str:
    """Names with their counts, what is rare together."""
    often = [f"{' '.join(name.split()) or 'not known'} {count:,}" for name, count in counts.items() if count >= RARE]
    rare = [count for count in counts.values() if count < RARE]
    return ", ".join([*often, *([f"{len(rare)} rarer ones {sum(rare):,}"] if rare else [])]) or "none"
