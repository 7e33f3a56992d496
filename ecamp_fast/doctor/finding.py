"""What a check found: one line that is fine, doubtful or a fault, and how to fix it."""

from dataclasses import dataclass
from enum import StrEnum

from ecamp_fast.errors import ConfigError, DataError, EnvironmentFault, StorageError

CONFIG, DATA, ENVIRONMENT, STORAGE = (
    kind.exit_code for kind in (ConfigError, DataError, EnvironmentFault, StorageError)
)


class Status(StrEnum):
    OK = "OK"
    WARN = "WARN"  # a run works, though not as well as it could, or not as was perhaps meant
    FAIL = "FAIL"  # a run does not work, or not correctly


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    name       of the thing looked at
    status     whether it is fine, doubtful or a fault
    found      what it is like
    hint       what to do about it
    exit_code  of a FAIL, else 0; None: that of the group the check belongs to
    """

    name: str
    status: Status
    found: str
    hint: str = ""
    exit_code: int | None = None


def ok(name: str, found: str) -> Finding:
    return Finding(name, Status.OK, found, exit_code=0)


def warn(name: str, found: str, hint: str) -> Finding:
    return Finding(name, Status.WARN, found, hint, exit_code=0)


def fail(name: str, found: str, hint: str, exit_code: int | None = None) -> Finding:
    return Finding(name, Status.FAIL, found, hint, exit_code)
