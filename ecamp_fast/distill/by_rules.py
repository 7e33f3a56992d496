"""The rules behind the interface of a model: they ask nobody, and what they write goes through the same validation."""

from typing import Any

from ecamp_fast.distill.distiller import Verdict
from ecamp_fast.distill.source import read_source, without_commands
from ecamp_fast.distill.validate import judge
from ecamp_fast.text.reading.entities import DEFAULT, EntityList
from ecamp_fast.text.reading.rules import distill
from ecamp_fast.text.reading.version import RULES_DIGEST


def distill_report(report: str, entities: EntityList = DEFAULT) -> str:
    """``rules.distill`` of a report without sentences that tell a model what to do."""
    return distill(without_commands(report, entities), entities)


class RulesDistiller:
    """A ``Distiller`` that has nothing to ask: its text is ``fallback``."""

    def __init__(self, entities: EntityList = DEFAULT) -> None:
        self.entities = entities
        self.identity = {"prompt": "", "entities": entities.digest, "rules": RULES_DIGEST}

    def messages(self, report: str) -> list[dict[str, str]]:
        """None."""
        return []

    def schema(self, report: str) -> dict[str, Any] | None:
        """None."""
        return None

    def judge(self, report: str, answer: str, finish: str) -> Verdict:
        """As ``validate.judge`` judges a plain answer; a report without findings needs none."""
        source = read_source(report, self.entities)
        return judge(source, answer, finish) if answer or source.required else Verdict("", "")

    def fallback(self, report: str) -> str:
        """The rules' text."""
        return distill_report(report, self.entities)
