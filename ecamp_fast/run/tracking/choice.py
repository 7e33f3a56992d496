"""What ``--track`` means, whether it is installed, and what of the environment a tracker heeds."""

import re
from dataclasses import dataclass
from importlib.util import find_spec

from ecamp_fast.errors import ConfigError, EnvironmentFault

LIBRARIES = ("trackio", "wandb")
PROJECT = "ecamp-fast"
# Of wandb's own variables: where it sends to, by which right, and where it keeps its files. Others are words for a run
# (notes, tags, a group), or make it another one: the number of a sweep replaces the id under which it goes on.
HEEDED = (
    *("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_CREDENTIALS_FILE", "WANDB_BASE_URL", "WANDB_ENTITY"),
    *("WANDB_MODE", "WANDB_DISABLED", "WANDB_HTTP_TIMEOUT", "WANDB_INSECURE_DISABLE_SSL"),
    *("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"),
)
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


def is_heeded(variable: str) -> bool:
    """Whether a variable of the environment is passed on to the process that imports a tracker."""
    return not variable.startswith("WANDB_") or variable in HEEDED


def require_tracker(text: str | None) -> None:
    """Raises ConfigError where ``text`` is no choice, EnvironmentFault where what it names is not installed."""
    if text is None:
        return
    library = parse_choice(text).library
    found = find_spec(library)
    if found is None or found.origin is None:  # a mere folder of that name, such as wandb leaves behind, has no origin
        from ecamp_fast.extras import install_hint  # which takes long, for a help

        raise EnvironmentFault(f"--track {text}: {library} is not installed", install_hint(library))
