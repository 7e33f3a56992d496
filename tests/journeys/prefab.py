"""Small real things that stand for the words in a command line: SHARDS, RUN, BASE; each is made once, on demand.

What makes each is in `fixtures.yaml`, under ``things``: a command as a user types it, or a function of `makers.py`.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from journeys.harness import Walk

TABLE = Path(__file__).with_name("fixtures.yaml")


def read_table() -> dict[str, Any]:
    return dict(yaml.safe_load(TABLE.read_text(encoding="utf-8")))


class Prefab:
    """Things by name, in a folder of a walk of their own."""

    def __init__(self, walk: "Walk") -> None:
        self.walk = walk
        self._things: dict[str, Any] = read_table()["things"]

    def place(self, name: str, target: Path) -> None:
        """Copy a thing; it is made where it is not there yet."""
        source = self._find(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)

    def _find(self, name: str) -> Path:
        path = self.walk.here / name
        thing = self._things[name]
        for needed in thing.get("needs", ()):
            self._find(needed)
        if path.exists():
            return path
        if "run" in thing:
            from journeys.harness import with_tiny

            self.walk.type(with_tiny(thing["run"]))
        elif "make" in thing:
            from journeys import makers

            getattr(makers, thing["make"])(path)
        return path
