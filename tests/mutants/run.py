"""Breaks the product on purpose, one mutant after the other, and looks whether the tests that ought to notice do.

python tests/mutants/run.py [--only TEXT] [--sample TEXT] [--seconds N] [--workers N]

A process that has imported the libraries forks once per mutant. The child gets a tree of its own (links to this one,
with one file changed), works out the mutant's number and runs its tests there. Exit code 1 unless all are killed.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parent))
from mutant import AREAS, Mutant, load

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("ecamp_fast", "kernels", "shards", "bench", "tests", "docs", "pyproject.toml", "requirements.lock", "Makefile")
PARTS += ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", ".ci")
TIMEOUT = 180.0  # seconds for one mutant
KILLED, SURVIVED, EQUIVALENT, BROKEN, LATE = "killed", "SURVIVED", "EQUIVALENT", "BROKEN", "timeout"
GOOD = (KILLED, LATE)  # a mutant that hangs is noticed


@dataclass
class Outcome:
    """What became of a mutant.  log: what its tests printed"""

    mutant: Mutant
    verdict: str
    seconds: float
    log: str


@dataclass
class _Child:
    job: Any
    folder: Path
    began: float


@click.command(help=__doc__)
@click.option("--only", default="", help="Only mutants with this in their area or name.")
@click.option(
    "--sample", help="In an order drawn from this text (a commit); ends with --seconds, the rest is left out."
)
@click.option("--seconds", default=float("inf"), help="Start none after so many.")
@click.option("--areas", type=click.Path(path_type=Path), default=AREAS, help="Folder of the mutants.")
@click.option("--workers", default=len(os.sched_getaffinity(0)), help="Mutants at the same time.")
@click.option("--baseline/--no-baseline", help="First see the tests pass without a mutant.")
def main(only: str, sample: str | None, seconds: float, areas: Path, workers: int, baseline: bool) -> None:
    chosen = [mutant for mutant in load(areas) if only in f"{mutant.area}: {mutant.name}"]
    if sample is not None:
        random.Random(sample).shuffle(chosen)
    began = time.monotonic()
    warm_up()
    if baseline and not tests_pass({test for mutant in chosen for test in mutant.tests}):
        sys.exit("the tests fail without a mutant")
    outcomes = []
    for outcome in judge(chosen, workers, lambda: time.monotonic() - began > seconds):
        outcomes.append(outcome)
        print(
            f"{outcome.verdict:10} {outcome.seconds:5.1f} s  {outcome.mutant.area}: {outcome.mutant.name}", flush=True
        )
        if outcome.verdict not in GOOD:
            print("    " + outcome.log[-1500:].replace("\n", "\n    "))
    counts = Counter(outcome.verdict for outcome in outcomes)
    print(f"{dict(counts)} of {len(chosen)} in {time.monotonic() - began:.0f} s")
    sys.exit(any(outcome.verdict not in GOOD for outcome in outcomes) or not outcomes)


def warm_up() -> None:
    """Import what every child would: then a fork has it. No thread may run yet."""
    os.environ.setdefault("TRITON_INTERPRET", "1")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["OMP_NUM_THREADS"] = "1"
    import deepspeed  # noqa: F401
    import hypothesis  # noqa: F401
    import nvidia.dali.fn  # noqa: F401
    import pydantic  # noqa: F401
    import pytest  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch
    import torchvision  # noqa: F401
    import transformers  # noqa: F401
    import triton  # noqa: F401

    torch.set_num_threads(1)


def judge(chosen: list[Mutant], workers: int, enough: Callable[[], bool]) -> Iterator[Outcome]:
    """The outcome of each mutant as it is known."""
    checks = {mutant.check for mutant in chosen}
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        folder = Path(temporary)
        honest = {}
        for child, _ in _children(checks, folder, workers, _number, lambda: False):
            if "number" not in (result := _result(child)):
                sys.exit(f"{child.job.__module__}.{child.job.__name__} fails without a mutant:\n{_log(child)}")
            honest[child.job] = result["number"]
        todo = iter(chosen)
        for child, late in _children(todo, folder, workers, _mutate, enough):
            result, mutant = _result(child), child.job
            log = _log(child)
            verdict = LATE if late else _verdict(result, honest[mutant.check])
            yield Outcome(mutant, verdict, time.monotonic() - child.began, log)
            shutil.rmtree(child.folder)


def _verdict(result: dict[str, Any], honest: str) -> str:
    """pytest ends with 1 where tests failed, with 0 where they passed, with another where none could run."""
    if result.get("number") == honest:
        return EQUIVALENT
    return {0: SURVIVED, 1: KILLED}.get(result.get("tests", -1), BROKEN)


def tests_pass(tests: set[str]) -> bool:
    """Whether they pass as things stand, all in one process."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        jobs = [tuple(sorted(tests))]
        for child, late in _children(jobs, Path(temporary), 1, _test, lambda: False, timeout=1800):
            print(_log(child)[-2000:])
            return not late and _result(child).get("tests") == 0
    return False


