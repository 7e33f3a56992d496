"""The paper's prompt, plain or for JSON, with all that judges its answers."""

from typing import Any

from ecamp_fast.distill import by_rules
from ecamp_fast.distill.answers import schema
from ecamp_fast.distill.distiller import Verdict
from ecamp_fast.distill.prompt import PLAIN, STRUCTURED, chat, prompt_digest
from ecamp_fast.distill.source import read_source
from ecamp_fast.distill.validate import judge
from ecamp_fast.text.reading.entities import DEFAULT, EntityList
from ecamp_fast.text.reading.version import RULES_DIGEST


class TableS2Distiller:
    """A ``Distiller``.  structured: whether the server can be held to a JSON schema   entities: that it asks for"""

    def __init__(self, structured: bool, entities: EntityList = DEFAULT) -> None:
        self.entities = entities
        self._structured = structured
        self._prompt = STRUCTURED if structured else PLAIN
        self.identity = {
            "prompt": prompt_digest(self._prompt),
            "entities": entities.digest,
            "rules": RULES_DIGEST,
        }

    def messages(self, report: str) -> list[dict[str, str]]:
        """The chat about a report, without sentences in it that tell a model what to do; [] without any entity."""
        source = read_source(report, self.entities)
        return chat(self._prompt, source.text, source.entities) if source.entities else []

    def schema(self, report: str) -> dict[str, Any] | None:
        """Of an answer; None where it is plain text."""
        return schema(read_source(report, self.entities).entities) if self._structured else None

    def judge(self, report: str, answer: str, finish: str) -> Verdict:
        """As ``validate.judge``."""
        return judge(read_source(report, self.entities), answer, finish, self._structured)

    def fallback(self, report: str) -> str:
        """By rules."""
        return by_rules.distill_report(report, self.entities)
