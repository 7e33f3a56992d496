"""Folders that are not there or belong to others, what a replay is compared with, and what counts as training."""

from typing import Any

from mutant import mutants


def attempt(work: Any, folder: str) -> str:
    """What it gives or how it is refused, wherever the folder lies."""
    try:
        return str(work())
    except Exception as error:
        return f"{type(error).__name__} {error}".replace(folder, "")


def told() -> Any:
    """What is said of folders with this and that in them, and what is left of those that a start made."""
    import tempfile
    from pathlib import Path

    from ecamp_fast.run.rundir import RunDir, require_own, require_run
    from ecamp_fast.shards.format.manifest import require_set

    found = []
    with tempfile.TemporaryDirectory() as home:
        for names in ((), ("a.csv",), ("run_state.json", "x"), ("MANIFEST.json", "a.tar"), ("a.tar",), ("x", "a.log")):
            folder = Path(home) / f"{len(found)}"
            folder.mkdir()
            for name in names:
                (folder / name).touch()
            for require in (require_own, require_run, require_set):
                found += [attempt(lambda r=require, f=folder: r(f), home)]
                found += [attempt(lambda r=require, f=folder: r(f / "none"), home)]
            for path in (folder, folder / "new"):
                run = RunDir(path)
                run.create()
                run.remove_unused()
                found.append(str(path.exists()))
    return found


def recorded() -> Any:
    """Replayed steps beside records of a flight, of metrics, and of neither."""
    import tempfile
    from pathlib import Path

    from ecamp_fast.replay.recorded import find_record
    from ecamp_fast.run.metrics import NAMES
    from ecamp_fast.run.rundir import RunDir
    from ecamp_fast.run.safety.flight import FlightFile, pack

    given, found = {step: dict.fromkeys(NAMES, float(step)) for step in range(1, 9)}, []
    with tempfile.TemporaryDirectory() as home:
        run = Path(home)
        for step, mean in ((4, 2.5), (8, 6.5)):
            line = {"step": step, "grad_norm": 1.0, "images_per_second": 1.0}
            RunDir(run).metric(line | dict.fromkeys(NAMES, mean))
        for _ in range(2):
            for step in (4, 7, 8):
                one = find_record(run, step, given, 1.0, print)
                found.append(one and (one.as_dict(), one.agrees))
            file = FlightFile(run)
            for step in (7, 8):
                file.append(pack(step, 0, 1, (1, 2, 3), (step, step, step, step + 0.5, 1.0), 5))
            file.close()
    return str(found)


def clocked() -> Any:
    """A lap in the midst of a pause."""
    import time

    from ecamp_fast.run.metrics import Clock

    now, real = [100.0], time.perf_counter
    time.perf_counter = lambda: now[0]
    try:
        clock, found = Clock(), []
        for began, lap, ended in ((101.0, 103.0, 107.0), (109.0, 109.0, 111.0)):
            now[0], clock.images = lap, 4
            found.append(clock.lap())
            now[0] = ended
            clock.pause(began)
            now[0], clock.images = ended + 1, 4
            found.append(clock.lap())
        return found
    finally:
        time.perf_counter = real


FOLDERS = "tests/commands/test_train.py tests/commands/test_nothing_there.py"

MUTANTS = [
    *mutants(
        "ecamp_fast/run/rundir.py",
        f"{FOLDERS} tests/run/safety/test_guard.py",
        told,
        {
            "a run begins among the files of others": ("    if others:\n", "    if len(others) > 9:\n"),
            "any run is a stranger": ("if any(name in SIGNS for name in names):", "if names == [*SIGNS]:"),
            "tars are a set by themselves": ('OF_A_SET if "MANIFEST.json" in names else ()', "OF_A_SET"),
            "a start that failed leaves its folder": ("        if self._created:\n", "        if not self.path:\n"),
        },
    ),
    *mutants(
        "shards/format/manifest.py",
        FOLDERS,
        told,
        {"a folder of tables is no set, and no more": ('sorted(folder.glob("*.csv"))', 'sorted(folder.glob("*.csw"))')},
    ),
    *mutants(
        "ecamp_fast/files.py",
        FOLDERS,
        told,
        {"what is not there is a folder": ("    if os.path.isdir(folder):\n", "    if not os.path.isfile(folder):\n")},
    ),
    *mutants(
        "ecamp_fast/replay/recorded.py",
        "tests/replay/test_recorded.py",
        recorded,
        {
            "the line of metrics counts before the step's own record": ("if flown is not None:", "if flown == given:"),
            "the mean is compared with the last step": ("losses in covered) / len(covered)", "losses in covered[-1:])"),
            "steps that were left out count in the mean": ("default=0) + 1", "default=0)"),
        },
    ),
    *mutants(
        "ecamp_fast/run/metrics.py",
        "tests/run/test_metrics.py",
        clocked,
        {"a pause counts from before the lap": ("max(began, self._since)", "began")},
    ),
]
