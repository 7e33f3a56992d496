"""README's commands, word for word, in a fresh clone: from `git clone` to the first run on a CSV of 20 images.

Prints the seconds of each and their sum; exit code 1 where one fails or all take longer than ten minutes. Installation
is part of it: packages are downloaded, some 6 GB on disk.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from journeys.blocks import SHELL, find_blocks, logical_lines
from journeys.containers import sources_of_pip
from journeys.harness import BIN, ROOT, Broken, Walk, check, check_complete, check_file, tell, walking
from journeys.own_csv import write_table

LIMIT = 600.0
IMAGES = 20
LEFT_OUT = {"make test": "it is for those who change the code"}
FIRST_RUN = "--out runs/first"
# How pip reaches its index is the machine's; nothing of a user's own settings is.
_PASSED_ON = (
    "PIP_",
    "UV_",
    "SSL_",
    "REQUESTS_",
    "HTTP",
    "http",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
    "LANG",
)


def commands(readme: str) -> list[str]:
    """README's command lines in order, up to the first run on own data.  Raises Broken where it has none."""
    found: list[str] = []
    for block in find_blocks("README.md", readme):
        for line in logical_lines(block.text) if block.language in SHELL else ():
            if line not in LEFT_OUT:
                found.append(line)
            if FIRST_RUN in line:
                return found
    raise Broken(f"README has no line with {FIRST_RUN}")


def journey(walk: Walk) -> None:
    clone = walk.folder / "ecamp-fast"
    began = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", str(clone)], check=True)
    rows = [("git clone", time.monotonic() - began)]
    check(write_table(clone, IMAGES).is_file(), f"somebody has {IMAGES} images and a table")
    rows += run_all(commands((clone / "README.md").read_text(encoding="utf-8")), clone, newcomer(walk))
    for line, seconds in rows:
        tell(f"{seconds:8.1f} s  {line}")
    walk.here = clone
    check_complete(walk.state("runs/first"))
    check_file(clone / "runs" / "first" / "report.html", 10_000)
    check_sum([seconds for _, seconds in rows])


def newcomer(walk: Walk) -> dict[str, str]:
    """The environment of somebody who has never heard of this project."""
    places = (one for one in os.environ["PATH"].split(os.pathsep) if Path(one).resolve() != BIN.resolve())
    # pip asks rustc for its version, and where rustup stands in for it that writes into HOME
    path = [one for one in places if not (Path(one) / "rustup").exists()]
    kept = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    kept |= sources_of_pip()[0]  # a user's own pip.conf may have them, and HOME is empty
    own = {name: walk.env[name] for name in ("HOME", "TMPDIR", "TERM")}
    return {**kept, **own, "PATH": os.pathsep.join(path), "ECAMP_JOURNEY": str(walk.folder)}


def run_all(lines: Sequence[str], folder: Path, environment: Mapping[str, str]) -> list[tuple[str, float]]:
    """One shell for all, as a person has.  returns lines with their seconds; raises Broken at the first that fails"""
    marks, log = folder.parent / "marks", folder.parent / "shell.log"
    script = ["set -e"]
    for line in lines:
        script += [f"echo $EPOCHREALTIME >> {marks}", line]
    with open(log, "wb") as file:
        shell = subprocess.run(
            ["bash", "-c", "\n".join([*script, f"echo $EPOCHREALTIME >> {marks}"])],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    times = [float(one) for one in marks.read_text().split()]
    tell(log.read_text(errors="replace")[-3000:])
    if shell.returncode:
        raise Broken(f"$ {lines[len(times) - 1]}\nleft with {shell.returncode}")
    return [(line, after - before) for line, before, after in zip(lines, times, times[1:], strict=False)]


def check_sum(seconds: Sequence[float], limit: float = LIMIT) -> None:
    check(sum(seconds) < limit, f"all took {sum(seconds):.0f} s, at most {limit:.0f} s")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", type=Path, help="where the clone is made: 8 GB; default: the system's")
    parser.add_argument("--list", action="store_true", help="print the commands and run none")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        tell("\n".join(commands((ROOT / "README.md").read_text(encoding="utf-8"))))
        return 0
    try:
        with walking(parent=chosen.scratch) as walk:
            journey(walk)
    except Broken as what:
        tell(f"BROKEN: {what}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
