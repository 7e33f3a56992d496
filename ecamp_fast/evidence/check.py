"""A claim about a model, and what was found."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecamp_fast.scores import Estimate


@dataclass(frozen=True)
class Check:
    """A claim that can fail.

    name    the claim
    found   the numbers, in a line
    passed  whether it holds; None: what was found is told, and not judged
    """

    name: str
    found: str
    passed: bool | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def told(number: "Estimate", form: str = ".3f") -> str:
    """ "+0.050 (95 % +0.020 to +0.080)": a difference with its interval."""
    return f"{number.value:+{form}} (95 % {number.low:+{form}} to {number.high:+{form}})"


def needed(least: float) -> str:
    """ " (needed: 0.12)", or nothing where nothing is asked for."""
    return f" (needed: {least:g})" if least else ""
