"""What turns reports into distilled text: whom to ask what, whether an answer is taken, and what stands in for it."""

from typing import Any, NamedTuple, Protocol


class Verdict(NamedTuple):
    """What becomes of an answer.

    text   the distilled text in its normal form, that of ``text/reading/rules.distill``; '' where it is rejected
    fault  why it is rejected: the class of garbage or of unfaithfulness, as "echo", "flipped"; '' where it is accepted
    """

    text: str
    fault: str


class Distiller(Protocol):
    """identity: what answers depend on beside model and parameters: digests of prompt, entities and rules."""

    identity: dict[str, str]

    def messages(self, report: str) -> list[dict[str, str]]:
        """The chat that asks for it; [] where there is nothing to ask, as no entity is mentioned."""

    def schema(self, report: str) -> dict[str, Any] | None:
        """The JSON schema that an answer keeps to; None: it is plain text."""

    def judge(self, report: str, answer: str, finish: str) -> Verdict:
        """Whether an answer is taken, and in what form.  finish: why the server says that it ended"""

    def fallback(self, report: str) -> str:
        """The distilled text without any model."""
