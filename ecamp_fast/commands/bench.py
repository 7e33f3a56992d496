"""``ecamp-fast bench``: measure one part on this machine, or all of them; report and compare what was measured."""

import importlib

import click

from ecamp_fast.bench.options import note_renamed
from ecamp_fast.usage.groups import LazyGroup
from ecamp_fast.usage.options import json_option

BENCHES = {
    "device": ("ecamp_fast.bench.device", "A large product and a large copy: what the device gives at best."),
    "text": ("ecamp_fast.bench.text", "The text path at step time: milliseconds per sample and core."),
    "loader": ("ecamp_fast.bench.loader", "The loader alone: images a second for one rank."),
    "build": ("ecamp_fast.bench.build", "Building shards from originals: images a second, and share of the floor."),
    "model": ("ecamp_fast.bench.model", "The model's step: times, work, memory; the release beside it."),
    "train": ("ecamp_fast.bench.train", "The whole training step, from memory and from shards: rate, stall, MFU."),
    "repeats": (
        "ecamp_fast.bench.repeats",
        "The same step several times, and whether all gradients are the same to the bit.",
    ),
    "scaling": (
        "ecamp_fast.bench.scaling",
        "The training step on 1, 2, 4 and more ranks, by ZeRO stage and plain DDP.",
    ),
    "attention": ("ecamp_fast.bench.attention", "Every attention backend: errors, times; --tune writes the choice."),
    "kernels": ("ecamp_fast.bench.kernels", "The Triton kernels: errors, times, share of the roofline, memory."),
    "roofline": ("ecamp_fast.bench.roofline.command", "What A100, H100, H200 could do with a step's counted work."),
    "all": ("ecamp_fast.bench.suite", "All of the above in turn; --quick with small settings."),
    "report": ("ecamp_fast.bench.report.page", "Tables and charts of the results that are kept."),
    "compare": ("ecamp_fast.bench.report.compare", "Results against the last committed ones, figure by figure."),
}


FORMER = {"project": "roofline"}  # accepted for one more release, and not listed


class BenchGroup(LazyGroup):
    """Takes the former name of a bench for its present one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in FORMER:
            note_renamed(f"bench {args[0]}", f"bench {FORMER[args[0]]}")
            args = [FORMER[args[0]], *args[1:]]
        return super().resolve_command(ctx, args)


@click.group(cls=BenchGroup, table=BENCHES, invoke_without_command=True)
@json_option()
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Measure one part; without its name all of them with small settings (`bench all --quick`).

    \b
    Example:
      ecamp-fast bench loader --data SHARDS
    """
    if context.invoked_subcommand is None:
        suite: click.Command = importlib.import_module(BENCHES["all"][0]).command
        context.invoke(suite, quick=True, out=None, only=(), as_json=as_json)
