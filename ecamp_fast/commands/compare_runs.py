"""``ecamp-fast compare-runs``: the first step and quantity in which two runs differ."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.usage.options import FiniteRange, json_option, run_argument

if TYPE_CHECKING:
    from ecamp_fast.run.safety.compare import Comparison
    from ecamp_fast.run.safety.flight import Flight


@click.command()
@run_argument()
@run_argument("other", required=False)
@click.option(
    "--tolerance",
    type=FiniteRange(0, min_open=True),
    metavar="X",
    help="Let losses and norm differ by this much, relative, and leave weights out: for runs on other ranks.",
)
@json_option()
def command(run: Path, other: Path | None, tolerance: float | None, as_json: bool) -> None:
    """Name the first optimizer step, and in it the first quantity, in which RUN and OTHER differ.

    In the order of cause and effect: samples, masks, losses, norm of the gradient, whether the update was left out,
    weights. Steps that a run did again after a resume are compared with their first time; of one RUN alone only those.
    Steps that one run lacks are told and do not count. Exit code 0: no difference; 1: one was found; 3: a run has no
    record, or a damaged one.

    \b
    Example:
      ecamp-fast compare-runs runs/one runs/other
    """
    from ecamp_fast.run.safety.compare import compare, compare_redone
    from ecamp_fast.run.safety.flight import read_flight

    paths = [run] if other is None else [run, other]
    flights = [read_flight(path) for path in paths]
    redone = [compare_redone(flight, tolerance) for flight in flights]
    between = None if other is None else compare(flights[0].steps, flights[1].steps, tolerance)
    if between is not None and not between.compared:
        raise DataError(f"{run} and {other} have no step in common", "compare them when both have trained")
    kinds = [_kind(path, flight) for path, flight in zip(paths, flights, strict=True)]
    equal = not any(found.first for found in [*redone, between] if found)
    if as_json:
        runs = [
            {"run": str(path), "steps": len(flight.steps), "ranks": kind["ranks"], "redone": _as_dict(again)}
            for path, flight, kind, again in zip(paths, flights, kinds, redone, strict=True)
        ]
        result = {"schema": 1, "equal": equal, "tolerance": tolerance, "runs": runs}
        both = {"other_kind": _other_kind(kinds), "compared": _as_dict(between)} if between else {}
        click.echo(json.dumps(result | both))
    else:
        for path, flight, kind, again in zip(paths, flights, kinds, redone, strict=True):
            tell(_of_run(path, flight, kind, again))
        if between:
            for line in _between(flights, kinds, between, tolerance):
                tell(line)
    click.get_current_context().exit(0 if equal else 1)


def _kind(run: Path, flight: "Flight") -> dict[str, Any]:
    """What kind of run it was: ranks of its steps; digest of its data, and what its recipe is, None where unknown."""
    from ecamp_fast.run.rundir import RunDir

    state, recipe = RunDir(run, writes=False).state(), run / "recipe.yaml"
    ranks = sorted({int(count) for count in flight.steps["ranks"]})
    return {"ranks": ranks, "data": state.get("manifest"), "recipe": _identity(recipe) if recipe.exists() else None}


def _identity(recipe: Path) -> dict[str, Any] | None:
    """Its keys that make a run what it is; None where this version does not know some of them."""
    from ecamp_fast.config import load_recipe

    try:
        return load_recipe(recipe).identity()
    except ConfigError:
        return None


def _other_kind(kinds: list[dict[str, Any]]) -> list[str]:
    """In what the runs were not meant to be the same, a line each."""
    lines, (one, other) = [], (kind["recipe"] for kind in kinds)
    if kinds[0]["data"] != kinds[1]["data"]:
        lines.append("not the same kind of run: another shard set")
    if one is None or other is None:
        lines.append("their recipes are not compared: recipe.yaml is missing, or of another version")
    elif keys := [key for key in one if one[key] != other.get(key)]:
        lines.append(f"not the same kind of run: the recipes differ in {', '.join(keys)}")
    return lines


def _of_run(run: Path, flight: "Flight", kind: dict[str, Any], redone: "Comparison") -> str:
    ranks = " and ".join(str(count) for count in kind["ranks"]) or "no"
    told = f"{run}: {len(flight.steps):,} steps on {ranks} rank(s)"
    if len(flight.steps) and (gaps := int(flight.steps["step"][-1]) - len(flight.steps)):
        told += f", {gaps:,} more unrecorded"
    if not redone.compared:
        return f"{told}, none of them done again"
    if redone.first is None:
        return f"{told}, {redone.compared:,} done again after a resume, as the first time"
    return f"{told}, {redone.compared:,} done again after a resume, and not alike: {_named(redone)}"


def _between(
    flights: "list[Flight]", kinds: list[dict[str, Any]], found: "Comparison", tolerance: float | None
) -> list[str]:
    lines = _other_kind(kinds)
    if other := max(len(flight.steps) for flight in flights) - found.compared:
        lines.append(f"{other:,} steps of the longer run have no counterpart")
    within = "to the bit" if tolerance is None else f"within {tolerance:g}, weights not compared"
    if found.first is None:
        lines.append(f"equal: {found.compared:,} steps {within}")
    else:
        lines.append(f"first difference: {_named(found)}")
        lines += [f"  {_spoken(name)}: {count:,} of {found.compared:,} steps" for name, count in found.differ.items()]
    largest = {name: at for name, at in found.largest.items() if at[0]}
    if largest:
        each = ", ".join(f"{_spoken(name)} {apart:.1e} at step {step}" for name, (apart, step) in largest.items())
        lines.append(f"largest relative differences: {each}")
    if found.first and tolerance is None and kinds[0]["ranks"] != kinds[1]["ranks"]:
        lines.append("on other ranks sums are taken in another order: compare with --tolerance 1e-4")
    return lines


def _named(found: "Comparison") -> str:
    from ecamp_fast.run.safety.compare import QUANTITIES

    first = found.first
    assert first is not None
    before = QUANTITIES[: QUANTITIES.index(first.quantity)]
    alike = f"; of that step the same: {', '.join(_spoken(name) for name in before)}" if before else ""
    return f"step {first.step}, {_spoken(first.quantity)} ({first.one}, {first.other}){alike}"


def _spoken(quantity: str) -> str:
    from ecamp_fast.run.safety.compare import SPOKEN

    return SPOKEN.get(quantity, quantity)


def _as_dict(found: "Comparison") -> dict[str, Any]:
    """Strict JSON: what is infinite or no number is null."""
    first = found.first and {name: _finite(value) for name, value in asdict(found.first).items()}
    largest = {name: {"relative": _finite(apart), "step": step} for name, (apart, step) in found.largest.items()}
    return {"steps": found.compared, "first": first, "differ": found.differ, "largest": largest}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
