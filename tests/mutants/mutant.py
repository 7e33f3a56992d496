"""A mutant: the product with one thing wrong, the tests that must notice, and a number that shows that it is wrong."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AREAS = Path(__file__).with_name("areas")


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    area   the file in ``areas/`` that tells it
    name   what is wrong, in a few words
    file   path in the repository
    old    text that occurs once in it
    new    what stands there instead
    tests  what pytest is given: they must fail
    check  gives numbers that the change changes; otherwise it is no mutant
    """

    area: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    check: Callable[[], Any]

    def source(self, root: Path) -> str:
        """The mutated file.  Raises ValueError where ``old`` is not there, or more than once."""
        text = (root / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.area}, {self.name}: {self.old!r} occurs {text.count(self.old)} times in {self.file}"
            )
        return text.replace(self.old, self.new)


def mutants(file: str, tests: str, check: Callable[[], Any], changes: dict[str, tuple[str, str]]) -> list[Mutant]:
    """Mutants of one file that the same tests must notice.

    tests    as a command line of pytest has them, divided by blanks
    changes  name to (old, new)
    """
    area = check.__module__
    return [Mutant(area, name, file, old, new, tuple(tests.split()), check) for name, (old, new) in changes.items()]


def load(areas: Path = AREAS) -> list[Mutant]:
    """All mutants, by area: ``MUTANTS`` of every file in the folder."""
    found: list[Mutant] = []
    for path in sorted(areas.glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += module.MUTANTS
    return found
