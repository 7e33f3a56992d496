"""A stand-in for a server of language models on this machine: answers each report with what the rules make of it."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from journeys.harness import load_beside

DISTILL = Path(__file__).resolve().parents[1] / "distill"


def answer(messages: list[dict[str, str]]) -> str:
    """What the rules say of the report that is asked about, in the form that is asked for."""
    from ecamp_fast.distill.answers import read_sentence
    from ecamp_fast.distill.by_rules import distill_report

    asked = messages[-1]["content"]
    marked = re.search(r"—Report—\n(.*)\n—Report END—", asked, re.DOTALL)
    found = marked or re.search(r"Given the report: (.*)\nEntities:", asked, re.DOTALL)
    text = distill_report(found[1]) if found else ""
    if not marked:
        return text
    items = [item for one in re.findall(r"[^.]+\.", text) for item in read_sentence(one.strip())]
    told = [{"entity": item.entity, "state": str(item.state), "adjectives": list(item.words)} for item in items]
    return json.dumps({"statements": told})


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Its address: http://127.0.0.1:PORT/v1."""
    server: Any = load_beside(DISTILL / "conftest.py").FakeServer(load_beside(DISTILL / "driver.py"))
    server.script = lambda number, body: f"text:{answer(body['messages'])}"
    try:
        yield server.url
    finally:
        server.close()
