"""``ecamp-fast worth``: what a model learns from reports, against opponents that learned less or nothing."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecamp_fast.commands.verdict import conclude, say
from ecamp_fast.config import load_recipe
from ecamp_fast.errors import ConfigError, EcampError
from ecamp_fast.evidence.check import Check

if TYPE_CHECKING:
    import subprocess

    from ecamp_fast.evidence.judge import Evidence

# What must hold, and what is hoped for: docs/worth.md
BELOW_UNIGRAM = 1.4  # nats a token; hoped for: 1.8
PICTURE = 0.12  # weighted nats a token that another patient's image costs; hoped for: 0.3
AUROC = 0.83  # of the mean-pooled probe; hoped for: 0.87
CORE_MINUTES = 30
HELD_OUT = 0.2
STUDIES = 7500
IMAGE_ONLY = "image-only run"


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/worth"), show_default=True, metavar="FOLDER")
@click.option(
    "--studies", default=STUDIES, show_default=True, type=click.IntRange(300), help="Phantom studies to draw."
)
@click.option(
    "--seed", default=42, show_default=True, type=click.IntRange(0), help="Of first weights, order and masks."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key of the recipe.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def command(out: Path, studies: int, seed: int, overrides: tuple[str, ...], as_json: bool) -> None:
    """Train the recipe `worth` on phantoms, with reports and without, and judge both on patients they never saw.

    Half an hour on two cores, each run on one of them; the same command goes on where it was cut off.
    """
    from ecamp_fast.report.facts import save_results

    began = time.perf_counter()
    losses = load_recipe("worth", overrides).losses
    if not (losses.mlm and (losses.mim or losses.sr)):
        raise ConfigError("words and images are both judged", "leave losses.mlm and losses.mim on")
    shards, home = out / "phantoms", out / f"seed-{seed}"
    runs = {home / "ecamp": [], home / "image-only": ["losses.mlm=false"]}
    _build(studies, shards)
    say("pre-training with reports and with images alone, each on one core")
    _train({run: [f"seed={seed}", *overrides, *changes] for run, changes in runs.items()}, shards)
    say("judging both on held-out phantoms")
    found = _judge(home, shards)
    checks = claims(found, _core_minutes(home / "ecamp"))
    save_results(home / "ecamp", evidence=found.as_dict(), checks=[check.as_dict() for check in checks])
    conclude(checks, {"report": str(_report(home / "ecamp", shards))}, began, as_json)


def claims(found: "Evidence", core_minutes: float) -> list[Check]:
    """What must hold of the recipe ``worth``; ``found`` has an image-only run among its opponents."""
    assert found.images and found.words
    features = found.features[1]
    cost = Check("pre-training", f"{core_minutes:.1f} core-minutes (aim: at most {CORE_MINUTES})", None)
    return [
        cost,
        found.images.check(),
        found.words.check_words(BELOW_UNIGRAM),
        found.words.check_picture(PICTURE),
        features.check(list(features.difference), AUROC),
    ]


def _build(studies: int, shards: Path) -> None:
    from ecamp_fast.shards.builder.build import Options, build_phantoms
    from ecamp_fast.shards.format.manifest import MANIFEST, read_manifest

    if (shards / MANIFEST).exists():
        if (found := read_manifest(shards).counts["studies"]) != studies:
            raise ConfigError(f"{shards} holds {found} studies, not {studies}", "choose another --out")
    else:
        say(f"drawing {studies} phantom studies and building their shards")
        size = load_recipe("worth").image.high_size * 8 // 7
        build_phantoms(studies, shards, size=size, options=Options(holdout=HELD_OUT))


def _train(runs: dict[Path, list[str]], shards: Path) -> None:
    """Train all runs, as many at once as there are cores, and note the core-minutes each took."""
    from ecamp_fast.run import launch

    waiting, cores = list(runs), os.cpu_count() or 1
    while waiting:
        together = {run: _start(run, runs[run], shards) for run in waiting[:cores]}
        waiting = waiting[cores:]
        try:
            for run, process in together.items():
                _wait(run, process)
        finally:  # an interrupt does not reach the ranks, and a failure not the other run
            for process in together.values():
                if process.returncode is None:
                    launch.kill(process)


def _start(run: Path, overrides: list[str], shards: Path) -> "subprocess.Popen[bytes]":
    from ecamp_fast.run import launch

    run.mkdir(parents=True, exist_ok=True)
    arguments = [f"--data={shards}", f"--out={run}", "--recipe=worth", "--ds_config=zero0", "--no-report"]
    arguments += [f"--set={item}" for item in overrides]
    with open(run / "train.log", "ab") as log:
        return launch.start(arguments, 1, log, threads=1)


def _wait(run: Path, process: "subprocess.Popen[bytes]") -> None:
    from ecamp_fast.report.facts import save_results

    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    save_results(run, core_minutes=_core_minutes(run) + (usage.ru_utime + usage.ru_stime) / 60)
    if process.returncode:
        raise EcampError(f"the training in {run} failed", f"its log is {run / 'train.log'}")


def _core_minutes(run: Path) -> float:
    from ecamp_fast.report.facts import read_results

    return float(read_results(run).get("core_minutes", 0.0))


def _judge(home: Path, shards: Path) -> "Evidence":
    from ecamp_fast.evidence.judge import judge
    from ecamp_fast.run.trained import load_trained
    from ecamp_fast.shards.load.read import ShardSet

    model, other = load_trained(home / "ecamp"), load_trained(home / "image-only")
    return judge(model, ShardSet(shards), poolings=(1, 2), encoders={IMAGE_ONLY: other})


def _report(run: Path, shards: Path) -> Path:
    from ecamp_fast.report.build import report_run
    from ecamp_fast.run.trained import load_trained
    from ecamp_fast.shards.load.read import ShardSet

    model = load_trained(run)
    return report_run(run, model, ShardSet(shards), model.recipe, measured=True)
