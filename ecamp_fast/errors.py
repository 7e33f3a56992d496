"""Foreseen faults: each says what is wrong, where, and how to fix it, and knows its exit code.

A command prints the message of an ``EcampError`` without a traceback and leaves with its ``exit_code``.
Messages never hold report text or pixels: a sample is named by its key, its file and its row. Names come from outside:
control characters are escaped in the message, and of an address neither user nor query is kept.
"""

from ecamp_fast.printable import message, without_secrets

STOPPED = 75  # a run that was asked to stop and can be resumed


class EcampError(Exception):
    """``what`` went wrong (with the file, row or sample), and the ``hint``: what the user can do about it."""

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        self.what, self.hint = without_secrets(what), without_secrets(hint)
        super().__init__(message(self.what) + (f"\n  hint: {message(self.hint)}" if hint else ""))

    def __reduce__(self) -> tuple[type["EcampError"], tuple[str, str], dict[str, object]]:
        """What another process raises is this one's error: with its hint, and escaped once."""
        return type(self), (self.what, self.hint), self.__dict__


class ConfigError(EcampError):
    """A recipe, a DeepSpeed JSON or a command line that cannot be meant."""

    exit_code = 2


class DataError(EcampError):
    """Data that is damaged, incomplete or does not belong together."""

    exit_code = 3


class EnvironmentFault(EcampError):
    """The machine lacks something: a library, a device, a launcher."""

    exit_code = 4


class StorageError(EcampError):
    """The disk refused: full, read-only, no permission."""

    exit_code = 5


class NumericsError(EcampError):
    """Loss or gradients are not finite."""

    exit_code = 6


class EndpointError(EcampError):
    """A server of language models refuses, cannot be reached, or has not answered for as long as it was waited for."""

    exit_code = 7


class PolicyError(EcampError):
    """What is asked for is refused on principle: an address that is not allowed."""

    exit_code = 8
