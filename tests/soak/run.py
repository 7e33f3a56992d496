"""What takes too long for any suite: thousands of killed writers, damaged shards, a run that is stopped fifty times.

run.py [--kills N] [--drills N] [--mutations N] [--seed N] [--out FILE]

``make soak``: 3,000 kills, 50 drills, 100,000 mutations, to results.json

The figures are committed by hand, for docs/faults.md. The first thing that does not hold ends it with exit code 1; what
was written until then stays in build/.
"""

import argparse
import datetime
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ecamp_fast.bench.report.result_files import versions
from ecamp_fast.files import write_json

HERE = Path(__file__).absolute().parent
ROOT = HERE.parents[1]
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # processes that fork may have no other; ranks fork from there


def play(script: str, folder: Path, count: int, seed: int) -> dict[str, Any]:
    """The figures of one of the scripts beside this one.  Raises SystemExit where something did not hold."""
    command = [sys.executable, str(HERE / script), str(folder / Path(script).stem), str(count), str(seed)]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, env=os.environ | ONE_THREAD | {"PYTHONPATH": paths}, stdout=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(f"{script} with seed {seed} left with {done.returncode}; see above, and {folder}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=3000)
    parser.add_argument("--drills", type=int, default=50)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--out", type=Path, default=HERE / "results.json")
    wanted = parser.parse_args()
    folder, began = ROOT / "build" / f"soak-{os.getpid()}", time.monotonic()
    folder.mkdir(parents=True)
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    result: dict[str, Any] = {"schema": 1, "date": day, "seed": wanted.seed, "machine": versions()}
    for name in ("kills", "drills", "mutations"):
        if count := getattr(wanted, name):
            result[name] = play(f"{name}.py", folder, count, wanted.seed)
            print(f"{name}: {result[name]}", flush=True)
    result["seconds"] = round(time.monotonic() - began, 1)
    write_json(wanted.out, result)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
