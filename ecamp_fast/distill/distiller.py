"""What a run needs to know of a way to distill: what to ask, whether an answer is taken, what stands in for one."""

from typing import Any, NamedTuple, Protocol


class Verdict(NamedTuple):
    """Of one answer.

    text   the distilled text in its normal form; '' where the answer is rejected
    fault  the class of garbage or of unfaithfulness, as "echo", "refusal", "flipped"; '' where it is accepted
    """

    text: str
    fault: str


class Distiller(Protocol):
    """Asks for the distilled text of a report and judges what comes back. Knows of no network.

    identity  what the answers depend on beside model and parameters: digests of prompt and entities, version of the
              rules. Another identity is another journal.
    """

    identity: dict[str, str]

    def messages(self, report: str) -> list[dict[str, str]]:
        """The chat messages, each with ``role`` and ``content``; [] where there is nothing to ask (no entity)."""

    def schema(self, report: str) -> dict[str, Any] | None:
        """The JSON schema of the answer; None: plain text."""

    def judge(self, report: str, answer: str, finish: str) -> Verdict:
        """Whether an answer is taken.  finish: the server's finish_reason, '' where it gave none"""

    def fallback(self, report: str) -> str:
        """The distilled text by the rules; '' where they have nothing to state."""
