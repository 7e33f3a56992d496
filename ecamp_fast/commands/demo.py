"""``ecamp-fast demo``: the whole way on phantoms, with a crash in the middle, and a verdict at the end."""

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecamp_fast.commands.verdict import conclude, failed, say
from ecamp_fast.errors import ConfigError
from ecamp_fast.evidence.check import Check
from ecamp_fast.files import open_private, require_folder
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.usage import options

if TYPE_CHECKING:
    from ecamp_fast.config import Recipe
    from ecamp_fast.evidence.judge import Evidence

MARKER = "made-by-demo"
PATIENCE = 600.0  # seconds without a line of metrics before a training counts as hung
LOSSES = ("mim", "sr", "mlm")
POOLING = 2  # features keep which quarter of the image they are from: better where the encoder is so small
MEASURED = 384  # held-out samples whose images and words are compared; features are probed on all
HELD_OUT = 0.5  # share of the phantom patients that is only looked at


@click.command()
@options.out_option("Run directory; a former demo in it is replaced.", "RUN", default=Path("runs/demo"))
@click.option(
    "--studies",
    default=1500,
    show_default=True,
    type=click.IntRange(300),
    help="Phantom studies to draw, 350 or more for the recipe as it is.",
)
@options.ranks_option(2)
@options.set_option()
@options.json_option()
def command(out: Path, studies: int, ranks: int, overrides: tuple[str, ...], as_json: bool) -> None:
    """Phantoms -> shards -> pre-train -> crash -> resume -> checks -> report, offline, on CPU or GPU.

    \b
    Example:
      ecamp-fast demo --out runs/demo
    """
    from ecamp_fast.config import load_recipe

    began = time.perf_counter()
    recipe = load_recipe("demo", overrides)
    require_folder(out)
    _clear(out)
    shards = out / "phantoms"
    say(f"drawing {studies} phantom studies and building their shards")
    _build(studies, shards, recipe)
    _can_be_killed(recipe, shards)
    say(f"pre-training on {ranks} ranks; it will be killed half way")
    _train_with_a_crash(out, shards, ranks, overrides)
    say("checking the model on held-out phantoms")
    checks, report = _judge(out, shards)
    conclude(checks, {"report": str(report)}, began, as_json)


def _clear(out: Path) -> None:
    """Start from nothing, but never delete what another command made; it is said where a former demo goes."""
    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).exists():
            raise ConfigError(f"{out} is not empty and not a demo's", "choose another --out")
        say(f"{out} holds a former demo, which this one replaces")
        shutil.rmtree(out)
    RunDir(out).create()
    open_private(out / MARKER, "a").close()


def _build(studies: int, shards: Path, recipe: "Recipe") -> None:
    from ecamp_fast.shards.builder.build import Options, build_phantoms
    from ecamp_fast.shards.check.verify import verify

    build_phantoms(studies, shards, size=recipe.image.phantom_size, options=Options(holdout=HELD_OUT))
    verify(shards)


def _can_be_killed(recipe: "Recipe", shards: Path) -> None:
    """Raise ConfigError where no checkpoint comes in the second half of the run, before its end."""
    from ecamp_fast.run.schedule import total_steps
    from ecamp_fast.shards.load.read import ShardSet

    steps, every = total_steps(recipe, ShardSet(shards).count("train")), recipe.checkpoint.every_steps
    if not (every and (steps - 1) // every * every >= steps // 2):
        raise ConfigError(
            f"a run of {steps} steps with a checkpoint every {every} cannot be killed behind one",
            "draw more --studies, or lower checkpoint.every_steps",
        )


def _train_with_a_crash(out: Path, shards: Path, ranks: int, overrides: tuple[str, ...]) -> None:
    from ecamp_fast.run import launch
    from ecamp_fast.run.rundir import read_metrics, read_records

    arguments = [f"--data={shards}", f"--out={out}", "--recipe=demo", "--no-report"]
    arguments += [f"--set={item}" for item in overrides]

    def half_way() -> bool:
        """Some steps past a checkpoint, so that the crash costs what a crash costs: steps that are gone."""
        run = RunDir(out, writes=False)
        saved = [event["step"] for event in read_records(out / "events.jsonl") if event["event"] == "saved"]
        steps = [record["step"] for record in read_metrics(out)]
        return bool(saved) and saved[-1] >= run.state()["total_steps"] // 2 and steps[-1] > saved[-1]

    def written() -> int:
        """Bytes of metrics."""
        file = out / "metrics.jsonl"
        return file.stat().st_size if file.exists() else 0

    with open_private(out / "train.log", "ab") as log:
        if not launch.kill_when(launch.start(arguments, ranks, log), half_way, PATIENCE, written):
            raise failed(out, "could not be killed half way")
        say("killed with SIGKILL; resuming")
        if code := launch.wait(launch.start([*arguments, "--resume=must"], ranks, log), out):
            raise failed(out, "did not resume", code)


def _judge(out: Path, shards: Path) -> tuple[list[Check], Path]:
    """Measure the trained model on the held-out phantoms and write the report; returns the checks and its path."""
    from ecamp_fast.evidence.judge import judge
    from ecamp_fast.report.build import report_run
    from ecamp_fast.report.facts import save_results
    from ecamp_fast.run.trained import load_trained
    from ecamp_fast.shards.load.read import ShardSet

    model, held_out = load_trained(out), ShardSet(shards)
    found = judge(model, held_out, MEASURED, poolings=(POOLING,))
    checks = [_fell(out, model.recipe), *_claims(found)]
    save_results(out, evidence=found.as_dict(), checks=[check.as_dict() for check in checks])
    return checks, report_run(out, model, held_out, model.recipe, measured=True)


def _fell(out: Path, recipe: "Recipe") -> Check:
    from ecamp_fast.run.rundir import read_metrics

    first, *_, last = read_metrics(out, "val")
    names = [name for name in LOSSES if getattr(recipe.losses, name)]
    found = ", ".join(f"{name} {first[name]:.3f} -> {last[name]:.3f}" for name in names)
    return Check("every loss fell on held-out phantoms", found, all(last[name] < first[name] for name in names))


def _claims(found: "Evidence") -> list[Check]:
    """What three minutes can show. What takes longer to learn is told without a verdict."""
    checks, later = [], []
    if found.images:
        checks.append(found.images.check())
        later.append(found.images.check_with_mean())
    if found.words:
        later += [found.words.check_words(), found.words.check_picture()]
    told = [replace(one, found=f"not judged, it takes longer: `make worth`. {one.found}", passed=None) for one in later]
    return checks + told + [features.check(["random weights"]) for features in found.features.values()]
