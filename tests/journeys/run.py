"""``make journeys``: what a user does on the first day, one script each. Exit code 1 where one is broken.

readme        README's commands, top to bottom
own_csv       a CSV table of one's own
mimic         a tree as PhysioNet gives it
stop_resume   Ctrl-C, `stop` and SIGKILL
report        the page of a run
wheel         `pip install` of the wheel, in another folder
notebook      from shards to features in ten cells
export_timm   the encoder in another library
cluster       the batch file for SLURM, on two nodes
tracker       a tracker that hangs, dies or has no space
blocks        every code block of the other pages
containers    the recipes of both images, line by line
first_day     README's commands in a fresh clone, with installation (by name or --all: it takes minutes)
"""

import argparse
import importlib
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from journeys.harness import Broken, Skipped, tell, walking
from journeys.prefab import Prefab

TEN = ("readme", "own_csv", "mimic", "stop_resume", "report", "wheel", "notebook", "export_timm", "cluster", "tracker")
LAST = ("blocks", "containers", "first_day")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *TEN, *LAST], help="default: all but first_day")
    parser.add_argument("--all", action="store_true", help="first_day too")
    parser.add_argument("--short", action="store_true", help="with the sizes of the suite")
    parser.add_argument("--scratch", type=Path, help="where folders are made; default: the system's")
    chosen = parser.parse_args(arguments)
    names = chosen.names or [*TEN, *LAST[: None if chosen.all else 2]]
    rows = []
    with walking(chosen.short, chosen.scratch) as store:
        shared = Prefab(store)
        for name in names:
            tell(f"\n=== {name}")
            began = time.monotonic()
            outcome = go(name, chosen.short, chosen.scratch, shared)
            rows.append((name, outcome, time.monotonic() - began))
    tell("\n" + "\n".join(f"{name:12} {seconds:7.1f} s  {outcome}" for name, outcome, seconds in rows))
    return int(any(outcome.startswith("BROKEN") for _, outcome, _ in rows))


def go(name: str, short: bool, scratch: Path | None, shared: Prefab) -> str:
    """One journey.  returns what became of it in words"""
    if not Path(__file__).with_name(f"{name}.py").exists():
        return f"skipped: tests/journeys/{name}.py is not there"
    try:
        module = importlib.import_module(f"journeys.{name}")
        if not hasattr(module, "journey"):  # a program by itself
            return "ok" if module.main() == 0 else "BROKEN"
        with walking(short, scratch) as walk:
            walk.prefab = shared
            module.journey(walk)
    except Skipped as why:
        return f"skipped: {why}"
    except Broken as what:
        tell(f"BROKEN: {what}")
        return f"BROKEN: {str(what).splitlines()[0][:100]}"
    except Exception as fault:
        traceback.print_exc()
        return f"BROKEN: {type(fault).__name__}: {str(fault)[:100]}"
    return "ok"


if __name__ == "__main__":
    sys.exit(main())
