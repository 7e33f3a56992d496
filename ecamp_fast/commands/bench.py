"""``ecamp-fast bench``: measure one part on this machine, or all of them."""

import contextlib
import importlib
import io
import json

import click

from ecamp_fast.commands.lazy import LazyGroup

BENCHES = {
    "text": ("ecamp_fast.bench.text", "The text path at step time: milliseconds per sample and core."),
    "loader": ("ecamp_fast.bench.loader", "The loader alone: images a second for one rank."),
    "model": ("ecamp_fast.bench.model", "The training step: times, work, memory; the release beside it."),
    "kernels": ("ecamp_fast.bench.kernels", "The Triton kernels: errors, times, share of the roofline, memory."),
}


@click.group(cls=LazyGroup, table=BENCHES, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Without a name: print all results as one JSON object.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Measure one part; without its name all of them, one after the other."""
    if context.invoked_subcommand is None:
        results = {name: _run(context, name, as_json) for name in BENCHES}
        if as_json:
            click.echo(json.dumps({"schema": 1, "results": results}))


def _run(context: click.Context, name: str, as_json: bool) -> object:
    """Run a bench with its defaults; as JSON its result is returned, else it is printed."""
    bench: click.Command = importlib.import_module(BENCHES[name][0]).command
    if not as_json:
        click.echo(f"{name}: {BENCHES[name][1]}")
        return bench.main([], prog_name=name, standalone_mode=False)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        bench.main(["--json"], prog_name=name, standalone_mode=False)
    return json.loads(printed.getvalue())
