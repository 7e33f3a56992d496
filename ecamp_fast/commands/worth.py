"""``ecamp-fast worth``: what a model learns from reports, against opponents that learned less or nothing."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecamp_fast.commands.trainings import Training, core_minutes, train_all
from ecamp_fast.commands.verdict import conclude, say
from ecamp_fast.errors import ConfigError
from ecamp_fast.evidence.check import Check
from ecamp_fast.files import require_folder
from ecamp_fast.machine import available_cores
from ecamp_fast.usage import options

if TYPE_CHECKING:
    from ecamp_fast.config import Recipe
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
@options.out_option("Phantoms and runs.", default=Path("runs/worth"))
@click.option(
    "--studies", default=STUDIES, show_default=True, type=click.IntRange(300), help="Phantom studies to draw."
)
@options.seed_option("Of first weights, order and masks.")
@options.set_option()
@options.json_option()
def command(out: Path, studies: int, seed: int, overrides: tuple[str, ...], as_json: bool) -> None:
    """Train the recipe `worth` on phantoms, with reports and without, and judge the first on patients it never saw.

    Half an hour on two cores, each run on one of them; the same command goes on where it was cut off.

    \b
    Example:
      ecamp-fast worth --seed 43
    """
    from ecamp_fast.config import load_recipe

    began = time.perf_counter()
    recipe = load_recipe("worth", [f"seed={seed}", *overrides])
    if recipe.seed != seed:
        raise ConfigError("a run is filed by its seed", "pass --seed instead of --set seed=")
    if not (recipe.losses.mlm and (recipe.losses.mim or recipe.losses.sr)):
        raise ConfigError("words and images are both judged", "leave losses.mlm and losses.mim on")
    require_folder(out)
    shards, home = out / "phantoms", out / f"seed-{seed}"
    runs = {home / "ecamp": [], home / "image-only": ["losses.mlm=false"]}
    _build(studies, shards, recipe)
    say("pre-training with reports and with images alone, each on one core")
    _train({run: [f"seed={seed}", *overrides, *changes] for run, changes in runs.items()}, shards)
    say("judging on held-out phantoms")
    from ecamp_fast.report.facts import save_results  # torch with it

    found = _judge(home, shards)
    checks = claims(found, core_minutes(home / "ecamp"))
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
        found.images.check_with_mean(),
        found.words.check_words(BELOW_UNIGRAM),
        found.words.check_picture(PICTURE),
        features.check(list(features.difference), AUROC),
    ]


def _build(studies: int, shards: Path, recipe: "Recipe") -> None:
    from ecamp_fast.shards.builder.build import Options, build_phantoms
    from ecamp_fast.shards.describe.rules import read_by_other_rules
    from ecamp_fast.shards.format.manifest import MANIFEST, read_manifest

    size = recipe.image.phantom_size
    if not (shards / MANIFEST).exists():
        say(f"drawing {studies} phantom studies and building their shards")
        build_phantoms(studies, shards, size=size, options=Options(holdout=HELD_OUT))
        return
    manifest = read_manifest(shards)
    for name, value in {"kind": "phantom", "studies": studies, "size": size, "holdout": HELD_OUT}.items():
        if (found := manifest.source.get(name)) != value:
            raise ConfigError(f"{shards} is another set: its {name} is {found}, not {value}", "choose another --out")
    if read_by_other_rules(manifest):
        raise ConfigError(f"the reports of {shards} were read by the rules of another version", f"delete {shards}")


def _train(runs: dict[Path, list[str]], shards: Path) -> None:
    """Train all runs, as many at once as there are cores, and note the core-minutes each took."""
    trainings = {run: Training("worth", tuple(overrides), shards) for run, overrides in runs.items()}
    train_all(trainings, available_cores())


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
