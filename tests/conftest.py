"""What every test may use: the seed, the device, the real radiographs, and the judge of numerical error."""

import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import hypothesis
import jsonschema
import pytest
import torch

if TYPE_CHECKING:
    from ecamp_fast.config import Recipe
    from ecamp_fast.run.distributed import DistContext

# A deadline is time by the clock, which says more of a shared machine than of the code; speed has tests of its own.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

# What is computed here is small: more threads wait for each other, far longer where other work runs beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

SMALL = (
    "image.high_size=64",
    "image.low_size=32",
    "text.max_tokens=24",
    "model.vision={width: 16, depth: 2, heads: 2, patch: 8}",
    "model.decoder={width: 8, depth: 1, heads: 2}",
    "model.text={width: 12, depth: 2, heads: 3, ffn: 20, dropout: 0.0}",
    "batch={total: 4, micro: 4}",
)
RENDEZVOUS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
# Runs the commands in one process, since each would import the same; says which of them failed.
COMMANDS = """
import contextlib, io, shlex, socket, sys
from ecamp_fast.cli import main

wrong = []
for host in ("192.0.2.1", "2001:db8::1"):
    try:
        socket.create_connection((host, 443), timeout=5)
        sys.exit("there is a network")
    except OSError as error:
        assert error.errno in (99, 101, 113), error
for line in sys.stdin.read().splitlines():
    wanted, *words = shlex.split(line)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main(words)
    except SystemExit as end:
        if str(end.code or 0) != wanted:
            wrong.append(f"{line}: left with {end.code}: {said.getvalue()[-2000:]}")
print("done", *wrong, sep="\\n--- ")
"""
SCHEMAS = Path(__file__).resolve().parents[1] / "ecamp_fast" / "commands" / "schemas"
DEVICE_FILE = Path("/dev/nvidiactl")
CUDA = torch.cuda.is_available()
if not CUDA:
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports triton: kernels then run on the CPU


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--complete", action="store_true", help="Also what `make test` leaves out: every case, every mutant."
    )


def pytest_report_header() -> str:
    return kernels_run(CUDA, os.environ.get("TRITON_INTERPRET") == "1")


def kernels_run(cuda: bool, interpreted: bool) -> str:
    """Where this run's kernels run, in words."""
    if not cuda:
        driver = " (there is a driver's device file, but PyTorch sees no GPU)" if DEVICE_FILE.exists() else ""
        return f"Triton kernels: in the interpreter, on the CPU{driver}"
    if interpreted:
        return "WARNING: Triton kernels: interpreted beside a GPU, since TRITON_INTERPRET=1, so not tested on it"
    return f"Triton kernels: on {torch.cuda.get_device_name()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [] if config.getoption("complete") else [item for item in items if item.get_closest_marker("complete")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if for_gpu and not CUDA:
        for item in for_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_collection_finish() -> None:
    """What was imported stays: it need not be searched for garbage, which DeepSpeed does for every engine it makes."""
    gc.collect()
    gc.freeze()


# Report text in what a test printed, or in a file that a run tells something in, fails the whole suite. The reports of
# phantoms are the canaries: these sentences are in thousands of them.
TOLD_IN = ("*.log", "metrics.jsonl", "events.jsonl", "quarantine.jsonl", "run_state.json", "results.json", "stderr*")


def sentences() -> "re.Pattern[str]":
    from ecamp_fast.phantom.phrases import CLEAR, HEART_NORMAL, MEDIASTINUM_NORMAL, OPENINGS

    every = (
        *CLEAR,
        *HEART_NORMAL,
        *MEDIASTINUM_NORMAL,
        *(sentence for group in OPENINGS.values() for sentence in group),
    )
    return re.compile("|".join(re.escape(sentence) for sentence in every))


