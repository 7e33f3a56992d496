"""Kills forked writers of checkpoints, at random moments and at each named point, and judges what each left.

python kills.py FOLDER KILLS SEED    Prints what was done, as JSON; an AssertionError says what did not hold.

Writers, points and judge are those of the suite: ``tests/run/checkpoint``. Every writer is a fork of this process.
"""

import importlib.util
import json
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

WRITERS = Path(__file__).absolute().parents[1] / "run" / "checkpoint"
BLOCK = 100  # kills in one folder; then a writer goes on, and nothing may be left of them
AT_A_POINT = 0.4  # of all kills; the others come at random moments
LONGEST = 0.12  # seconds until such a moment: by then most writers are done


def module(path: Path) -> ModuleType:
    """A file of the suite as a module: its folders are no packages."""
    spec = importlib.util.spec_from_file_location(f"soak_{path.stem}", path)
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def soak(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """So many SIGKILLs of living writers; ``too_late`` counts those that had left.

    Raises AssertionError at the first fault.
    """
    drills, lab = module(WRITERS / "test_kills.py"), module(WRITERS / "conftest.py")
    chance, began, counts = random.Random(seed), time.monotonic(), Counter[str]()
    names = ("share", "at", "found_in", "is_as_saved", "left_overs")
    helpers = SimpleNamespace(**{name: getattr(lab, name) for name in names})
    points, crew = Turns(drills.AT_POINTS, chance), lab.Crew()
    try:
        while counts["kills"] < kills:
            block = folder / f"block-{counts['blocks']}"
            drill = drills.Drill(block, helpers, crew)
            wanted = min(BLOCK, kills - counts["kills"])
            for _ in range(3 * wanted):  # a writer may be done before its moment comes
                if drill.kills < wanted:
                    _kill(drill, points, chance, counts)
            assert drill.kills == wanted, f"{drill.kills} of {wanted} writers were killed"
            drill.ends_clean()
            shutil.rmtree(block)
            counts["kills"] += wanted
            counts["blocks"] += 1
            print(f"{counts['kills']} kills in {time.monotonic() - began:.0f} s", file=sys.stderr)
    finally:
        crew.close()
    seconds = round(time.monotonic() - began, 1)
    return dict(sorted(counts.items())) | {"points": len(points.met), "corrupt_accepted": 0, "seconds": seconds}


class Turns:
    """Gives each of some things in turn, in an order that is shuffled anew for each round."""

    def __init__(self, things: list[str], chance: random.Random) -> None:
        self._things, self._chance = things, chance
        self._left: list[str] = []
        self.met: set[str] = set()

    def next(self) -> str:
        if not self._left:
            self._left = self._chance.sample(self._things, len(self._things))
        self.met.add(self._left[-1])
        return self._left.pop()


def _kill(drill: Any, points: Turns, chance: random.Random, counts: Counter[str]) -> None:
    background, before = chance.random() < 0.5, drill.kills
    if chance.random() < AT_A_POINT:
        point, kind = points.next(), "at_a_point"
        drill.kill_at(point, background, 1 if "tmp-old" in point else chance.randint(1, 5))
    else:
        ranks, kind = chance.choice([[0], [1], [0, 1]]), "at_random"
        drill.kill_after(chance.uniform(0, LONGEST), ranks, background)
    killed = drill.kills - before
    counts[kind] += killed
    counts["in_background"] += killed and background
    counts["too_late"] += 1 - killed


if __name__ == "__main__":
    print(json.dumps(soak(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
