"""``ecamp-fast replay``: one step of a run again, and what in it went bad first."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.strict_json import dump_json
from ecamp_fast.usage import options

if TYPE_CHECKING:
    from ecamp_fast.replay.rebuild import Replayed
    from ecamp_fast.replay.recorded import Recorded

SHOWN = 8  # keys of samples, at most


@click.command()
@options.run_argument()
@click.argument("step", type=click.IntRange(min=1))
@options.sets_option("The run's shard set, where it is not where the run found it.")
@options.json_option()
def command(run: Path, step: int, data: tuple[str, ...], as_json: bool) -> None:
    """Rebuild STEP of RUN (as events.jsonl counts) from the newest checkpoint before it, on this machine.

    Says which sample, layer, loss, gradient, weight or moment was not finite first. Writes nothing; shows neither
    reports nor pixels.

    \b
    Example:
      ecamp-fast replay runs/mine 1200
    """
    from ecamp_fast.run.rundir import require_run
    from ecamp_fast.shards.storage.weighted import require_sets_at

    require_run(run)  # before anything heavy is loaded
    require_sets_at(data)
    from ecamp_fast.replay.rebuild import Rebuild
    from ecamp_fast.run.distributed import init, shutdown

    context = init()
    try:
        found = Rebuild(run, context, data).replay(step, lambda line: tell(line, err=True))
    finally:
        shutdown()
    if as_json:
        click.echo(dump_json({"schema": 1, "run": str(run), **found.as_dict()}))
    else:
        tell(*_in_words(found))


def _in_words(found: "Replayed") -> list[str]:
    losses = ", ".join(f"{name} {value:.6g}" for name, value in found.losses.items())
    lines = [f"step {found.step}: {losses}, gradient {found.grad_norm:.6g}"]
    lines[0] += "" if found.applied else "; the update is left out"
    if found.first is None:
        lines.append("everything is finite")
    else:
        first = found.first
        where = "" if first.rank is None else f", micro-batch {first.micro} of rank {first.rank}"
        lines.append(f"first not finite: {first.kind} {first.name}{where}")
    if found.keys:
        more = f" and {len(found.keys) - SHOWN} more" if len(found.keys) > SHOWN else ""
        lines.append(f"samples: {', '.join(found.keys[:SHOWN])}{more}")
    if found.bad_since:
        lines.append(f"it was so after step {found.bad_since[0]} already: replay that one, or one before it")
    if found.recorded:
        lines.append(_compared(found.step, found.recorded))
    return lines


def _compared(step: int, recorded: "Recorded") -> str:
    """What the run recorded, what came now of the same steps where that is another number, and the verdict."""
    then, now = _values(recorded.values), _values(recorded.came)
    verdict = "the same" if then == now else "the same but for rounding" if recorded.agrees else "NOT the same"
    if recorded.first < recorded.last:
        of = f"mean of steps {recorded.first} to {recorded.last}, and the gradient of step {step}"
        return f"recorded, {of}: {then}; replayed, of the same steps: {now}: {verdict}"
    return f"recorded: {then}: the same" if then == now else f"recorded: {then}; replayed: {now}: {verdict}"


def _values(values: Mapping[str, float]) -> str:
    """The flight recorder keeps no NaN apart from what is infinite."""
    told = {name: f"{value:.6g}" if math.isfinite(value) else "not finite" for name, value in values.items()}
    return ", ".join(f"{'gradient' if name == 'grad_norm' else name} {text}" for name, text in told.items())
