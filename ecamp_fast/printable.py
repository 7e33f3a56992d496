"""Names from outside in what we print: no control characters, and nothing of an address that may be a secret.

File names, keys, headers of tables and keys of YAML come from others. An escape sequence in one of them would colour,
hide or rewrite lines of a terminal or a log, a line break would forge a line of its own, and an override of the reading
direction would show a name backwards. JSON escapes them by itself, so there only secrets are left out.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterable
from typing import IO, Any

WIDTH = 80  # columns of a terminal that nobody has widened
_ITEM = "\n  - "
_BREAK = re.compile(r"(\n(?:  - |    ))")  # the line breaks of our own lists, and of lines that belong to one
_ADDRESS = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]+:/+)([^\s/'\"]*@)?([^\s?#'\"]*)([?#][^\s'\"]*)?")
_LEFT_OUT = "?(left out)"


def printable(text: str) -> str:
    """The text on one line, whatever is not printable escaped as Python writes it: ``\\x1b``, ``\\n``, ``\\u202e``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """A line for a terminal or a log: ``printable``, without the secrets of addresses."""
    return printable(without_secrets(text))


def message(text: str) -> str:
    """``printable``, but the line breaks of our own lists stay: those that `` - `` or four blanks follow."""
    if text.isprintable():
        return text
    return "".join(part if number % 2 else printable(part) for number, part in enumerate(_BREAK.split(text)))


def takes_control_codes(stream: IO[Any]) -> bool:
    """Whether colours and live bars may go there: a terminal that knows them, whose user has not said NO_COLOR."""
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM", "") in ("", "dumb")
    return stream.isatty() and not plain


class LastingStream:
    """A text stream of which nobody fails: what it refuses, as a pipe does whose reader has died, is lost."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def speak_on() -> None:
    """From now on no print of this process raises, ours or a library's: who listens may end before it does."""
    for name in ("stdout", "stderr"):
        stream: Any = getattr(sys, name)
        if stream is not None and not isinstance(stream, LastingStream):
            setattr(sys, name, LastingStream(stream))


def items(lines: Iterable[object]) -> str:
    """A list for a message, each on a line of its own that nothing in it can break."""
    return "".join(_ITEM + printable(str(line)) for line in lines)


def without_secrets(text: str) -> str:
    """The text without user, password, query and fragment of the addresses in it: a query may be a signature."""
    return _ADDRESS.sub(_bare, text) if ":/" in text else text


def _bare(address: re.Match[str]) -> str:
    scheme, _, place, query = address.groups()
    return f"{scheme}{place}{_LEFT_OUT if query else ''}"


def paragraph(text: str, head: str, width: int = WIDTH) -> list[str]:
    """Lines of a text behind ``head``, none longer than ``width`` where its words allow; later ones begin below it."""
    import textwrap  # for the few commands that print tables

    wrapper = textwrap.TextWrapper(width, head, " " * len(head), break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(text) or [head.rstrip()]
