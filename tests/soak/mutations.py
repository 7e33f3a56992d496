"""Damages a shard set at random, again and again: ``verify`` finds every damage, the reader delivers no changed sample.

python mutations.py FOLDER MUTATIONS SEED    Prints what was done, as JSON; an AssertionError says what did not hold.

Kinds of damage and judge are those of the suite, ``tests/faults/test_shard_mutations.py``; each draw is a new one.
"""

import importlib.util
import json
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

from ecamp_fast.machine import available_cores

SUITE = Path(__file__).absolute().parents[1] / "faults" / "test_shard_mutations.py"
BLOCK = 1000  # mutations of one copy of the set; it must be whole again after them
APART = 10**7  # seeds between two soaks: none of their draws are the same


def suite() -> ModuleType:
    """The mutations of the suite: its folders are no packages."""
    spec = importlib.util.spec_from_file_location(f"soak_{SUITE.stem}", SUITE)
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # by which it finds its own kinds
    spec.loader.exec_module(found)
    return found


def soak(folder: Path, mutations: int, seed: int, workers: int | None = None) -> dict[str, Any]:
    """So many damages, in blocks by ``workers`` processes (default: a core each).

    Raises AssertionError at the first that is not found, or that changes what the reader delivers.
    """
    began, lab = time.monotonic(), suite()
    folder.mkdir(parents=True, exist_ok=True)
    lab.build(folder / "set")
    lab.build(folder / "other", seed=5)
    blocks = [(folder, seed * APART + at, min(BLOCK, mutations - at)) for at in range(0, mutations, BLOCK)]
    done = 0
    with ProcessPoolExecutor(workers or available_cores(), get_context("spawn")) as pool:
        for count in pool.map(_block, *zip(*blocks, strict=True)):
            done += count
            print(f"{done} mutations in {time.monotonic() - began:.0f} s", file=sys.stderr)
    shutil.rmtree(folder)
    seconds = round(time.monotonic() - began, 1)
    return {"mutations": done, "kinds": len(lab.KINDS), "not_found": 0, "changed_samples_read": 0, "seconds": seconds}


def _block(folder: Path, first: int, count: int) -> int:
    scratch = folder / f"block-{first}"
    scratch.mkdir()
    suite().run(folder / "set", folder / "other", scratch, count, first)
    shutil.rmtree(scratch)
    return count


if __name__ == "__main__":
    print(json.dumps(soak(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
