"""How ``demo`` and ``worth`` speak: lines of progress, and at the end one for each check and an exit code."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import EcampError
from ecamp_fast.evidence.check import Check
from ecamp_fast.printable import printable

_MARKS = {True: "OK  ", False: "FAIL", None: "--  "}


def conclude(checks: Sequence[Check], facts: dict[str, Any], began: float, as_json: bool) -> NoReturn:
    """Print the checks and facts and leave: 0 unless one failed.

    facts: by name, where to look further   began: ``time.perf_counter()`` at the start
    """
    passed = not any(check.passed is False for check in checks)
    seconds = round(time.perf_counter() - began, 1)
    if as_json:
        listed = [check.as_dict() for check in checks]
        click.echo(json.dumps({"schema": 1, "passed": passed, "checks": listed, **facts, "seconds": seconds}))
    else:
        for check in checks:
            tell(f"{_MARKS[check.passed]}  {check.name}: {check.found}")
        for name, value in facts.items():
            tell(f"{name}: {value}")
        tell(f"took {seconds} s")
    sys.exit(0 if passed else 1)


def failed(run: Path, what: str, code: int = 1) -> EcampError:
    """That the training in ``run`` did, with the end of its ``train.log``.  code: its exit code, which is handed on"""
    tail = (run / "train.log").read_text(errors="replace").splitlines()[-12:]
    lines = "".join(f"\n    {printable(line)}" for line in tail)
    error = EcampError(f"the training {what}:{lines}", f"the whole log is {run / 'train.log'}")
    error.exit_code = max(code, 1)  # a signal's is negative
    return error


def say(text: str) -> None:
    """A line of progress, on stderr."""
    tell(text, err=True)
