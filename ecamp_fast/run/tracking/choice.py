"""What ``--track`` means, and whether it is installed."""

import re
from dataclasses import dataclass
from importlib.util import find_spec

from ecamp_fast.errors import ConfigError, EnvironmentFault
from ecamp_fast.extras import install_hint

LIBRARIES = ("trackio", "wandb")
PROJECT = "ecamp-fast"
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}")


@dataclass(frozen=True)
class TrackerChoice:
    """A library, and the name under which it keeps runs together; its own name says both, as ``--track`` does."""

    library: str
    project: str = PROJECT

    def __str__(self) -> str:
        return f"{self.library}:{self.project}"


def parse_choice(text: str) -> TrackerChoice:
    """text: ``trackio`` or ``wandb``, with or without ``:PROJECT``.  Raises ConfigError"""
    library, colon, project = text.partition(":")
    if library not in LIBRARIES:
        raise ConfigError(f"--track {text}: no such tracker", f"name {' or '.join(LIBRARIES)}")
    if colon and not _PROJECT.fullmatch(project):
        raise ConfigError(
            f"--track {text}: '{project}' is no name of a project", "letters, digits, dots, dashes; at most 101"
        )
    return TrackerChoice(library, project or PROJECT)


def require_tracker(text: str | None) -> None:
    """Raises ConfigError where ``text`` is no choice, EnvironmentFault where what it names is not installed."""
    if text is None:
        return
    library = parse_choice(text).library
    found = find_spec(library)
    if found is None or found.origin is None:  # a mere folder of that name, such as wandb leaves behind, has no origin
        raise EnvironmentFault(f"--track {text}: {library} is not installed", install_hint(library))