class Canaries:
    """Searches the captured output of tests that passed, and at the end the files that they left."""

    def __init__(self) -> None:
        self._sentence = sentences()
        self._found: list[str] = []
        self._folder: Path | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._folder = self._folder or item.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.passed and any(self._sentence.search(text) for _, text in report.sections):
            self._found.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        for path in self._folder.rglob("*") if self._folder else ():
            told = any(path.match(name) for name in TOLD_IN) and path.is_file()
            if told and self._sentence.search(path.read_bytes().decode("latin-1")):
                self._found.append(str(path))
        if self._found and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for place in dict.fromkeys(self._found):
            terminalreporter.write_line(f"FAILED: report text in {place}")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Canaries())


@pytest.fixture(scope="session", autouse=True)
def hears_signals() -> Iterator[None]:
    """Signals that ``nohup``, or a shell's ``&``, made this process ignore are heard, and so by what it starts."""
    handlers = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.getsignal(number) for number in handlers}
    ignored = [number for number, handler in before.items() if handler == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, handlers[number])
    yield
    for number in ignored:
        signal.signal(number, before[number])


@pytest.fixture(autouse=True)
def seed() -> None:
    """torch draws the same numbers in every test, whichever ran before."""
    torch.manual_seed(0)


@cache
def schema(name: str) -> jsonschema.Draft202012Validator:
    """What ``ecamp-fast NAME --json`` prints (``shard-build``), or with ``error`` where it fails."""
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8")))


@cache
def command_of(module: str, function: str) -> str:
    """The file of ``SCHEMAS`` for the command that is this function; '' where it is none of ours."""
    from ecamp_fast.cli import COMMANDS
    from ecamp_fast.commands.bench import BENCHES
    from ecamp_fast.commands.knowledge.distill import PARTS

    names = {home: f"bench-{name}" for name, (home, _) in BENCHES.items()}
    names |= {home: name for name, (home, _) in COMMANDS.items()}
    names |= {f"ecamp_fast.commands.{name}": f"shard-{name}" for name in ("annotate", "put")}
    names |= {home: f"distill-{name}" for name, (home, _) in PARTS.items()}
    return names.get(module, "") if function == "command" else f"{names.get(module, '')}-{function}".lstrip("-")


def schema_faults(text: object) -> list[str]:
    """What is wrong with a JSON object that the running command prints; nothing where it prints something else."""
    context = click.get_current_context(silent=True)
    called = context.command.callback if context else None
    try:
        printed: Any = json.loads(str(text))
    except ValueError:
        return []
    name = command_of(called.__module__, called.__name__) if called else ""
    if not name or not isinstance(printed, dict) or "schema" not in printed:
        return []
    return [f"{name}: {fault.json_path}: {fault.message[:200]}" for fault in schema(name).iter_errors(printed)]


@pytest.fixture
def faults_of_json() -> Callable[[object], list[str]]:
    """``schema_faults``: of what the command prints whose context is open."""
    return schema_faults


