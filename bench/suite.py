"""All benches in turn, each with its own settings, as the command line runs them."""

import contextlib
import importlib
import io
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from ecamp_fast.bench.report.result_files import BENCHES
from ecamp_fast.errors import EcampError
from ecamp_fast.usage.options import json_option, out_option

COMMANDS = {"roofline": "roofline.command"}  # where a bench is no module of its own name
# What shows in a minute or two that all is in order, by kind of device; the figures it gives are rough
QUICK = {
    "cpu": {
        "device": [],
        "text": ["--batch", "64"],
        "build": ["--images", "16", "--rounds", "1"],
        "loader": ["--recipe", "demo", "--images", "64"],
        "model": ["--recipe", "demo", "--batch", "4", "--tokens", "40", "--vocabulary", "1000", "--repeats", "2"],
        "train": [
            "--recipe",
            "demo",
            "--set",
            "batch.total=8",
            "--steps",
            "3",
            "--blocks",
            "2",
            "--vocabulary",
            "1000",
        ],
        "repeats": ["--recipe", "demo", "--tokens", "40", "--vocabulary", "1000", "--times", "2"],
        "scaling": ["--recipe", "demo", "--steps", "3", "--tokens", "40", "--vocabulary", "1000"],
        "attention": ["--batch", "2", "--repeats", "3"],
        "kernels": [],
        "roofline": [],
    },
    "cuda": {
        "device": [],
        "text": ["--batch", "64"],
        "build": ["--rounds", "1"],
        "loader": ["--images", "2048"],
        "model": ["--batch", "64", "--repeats", "3", "--precision", "bf16"],
        "train": ["--set", "batch.total=256", "--steps", "5", "--blocks", "2"],
        "repeats": ["--set", "batch.micro=64", "--set", "batch.total=64"],
        "scaling": ["--steps", "5"],
        "attention": ["--batch", "64"],
        "kernels": ["--batch", "64"],
        "roofline": [],
    },
}


@click.command()
@click.option("--quick", is_flag=True, help="Small settings: minutes, rough figures.")
@out_option("Gets NAME.json of each bench.")
@click.option(
    "--only", multiple=True, type=click.Choice(BENCHES), metavar="NAME", help="Only this bench; may be repeated."
)
@json_option()
def command(quick: bool, out: Path | None, only: tuple[str, ...], as_json: bool) -> None:
    """Run every bench in turn.

    Exit code 1: one of them found something wrong or could not run; the others have run all the same.

    \b
    Example:
      ecamp-fast bench all --quick --out results
    """
    names = [name for name in BENCHES if not only or name in only]
    results, failed = run(names, quick, out, told=not as_json)
    if as_json:
        click.echo(json.dumps({"schema": 2, "results": results, "failed": failed}))
    if failed:
        click.get_current_context().exit(1)


def run(names: list[str], quick: bool, out: Path | None, told: bool) -> tuple[dict[str, Any], list[str]]:
    """Results by name, and the names that failed.  out: where each is written   told: print each as text too"""
    import torch

    from ecamp_fast.files import write_json

    settings = QUICK["cuda" if torch.cuda.is_available() else "cpu"] if quick else {}
    results: dict[str, Any] = {}
    failed: list[str] = []
    for name in names:
        print(f"bench {name}", file=sys.stderr)
        arguments = settings.get(name, [])
        results[name], passed = _run(name, arguments)
        if not passed:
            failed.append(name)
        if told:
            click.echo(f"\n{name}\n{_text(name, results[name])}")
        if out and "error" not in results[name]:
            out.mkdir(parents=True, exist_ok=True)
            write_json(out / f"{name}.json", results[name])
    return results, failed


def _run(name: str, arguments: list[str]) -> tuple[dict[str, Any], bool]:
    """The result of a bench with its command line in it, and whether it left with 0."""
    bench = _module(name).command
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            code = bench.main([*arguments, "--json"], prog_name=name, standalone_mode=False)
        except EcampError as error:
            return {"error": {"kind": type(error).__name__, "what": error.what, "hint": error.hint}}, False
    result: dict[str, Any] = json.loads(printed.getvalue().splitlines()[-1])  # libraries may have printed before it
    return result | {"bench": name, "command": shlex.join(["ecamp-fast", "bench", name, *arguments])}, not code


def _text(name: str, result: dict[str, Any]) -> str:
    if "error" in result:
        return f"error: {result['error']['what']}\n  hint: {result['error']['hint']}"
    module = _module(name)
    describe = module.describe if hasattr(module, "describe") else json.dumps
    return str(describe(result))


def _module(name: str) -> Any:
    return importlib.import_module(f"ecamp_fast.bench.{COMMANDS.get(name, name)}")


if __name__ == "__main__":
    command()
