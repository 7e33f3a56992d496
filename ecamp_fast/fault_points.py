"""Named places where a test makes something go wrong; without the variable ECAMP_FAULT nothing here does anything.

ECAMP_FAULT holds faults separated by ``;``, each ``POINT[:KEY=VALUE]...:ACTION``, for example
``checkpoint.written:rank=1:step=4:kill`` or ``write:file=metrics.jsonl:nth=3:ENOSPC``.

POINT   a name that the code reaches
KEY     a fact given there (``file``, ``step``, ...), or ``rank`` of this process; VALUE may have wildcards;
        ``nth=N`` is the N-th time in this process that all else fits, ``from=N`` that and all later ones
ACTION  kill, stop, term, int, hup (signals to this process), exit (``os._exit(1)``), hang, ``sleep=SECONDS``, the name
        of an errno (raised as OSError), or a word that the place itself knows, which ``reach`` returns
"""

import errno
import fnmatch
import os
import signal
import time
from collections import Counter

VARIABLE = "ECAMP_FAULT"
SIGNALS = {
    "kill": signal.SIGKILL,
    "stop": signal.SIGSTOP,
    "term": signal.SIGTERM,
    "int": signal.SIGINT,
    "hup": signal.SIGHUP,
}

_seen: Counter[str] = Counter()


def reach(point: str, **facts: object) -> str:
    """Say that ``point`` is reached; what ECAMP_FAULT asks for there happens. Returns its word, or an empty string.

    Raises OSError where the fault is an errno, ValueError where ECAMP_FAULT cannot be read.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return ""
    for fault in wanted.split(";"):
        name, *conditions, action = fault.strip().split(":")
        if name == point and _fits(fault, conditions, facts):
            return _act(action, str(facts.get("file", point)))
    return ""


def _fits(fault: str, conditions: list[str], facts: dict[str, object]) -> bool:
    known = {"rank": os.environ.get("RANK", "0")} | {key: str(value) for key, value in facts.items()}
    wanted = dict(condition.split("=", 1) for condition in conditions)
    nth, first = wanted.pop("nth", None), wanted.pop("from", None)
    if not all(key in known and fnmatch.fnmatchcase(known[key], value) for key, value in wanted.items()):
        return False
    _seen[fault] += 1
    return (nth is None or _seen[fault] == int(nth)) and (first is None or _seen[fault] >= int(first))


def _act(action: str, about: str) -> str:
    if action in SIGNALS:
        os.kill(os.getpid(), SIGNALS[action])
    elif action == "exit":
        os._exit(1)
    elif action == "hang":
        while True:
            time.sleep(60)
    elif action.startswith("sleep="):
        time.sleep(float(action.removeprefix("sleep=")))
    elif hasattr(errno, action):
        number = getattr(errno, action)
        raise OSError(number, os.strerror(number), about)
    return action
