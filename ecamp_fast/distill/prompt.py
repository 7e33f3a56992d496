"""What a model is asked: the prompt of the paper's Table S2 word for word, and one that asks for JSON.

A file in ``prompts/`` holds the two messages of the user, parted by a line of "=====". ``{report}`` and ``{entity}``
stand for the report and for the entities that it mentions.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

PLAIN, STRUCTURED = "table_s2", "structured"

# The paper's example: what an answer copies that was not about the report
EXAMPLE = ("moderate pleural effusion", "mild over inflation", "descending aorta")
# Words of the prompts that no answer has
MARKS = re.compile(
    r"—\s*(?:example|report)|\bexample end\b|\breport:|\bentit(?:y|ies):|\[[ab]\]|\bknowledgeable radiologist\b",
    re.IGNORECASE,
)

_PARTS = "\n=====\n"
_PLACES = re.compile(r"\{(report|entity)\}")


@cache
def _read(name: str) -> str:
    return (Path(__file__).with_name("prompts") / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")


def prompt_digest(name: str) -> str:
    """sha256 of a prompt in hexadecimal.  name: ``PLAIN`` or ``STRUCTURED``"""
    return hashlib.sha256(_read(name).encode()).hexdigest()


def chat(name: str, report: str, entities: Sequence[str]) -> list[dict[str, str]]:
    """The messages that ask for one report, which is put in as it stands: nothing in it is filled in again."""
    values = {"report": report, "entity": ", ".join(entities)}
    return [
        {"role": "user", "content": _PLACES.sub(lambda place: values[place[1]], part)}
        for part in _read(name).split(_PARTS)
    ]
