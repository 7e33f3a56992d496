"""Pre-train ECAMP: the program that deepspeed, torchrun or srun starts on every rank.

deepspeed ecamp_fast/train.py --ds_config [NAME|FILE] [--recipe NAME|FILE] [--data SHARDS] [--out RUN] [--set KEY=VALUE]

Without --data it draws phantoms (synthetic radiographs with reports) and trains the small recipe "demo" on them.
The same command again goes on where the run stands.
"""

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecamp_fast import rendezvous
from ecamp_fast.errors import STOPPED, ConfigError, DataError, EcampError
from ecamp_fast.printable import one_line, speak_on
from ecamp_fast.run.rundir import RunDir, require_own
from ecamp_fast.run.safety.guard import Guard
from ecamp_fast.usage import options

if TYPE_CHECKING:
    from ecamp_fast.config import Recipe
    from ecamp_fast.run.profiling.watch import StepWatch
    from ecamp_fast.run.setup import MakeModel

PHANTOM_STUDIES = 640
PHANTOM_TRAIN = 593  # of them in the split train, always: tests/forecast/test_plan.py plans them
GUARD = Guard(leaves=True)  # of this process, where it is a rank


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command line, settled.  data: sets as named; none: phantoms   allow: keys that may differ from before"""

    recipe: "Recipe"
    data: tuple[str, ...]
    out: Path
    ds_config: Path | None
    resume: str
    allow: tuple[str, ...]
    reporting: bool
    track: str | None
    profile: str


@click.command(
    help=f"{__doc__}\n\b\nExample:\n  deepspeed ecamp_fast/train.py --ds_config --data SHARDS --out runs/mine",
    context_settings={"show_default": True},
)
@options.ds_config_option()
@options.recipe_option(None, "Default: paper; on phantoms demo.")
@options.sets_option(
    "Shard set: folder, s3://, gs:// or https://; several with a --data each, :0.3 for 30 % of one an epoch. "
    "Default: phantoms."
)
@options.out_option("Default: runs/RECIPE; on phantoms runs/phantoms-RECIPE.", "RUN")
@options.set_option()
@options.resume_option()
@options.allow_option()
@click.option(
    "--track",
    metavar="trackio|wandb[:PROJECT]",
    help="Send the numbers of metrics.jsonl there too; a process beside the run does it.",
)
@click.option("--report/--no-report", "reporting", default=True, help="Write RUN/report.html at the end.")
@click.option(
    "--profile",
    default="",
    show_default=False,
    metavar="STEPS",
    help="Where time goes, to RUN/profile/: of 3 warm steps (3), or of the run's steps 10 to 12 (10-12). Default: off.",
)
@click.option("--local_rank", hidden=True, expose_value=False)  # the launcher passes it; the environment counts
def main(
    ds_config: str,
    recipe_name: str | None,
    data: tuple[str, ...],
    out: Path | None,
    overrides: tuple[str, ...],
    resume: str,
    allow: tuple[str, ...],
    reporting: bool,
    track: str | None,
    profile: str,
) -> None:
    from ecamp_fast.run.deepspeed_config import check, find
    from ecamp_fast.run.tracking.choice import require_tracker

    try:
        require_tracker(track)
        recipe, out = settle(recipe_name, data, out, overrides, resume)
        require_profile(profile, recipe, data, out)
        check(find(ds_config), recipe, int(os.environ.get("WORLD_SIZE", 1)))  # before anything is loaded
        sys.exit(run_rank(CommandLine(recipe, data, out, find(ds_config), resume, allow, reporting, track, profile)))
    except EcampError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ImportError as error:
        from ecamp_fast.doctor.requirements import import_fault

        fault = import_fault(error)
        print(f"error: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)


def settle(
    recipe_name: str | None, data: Sequence[str], out: Path | None, overrides: Sequence[str], resume: str = "auto"
) -> "tuple[Recipe, Path]":
    """The recipe and the run directory that a command line means; ``ecamp-fast demo`` has runs/demo for itself.

    Raises ConfigError, DataError, StorageError or PolicyError where it names what is not there or cannot be meant.
    """
    from ecamp_fast.config import load_recipe
    from ecamp_fast.files import require_folder

    recipe = load_recipe(recipe_name or ("paper" if data else "demo"), overrides)
    if out is None and Path(recipe.name).name != recipe.name:
        raise ConfigError(f"the recipe's name '{recipe.name}' is no name of a folder", "name a folder: --out RUN")
    out = out or Path("runs") / (recipe.name if data else f"phantoms-{recipe.name}")
    require_folder(out)
    require_own(out)
    _require_sources(recipe, data, resume)
    return recipe, out


def _require_sources(recipe: "Recipe", data: Sequence[str], resume: str) -> None:
    """Raises DataError where what a run begins with is not there, PolicyError where ``data`` has a refused address,
    ConfigError where it has a weight that is none.
    """
    from ecamp_fast.files import missing_folder
    from ecamp_fast.shards.storage.weighted import require_sets_at

    require_sets_at(data)
    if recipe.init_from and not os.path.exists(recipe.init_from):
        raise DataError(f"init_from: no such file: {recipe.init_from}", "`ecamp-fast import` makes one")
    if resume not in ("auto", "must", "never") and (fault := missing_folder(Path(resume))):
        raise DataError(f"--resume: {fault}", "name a complete checkpoint, or use --resume auto")


def require_profile(profile: str, recipe: "Recipe", data: Sequence[str], out: Path) -> None:
    """Raises ConfigError where ``--profile`` means no steps, or such that the run has not; DataError without its set.

    Such as are done already are none to refuse: the same command goes on.
    """
    if not profile:
        return
    from ecamp_fast.run.profiling.steps import ProfiledSteps
    from ecamp_fast.run.schedule import total_steps
    from ecamp_fast.run.setup import Job, open_shards

    steps, phantoms = ProfiledSteps.parse(profile), out / "phantoms"
    if data or (phantoms / "MANIFEST.json").exists():
        samples = open_shards(Job(recipe, data or phantoms, out)).epoch("train")
    else:
        samples = PHANTOM_TRAIN
    steps.require(total_steps(recipe, samples))


def run_rank(asked: CommandLine) -> int:
    """Train on this rank, then report on rank 0. Returns the exit code."""
    run = RunDir(asked.out, writes=os.environ.get("RANK", "0") == "0")
    with GUARD:
        try:
            GUARD.claim(run, run.stop_asked())
            status = _train(run, asked)
        except EcampError as error:
            GUARD.note_failure(error)
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        except ImportError as error:
            from ecamp_fast.doctor.requirements import import_fault

            fault = import_fault(error)
            GUARD.note_failure(fault)
            print(f"error: {fault}", file=sys.stderr)
            return fault.exit_code
        except Exception as error:
            if not GUARD.note_failure(error):
                traceback.print_exc()
                return 1
            status = "stopped"
        finally:
            GUARD.say_end()
    return 0 if status == "complete" else STOPPED


def _train(run: RunDir, asked: CommandLine) -> str:
    from ecamp_fast.run.distributed import agree, gather, init, shutdown
    from ecamp_fast.run.progress import Waiting
    from ecamp_fast.run.safety.heartbeat import Heartbeat
    from ecamp_fast.run.safety.watchdog import Watchdog
    from ecamp_fast.run.setup import Job
    from ecamp_fast.run.trainer import Trainer

    context, heartbeat, recipe = init(), Heartbeat(), asked.recipe
    try:
        GUARD.take(run, lambda flag: agree(flag, context.device), lambda numbers: gather(numbers, context.device))
        watchdog = Watchdog(context, run, recipe.safety.watchdog, heartbeat, lambda: GUARD.requested)
        with watchdog, Waiting(heartbeat, context.is_main):
            shards = asked.data or _phantoms(run.path, recipe, context.is_main)
            how = asked.ds_config, asked.resume, asked.allow
            job = Job(recipe, shards, run.path, *how, _other_model(recipe), asked.track)
            trainer = Trainer(job, context, GUARD, heartbeat, _profiler(asked.profile))
            status = trainer.train()
        GUARD.over()
        reporting = asked.reporting and job.model is None
        if reporting and context.is_main and status == "complete" and (trainer.trained or not run.report.exists()):
            from ecamp_fast.report.build import report_run

            report_run(run.path, trainer.engine.module, trainer.shards, trainer.recipe)
            print(one_line(f"report: {run.report}"), file=sys.stderr)
        if trainer.follower and status == "complete":  # a run that was asked to stop must not be kept
            trainer.follower.finish()
    finally:
        shutdown()
    return status


def _profiler(profile: str) -> "StepWatch | None":
    """What watches the steps that ``--profile`` names, and makes a page of them."""
    if not profile:
        return None
    from ecamp_fast.report.profile_page import profile_files
    from ecamp_fast.run.profiling.steps import ProfiledSteps
    from ecamp_fast.run.profiling.watch import StepWatch

    return StepWatch(ProfiledSteps.parse(profile), profile_files)


def _other_model(recipe: "Recipe") -> "MakeModel | None":
    """What is trained instead of ECAMP, of which there is no report."""
    if not recipe.losses.gloria:
        return None
    from ecamp_fast.attend.model import Gloria

    return Gloria


def _phantoms(out: Path, recipe: "Recipe", is_main: bool) -> Path:
    """The phantom shard set of a run without data; rank 0 builds it, the others wait."""
    import torch.distributed as dist

    from ecamp_fast.shards.builder.build import build_phantoms

    shards = out / "phantoms"
    if is_main and not (shards / "MANIFEST.json").exists():
        print(one_line(f"no --data: drawing {PHANTOM_STUDIES} phantom studies into {shards}"), file=sys.stderr)
        build_phantoms(PHANTOM_STUDIES, shards, size=recipe.image.phantom_size)
    dist.barrier()
    return shards


def be_a_rank(arguments: Sequence[str] | None = None) -> None:
    """All that is left of this process.  arguments: by default those it was started with

    Leaves with 4 where variables do not say which rank it is.
    """
    speak_on()  # whoever listens may be closed first, and there is a run to save
    atexit.register(gc.freeze)  # else Python's last collection takes 3 s over what DeepSpeed and torch have made
    try:
        rendezvous.adopt()  # the guard asks whether anybody started this rank
    except EcampError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    with GUARD:  # before anything that takes long is imported
        main(arguments)


if __name__ == "__main__":
    be_a_rank()