def _children(
    jobs: Any,
    folder: Path,
    workers: int,
    work: Callable[[Any, Path], None],
    enough: Callable[[], bool],
    timeout: float = TIMEOUT,
) -> Iterator[tuple[_Child, bool]]:
    """Fork one child a job, ``workers`` at a time; gives each when it has ended, and whether it had to be killed."""
    running: dict[int, _Child] = {}
    waiting = iter(jobs)
    while True:
        while len(running) < workers and not enough() and (job := next(waiting, None)) is not None:
            child = _Child(job, Path(tempfile.mkdtemp(dir=folder)), time.monotonic())
            running[_fork(child, work)] = child
        if not running:
            return
        for pid, child in list(running.items()):
            late = time.monotonic() - child.began > timeout
            if late:
                os.killpg(pid, signal.SIGKILL)
            if os.waitpid(pid, 0 if late else os.WNOHANG)[0]:
                del running[pid]
                yield child, late
        time.sleep(0.02)


def _fork(child: _Child, work: Callable[[Any, Path], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()  # what it starts ends with it
    log = os.open(child.folder / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        work(child.job, child.folder)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _number(check: Callable[[], Any], folder: Path) -> None:
    """The number of the honest product."""
    _enter(folder)
    _tell(folder, number=repr(check()))


def _test(tests: tuple[str, ...], folder: Path) -> None:
    """How the tests end on the honest product."""
    _enter(folder)
    _tell(folder, tests=_pytest(tests, folder))


def _mutate(mutant: Mutant, folder: Path) -> None:
    """The number of the mutant, and how its tests end."""
    path = _enter(folder) / mutant.file
    source = mutant.source(ROOT)
    path.unlink()  # a link to the real one
    path.write_text(source, encoding="utf-8")
    try:
        number = repr(mutant.check())
    except Exception as error:  # a fault is another number
        number = f"raised {type(error).__name__}"
    _tell(folder, number=number)
    _tell(folder, number=number, tests=_pytest(mutant.tests, folder))


def _pytest(tests: tuple[str, ...], folder: Path) -> int:
    import pytest

    options = ["-q", "-x", "-p", "no:cacheprovider", "-W", "ignore", f"--basetemp={folder / 'tmp'}"]
    return int(pytest.main([*options, *tests]))


def _enter(folder: Path) -> Path:
    """Make a tree of links, and let this process and those that it starts import from it."""
    tree = folder / "tree"
    tree.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tree / part, copy_function=os.link)
        else:
            os.link(ROOT / part, tree / part)
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return tree


def _log(child: _Child) -> str:
    return (child.folder / "log").read_text(errors="replace")


def _tell(folder: Path, **facts: Any) -> None:
    (folder / "result.json").write_text(json.dumps(facts))


def _result(child: _Child) -> dict[str, Any]:
    file = child.folder / "result.json"
    return json.loads(file.read_text()) if file.exists() else {}


if __name__ == "__main__":
    main()
