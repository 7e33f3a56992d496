"""A distiller whose answers can be told right from wrong, and a run of it as a program that can be killed.

    python driver.py OUT PORT REPORTS TIMEOUT

Prints how many reports are finished.
"""

import hashlib
import sys
from typing import Any

from ecamp_fast.distill.distiller import Verdict
from ecamp_fast.distill.endpoint import Endpoint, judge_address
from ecamp_fast.distill.journal import AnswerJournal
from ecamp_fast.distill.pacing import Pace
from ecamp_fast.distill.reports import report_digest
from ecamp_fast.distill.runner import identity_of, run_model

QUICK = Pace(concurrency=8, pause=0.01, longest_pause=0.05, patience=20.0, tries=12)


def report(number: int) -> str:
    """A report of a hundred words, another one for each number."""
    return f"zqreport{number} " + "small effusion and mild edema " * 20


def right(text: str) -> str:
    """The only answer to a report that is accepted."""
    return f"There is {hashlib.sha256(text.split()[0].encode()).hexdigest()[:8]}."


class OneAnswer:
    """Accepts ``right`` and nothing else."""

    def __init__(self, structured: bool = False) -> None:
        self.structured = structured
        self.identity = {"prompt": "one answer", "structured": str(structured)}

    def messages(self, report: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": report}] if "zqreport" in report else []

    def schema(self, report: str) -> dict[str, Any] | None:
        return {"type": "object"} if self.structured else None

    def judge(self, report: str, answer: str, finish: str) -> Verdict:
        if answer == right(report):
            return Verdict(answer, "")
        return Verdict("", "empty" if not answer else "truncated" if finish == "length" else "prose")

    def fallback(self, report: str) -> str:
        return "There is a fallback." if "zqreport" in report else ""


def texts(count: int) -> dict[str, str]:
    return {report_digest(report(number)): report(number).strip() for number in range(count)}


def main(out: str, port: str, count: str, timeout: str) -> None:
    distiller = OneAnswer()
    endpoint = Endpoint(judge_address(f"http://127.0.0.1:{port}/v1", None, {}), "m", 64, float(timeout))
    with AnswerJournal(out, identity_of("m", {"max_tokens": 64}, distiller)) as journal:
        outcome = run_model(texts(int(count)), distiller, journal, endpoint, QUICK)
        print(len(journal.content.finished))
    sys.exit(75 if outcome.stopped else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
