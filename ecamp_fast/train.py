"""Pre-train ECAMP: the program that the DeepSpeed launcher starts on every rank.

deepspeed ecamp_fast/train.py --ds_config [NAME|FILE] [--recipe NAME|FILE] [--data SHARDS] [--out RUN] [--set KEY=VALUE]

Without --data it draws phantoms (synthetic radiographs with reports) and trains the small recipe "demo" on them.
The same command again goes on where the run stands.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import STOPPED, EcampError
from ecamp_fast.files import require_folder

PHANTOM_STUDIES = 640


@click.command(help=__doc__)
@click.option(
    "--ds_config",
    is_flag=False,
    flag_value="",
    default="",
    metavar="[NAME|FILE]",
    help="DeepSpeed JSON: zero2 (default), zero1, zero0, or a file.",
)
@click.option("--recipe", "recipe_name", metavar="NAME|FILE", help="Default: paper; on phantoms demo.")
@click.option("--data", metavar="SHARDS", help="Shard set: folder, s3://, gs:// or https://. Default: phantoms.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Default: runs/RECIPE; on phantoms runs/phantoms-RECIPE.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key of the recipe.")
@click.option("--resume", default="auto", metavar="auto|must|never|PATH", help="Where to go on from.")
@click.option("--report/--no-report", "reporting", default=True, help="Write RUN/report.html at the end.")
@click.option("--local_rank", hidden=True, expose_value=False)  # the launcher passes it; the environment counts
def main(
    ds_config: str,
    recipe_name: str | None,
    data: str | None,
    out: Path | None,
    overrides: tuple[str, ...],
    resume: str,
    reporting: bool,
) -> None:
    from ecamp_fast.run.deepspeed_config import check, find

    try:
        recipe, out = settle(recipe_name, data, out, overrides)
        check(find(ds_config), recipe, int(os.environ.get("WORLD_SIZE", 1)))  # before anything is loaded
        sys.exit(run_rank(recipe, data, out, find(ds_config), resume, reporting))
    except EcampError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ImportError as error:
        from ecamp_fast.doctor.requirements import import_fault

        fault = import_fault(error)
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)


def settle(
    recipe_name: str | None, data: str | None, out: Path | None, overrides: Sequence[str]
) -> tuple[Recipe, Path]:
    """The recipe and the run directory that a command line means; ``ecamp-fast demo`` has runs/demo for itself.

    Raises ConfigError, and StorageError where nothing can be written to the directory.
    """
    recipe = load_recipe(recipe_name or ("paper" if data else "demo"), overrides)
    out = out or Path("runs") / (recipe.name if data else f"phantoms-{recipe.name}")
    require_folder(out)
    return recipe, out


def run_rank(recipe: Recipe, data: str | None, out: Path, ds_config: Path | None, resume: str, reporting: bool) -> int:
    """Train on this rank, then report on rank 0. Returns the exit code."""
    from ecamp_fast.run.distributed import init, shutdown
    from ecamp_fast.run.rundir import RunDir
    from ecamp_fast.run.setup import Job
    from ecamp_fast.run.trainer import Trainer

    context, run = init(), RunDir(out)
    try:
        if context.is_main:
            run.create()  # a request to stop can be left in it while the run is set up
        shards = data or _phantoms(out, recipe, context.is_main)
        trainer = Trainer(Job(recipe, shards, out, ds_config, resume), context)
        status = trainer.train()
        if reporting and context.is_main and status == "complete" and (trainer.trained or not run.report.exists()):
            from ecamp_fast.report.build import report_run

            report_run(out, trainer.engine.module, trainer.shards, trainer.recipe)
            print(f"report: {run.report}", file=sys.stderr)
    finally:
        shutdown()
    return 0 if status == "complete" else STOPPED


def _phantoms(out: Path, recipe: Recipe, is_main: bool) -> Path:
    """The phantom shard set of a run without data; rank 0 builds it, the others wait."""
    import torch.distributed as dist

    from ecamp_fast.shards.builder.build import build_phantoms

    shards = out / "phantoms"
    if is_main and not (shards / "MANIFEST.json").exists():
        print(f"no --data: drawing {PHANTOM_STUDIES} phantom studies into {shards}", file=sys.stderr)
        build_phantoms(PHANTOM_STUDIES, shards, size=recipe.image.high_size * 8 // 7)
    dist.barrier()
    return shards


if __name__ == "__main__":
    main()
