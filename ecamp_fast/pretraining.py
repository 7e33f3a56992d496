"""``ecamp_fast.pretrain``: a run out of Python, in processes of its own, as ``ecamp-fast train`` starts them."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ecamp_fast.config import Recipe, dump_recipe
from ecamp_fast.errors import STOPPED, EcampError
from ecamp_fast.machine import child_environment
from ecamp_fast.run.rundir import read_metrics
from ecamp_fast.run.safety.processes import end_with_parent
from ecamp_fast.strict_json import parse_object

_KILLED = 128  # a command that was interrupted twice leaves with this and the signal's number
_HINT = "  hint: "


@dataclass(frozen=True)
class Pretrained:
    """A run that was trained, or asked to stop.

    path         its directory: what ``load`` and ``evaluate`` take
    status       complete, or stopped: the same call goes on
    step         optimizer steps done
    total_steps  of the whole run
    metrics      lines of metrics.jsonl of the training split by step: step, loss, mim, sr, mlm, lr, ...
    held_out     those of the split val; empty where nothing is held out
    """

    path: Path
    status: str
    step: int
    total_steps: int
    metrics: list[dict[str, Any]]
    held_out: list[dict[str, Any]]


def pretrain(
    recipe: str | Path | Recipe | None = None,
    data: str | Path | Sequence[str | Path] | None = None,
    out: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    ds_config: str | Path = "",
    resume: str = "auto",
    allow_change: Sequence[str] = (),
    ranks: int | None = None,
    report: bool = True,
    track: str | None = None,
    say: Callable[[str], None] | None = print,
) -> Pretrained:
    """Pre-train ECAMP; where ``out`` holds a part of this run, go on from there.

    recipe        a name, a file, or a ``Recipe``; None: ``paper``, on phantoms ``demo``
    data          a shard set: folder or address, "PLACE:0.3" for 30 % of it an epoch; several: a list; None: phantoms
    out           the run directory; None: runs/RECIPE, on phantoms runs/phantoms-RECIPE
    overrides     KEY=VALUE, changes to the recipe: one, or a list
    ds_config     DeepSpeed's JSON: zero2, zero1, zero0, or a file; "": zero2
    resume        auto, must, never, or a checkpoint
    allow_change  keys that may differ from what the run was trained with so far: one, or a list
    ranks         processes on this machine; None: the GPUs, or one
    report        whether RUN/report.html is written at the end
    track         trackio or wandb, with or without :PROJECT
    say           gets each line that the run tells; None: nobody does

    The run is in processes of its own: this one imports no torch for it and keeps its memory and its GPUs. An interrupt
    (the notebook's square button) saves the run and stops it, a second one raises KeyboardInterrupt; if this process
    dies, or ``say`` raises, the run saves and stops too.

    Raises EcampError, of the class that the fault has: ConfigError where this cannot be meant, DataError, ...; and what
    ``say`` raised, once the run has ended.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as outcome:
        if isinstance(recipe, Recipe):
            file = Path(folder) / "recipe.yaml"
            file.write_text(dump_recipe(recipe), encoding="utf-8")
            recipe = file
        named: dict[str, Any] = {"--recipe": recipe, "--out": out, "--ds_config": ds_config, "--resume": resume}
        named |= {"--ranks": ranks, "--track": track}
        arguments = [f"{name}={value}" for name, value in named.items() if value not in (None, "")]
        several = {"--data": data or (), "--set": overrides, "--allow-change": allow_change}
        arguments += [f"{name}={one}" for name, values in several.items() for one in _each(values)]
        arguments += [] if report else ["--no-report"]
        code, told = _run(["train", *arguments, "--json"], outcome, say)
        outcome.seek(0)
        found = _object(outcome.read())
    if code in (0, STOPPED) and "run" in found:
        return _result(Path(found["run"]), found["state"])
    if code > _KILLED:
        raise KeyboardInterrupt
    raise _fault(code, found, told)


def _run(arguments: Sequence[str], outcome: IO[bytes], say: Callable[[str], None] | None) -> tuple[int, list[str]]:
    """The command in a session of its own, to its end.  returns its exit code, and the lines of its last fault"""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "ecamp_fast.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=outcome,
        stderr=subprocess.PIPE,
        env=child_environment(),
        start_new_session=True,
        preexec_fn=end_with_parent,
    )
    fault: list[str] = []
    raised: BaseException | None = None  # by ``say``; the pipe is read on until the run is saved
    lines = _lines(process)
    while True:
        try:
            for line in lines:
                if line.startswith("error: ") or (fault and line.startswith(_HINT)):
                    fault = [line] if line.startswith("error: ") else [*fault[:1], line]
                if say and raised is None:
                    try:
                        say(line)
                    except KeyboardInterrupt:
                        raise
                    except BaseException as error:
                        raised = error
                        process.send_signal(signal.SIGTERM)
            code = process.wait()
            break
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            lines = _lines(process)  # an iterator that raised has ended
    if raised is not None:
        raise raised
    return code, fault


def _each(values: str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    """One that stands alone is one, not its letters."""
    return [values] if isinstance(values, str | Path) else values


def _lines(process: "subprocess.Popen[bytes]") -> Iterator[str]:
    assert process.stderr
    for line in process.stderr:
        yield line.decode(errors="replace").rstrip("\n")


def _object(raw: bytes) -> dict[str, Any]:
    """What --json printed, behind whatever libraries did."""
    try:
        return parse_object(raw.strip().rpartition(b"\n")[2])
    except ValueError:
        return {}


def _result(run: Path, state: dict[str, Any]) -> Pretrained:
    step = int(state.get("step", 0))
    lines, held_out = read_metrics(run), read_metrics(run, "val")
    return Pretrained(run, str(state.get("status")), step, int(state.get("total_steps", 0)), lines, held_out)


def _fault(code: int, found: dict[str, Any], told: list[str]) -> EcampError:
    """What the command said of itself with --json, or what a rank said."""
    kinds = {kind.exit_code: kind for kind in EcampError.__subclasses__()}
    if "error" in found:
        error = found["error"]
        return kinds.get(error["exit_code"], EcampError)(error["what"], error["hint"])
    what = told[0].removeprefix("error: ") if told else f"the run failed ({found.get('state', {}).get('fault', code)})"
    hint = told[1].removeprefix(_HINT) if len(told) > 1 else "the lines above say more"
    return kinds.get(code, EcampError)(what, hint)