@pytest.fixture(autouse=True)
def _every_json_is_as_its_schema_says(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a command prints as JSON in any test of this process is compared with its schema."""
    faults: list[str] = []
    echo = click.echo

    def noted(message: Any = None, *arguments: Any, **options: Any) -> None:
        faults.extend(schema_faults(message))
        echo(message, *arguments, **options)

    monkeypatch.setattr(click, "echo", noted)
    yield
    assert faults == []


@pytest.fixture(scope="session")
def _process_group() -> "Iterator[DistContext]":
    """DeepSpeed keeps the first process group, so all tests share one; it leaves no variables behind."""
    from ecamp_fast.run.distributed import init, shutdown

    before = dict(os.environ)
    for name in RENDEZVOUS:
        os.environ.pop(name, None)
    found = init()
    os.environ.clear()
    os.environ.update(before)
    yield found
    shutdown()


@pytest.fixture(autouse=True)
def _the_process_group_is_left_alone() -> Iterator[None]:
    """What leaves it in this process, as a whole command that trains does, takes it from every test behind it."""
    before = torch.distributed.is_initialized()
    yield
    assert torch.distributed.is_initialized() or not before, "left the process group: run it in a process of its own"


@pytest.fixture
def context(_process_group: "DistContext", monkeypatch: pytest.MonkeyPatch) -> "DistContext":
    """This process, the only rank."""
    for name, value in zip(RENDEZVOUS, ("0", "0", "1", "1"), strict=True):
        monkeypatch.setenv(name, value)
    return _process_group


@pytest.fixture
def device() -> str:
    return "cuda" if CUDA else "cpu"


@pytest.fixture(scope="session")
def least_seconds() -> Callable[..., float]:
    """(action, times) -> by the clock, of several: waiting counts, what others do on this machine does not."""

    def measure(action: Callable[[], object], times: int = 3) -> float:
        found = []
        for _ in range(times):
            began = time.perf_counter()
            action()
            found.append(time.perf_counter() - began)
        return min(found)

    return measure


@pytest.fixture(scope="session")
def small() -> "Callable[..., Recipe]":
    """(recipe name, overrides) -> a recipe of very small sizes: 16 patches, 4 kept."""
    from ecamp_fast.config import load_recipe

    def make(name: str = "paper", *overrides: str) -> "Recipe":
        return load_recipe(name, [*SMALL, *overrides])

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real radiographs that ECAMP_REAL_DATA names; they are not part of the repository."""
    folder = os.environ.get("ECAMP_REAL_DATA")
    if not folder:
        pytest.skip("ECAMP_REAL_DATA names no folder of real radiographs")
    path = Path(folder)
    assert path.is_dir(), f"ECAMP_REAL_DATA={folder} is not a folder"
    return path.resolve()


@pytest.fixture
def assert_no_worse() -> Callable[..., None]:
    """``ours`` may be at most twice as far from the float64 ``truth`` as ``eager`` torch in the same dtype is."""

    def check(name, ours, eager, truth, floor=1e-6):
        ours, eager, truth = (t.detach().double() for t in (ours, eager, truth))
        assert ours.isfinite().all(), f"{name}: not finite"
        scale = truth.abs().max().clamp_min(1e-30)
        error, allowed = (ours - truth).abs().max() / scale, (eager - truth).abs().max() / scale
        assert error <= 2 * allowed + floor, f"{name}: error {error:.2e}, eager torch {allowed:.2e}"

    return check


@pytest.fixture
def alone(tmp_path: Path) -> Callable[..., str]:
    """alone(*lines): run commands, each "EXIT-CODE WORDS...", in ``tmp_path`` and without a network.

    returns what did not go as it says
    """
    enter = ("unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    if (
        not all(map(shutil.which, ("unshare", "ip")))
        or subprocess.run([*enter, "true"], capture_output=True).returncode
    ):
        pytest.skip("this machine allows no network namespace (unshare -rn, ip)")

    def run(*lines: str) -> str:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        offline = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        done = subprocess.run(
            [*enter, sys.executable, "-c", COMMANDS],
            input="\n".join(lines),
            env=offline | {"PYTHONPATH": path, "HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=1500,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.partition("done\n")[2]  # DeepSpeed prints something before it

    return run


@pytest.fixture(scope="session")
def two_sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Phantoms of two sources, of other names: 24 studies and 15; the second has the tokenizer of the first."""
    from ecamp_fast.shards.builder.build import Options, build
    from ecamp_fast.shards.sources.base import Listing
    from ecamp_fast.shards.sources.phantom import PhantomSource

    class Renamed(PhantomSource):
        def list_records(self) -> Listing:
            listing = super().list_records()
            for record in listing.records:
                record.study_id, record.patient_id = (f"b{name}" for name in (record.study_id, record.patient_id))
            return listing

    folder = tmp_path_factory.mktemp("two")
    options = Options(workers=1, shard_size=8, vocab_size=200)
    build(PhantomSource(24, 1, 64), folder / "a", options)
    build(Renamed(15, 2, 64), folder / "b", Options(workers=1, shard_size=8, tokenizer=folder / "a" / "tokenizer.json"))
    return folder / "a", folder / "b"
