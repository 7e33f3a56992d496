"""Results against earlier ones, figure by figure: what became slower or larger shows before it is kept."""

import json
import subprocess
from pathlib import Path
from typing import Any

import click

from ecamp_fast.bench.report.metrics import differing_settings, metrics
from ecamp_fast.bench.report.result_files import (
    RESULTS,
    by_present_name,
    device_of,
    parse_result,
    present_name,
    read_result,
    read_results,
)
from ecamp_fast.errors import ConfigError
from ecamp_fast.usage.options import FiniteRange, json_option

Results = dict[str, dict[str, Any]]  # by file name


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[[OLD] NEW]")
@click.option("--limit", default=0.05, show_default=True, type=FiniteRange(0), help="Share that may be lost.")
@json_option()
def command(paths: tuple[Path, ...], limit: float, as_json: bool) -> None:
    """Compare a result, or a folder of them, with an earlier one.

    NEW: default bench/results. OLD: default what is committed there. Exit code 1: a figure is worse by more than the
    limit. Exit code 2: nothing can be compared, since devices or settings differ.

    \b
    Example:
      ecamp-fast bench compare results --limit 0.1
    """
    if len(paths) > 2:
        raise click.UsageError("at most two: OLD NEW")
    new = paths[-1] if paths else RESULTS
    old, now = (committed(new), _read(new)) if len(paths) < 2 else (_read(paths[0]), _read(new))
    if len(paths) == 2 and paths[0].is_file() and new.is_file():
        old = {new.name: old[paths[0].name]}  # two files are meant for each other, whatever their names
    result = compare(old, now, limit)
    click.echo(json.dumps(result) if as_json else describe(result))
    if result["worse"]:
        click.get_current_context().exit(1)


def compare(old: Results, new: Results, limit: float = 0.05) -> dict[str, Any]:
    """Results of the same file name against each other.  limit: share that a figure may be worse by

    returns rows (file, figure, old, new, ratio new over old, worse), refused (file -> why), only_old, only_new, worse:
    number of rows that are. A file named as its bench was called before counts under the present name.
    Raises ConfigError where nothing can be compared.
    """
    old, new = by_present_name(old), by_present_name(new)
    refused: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for file in sorted(old.keys() & new.keys()):
        why = _refusal(old[file], new[file])
        if why:
            refused[file] = why
        else:
            rows += _rows(file, old[file], new[file], limit)
    if not rows:
        reasons = "; ".join(f"{file}: {why}" for file, why in refused.items()) or "no file is in both"
        raise ConfigError(f"nothing to compare: {reasons}", "compare results of one device and the same options")
    return {
        "schema": 1,
        "limit": limit,
        "rows": rows,
        "refused": refused,
        "only_old": sorted(old.keys() - new.keys()),
        "only_new": sorted(new.keys() - old.keys()),
        "worse": sum(row["worse"] for row in rows),
    }


def committed(path: Path) -> Results:
    """What the last commit holds under the names of ``path``, a result or a folder, in bench/results.

    Raises ConfigError outside a checkout, or where the commit has none of them.
    """
    names = [name for name in _git("ls-tree", "--name-only", "HEAD", f"{RESULTS}/").split() if name.endswith(".json")]
    given = [path] if path.suffix == ".json" else path.glob("*.json")
    wanted = {present_name(file.name) for file in given}
    kept = by_present_name({Path(name).name: name for name in names})
    found = {file: name for file, name in kept.items() if file in wanted}
    if not found:
        raise ConfigError(f"the last commit has no result of {path}", "give OLD as well")
    return {file: parse_result(_git("show", f"HEAD:{name}"), f"HEAD:{name}") for file, name in found.items()}


def _git(*arguments: str) -> str:
    root = Path(__file__).resolve().parents[2]
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise ConfigError("no checkout with a commit to compare with", "give OLD and NEW") from None


def _read(path: Path) -> Results:
    return read_results(path) if path.is_dir() else {path.name: read_result(path)}


def _refusal(old: dict[str, Any], new: dict[str, Any]) -> str | None:
    """Why the two say nothing about each other."""
    devices = device_of(old), device_of(new)
    if devices[0] != devices[1]:
        return f"measured on {devices[0]} and on {devices[1]}"
    cores = [result.get("environment", result).get("cores") for result in (old, new)]
    if cores[0] != cores[1]:
        return f"measured on {cores[0]} and on {cores[1]} cores"
    return ", ".join(differing_settings(old, new)) or None


def _rows(file: str, old: dict[str, Any], new: dict[str, Any], limit: float) -> list[dict[str, Any]]:
    before, now = metrics(old), metrics(new)
    rows: list[dict[str, Any]] = [
        {"file": file, "figure": name, "old": before[name].value, "new": None, "ratio": None, "worse": True}
        for name in before.keys() - now.keys()  # what failed its gate has no figures
    ]
    for name in before.keys() & now.keys():
        was, value = before[name].value, now[name].value
        ratio = value / was if was else float("inf") if value else 1.0
        lost = 1 - ratio if before[name].higher else ratio - 1
        rows.append({"file": file, "figure": name, "old": was, "new": value, "ratio": ratio, "worse": lost > limit})
    return sorted(rows, key=lambda row: str(row["figure"]))


def describe(result: dict[str, Any]) -> str:
    """The result as text."""
    lines = [f"{'new / old':>9}  {'old':>12} {'new':>12}  figure"]
    for row in result["rows"]:
        mark = "  WORSE" if row["worse"] else ""
        missing = row["new"] is None
        values = (
            f"{row['ratio']:9.3f}  {row['old']:12.6g} {row['new']:12.6g}"
            if not missing
            else (f"{'gone':>9}  {row['old']:12.6g} {'':12}")
        )
        lines.append(f"{values}  {row['file']} {row['figure']}{mark}")
    lines += [f"not compared: {file}: {why}" for file, why in result["refused"].items()]
    lines += [f"only before: {file}" for file in result["only_old"]]
    lines += [f"only now: {file}" for file in result["only_new"]]
    lines.append(f"{result['worse']} of {len(result['rows'])} figures worse by more than {result['limit']:.0%}")
    return "\n".join(lines)


if __name__ == "__main__":
    command()
