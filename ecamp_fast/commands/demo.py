"""``ecamp-fast demo``: the whole way on phantoms, with a crash in the middle, and a verdict at the end."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import ConfigError, EcampError

MARKER = "made-by-demo"
PATIENCE = 600.0  # seconds without a line of metrics before a training counts as hung
LOSSES = ("mim", "sr", "mlm")
NEEDED = 0.9  # share of held-out cases whose own image must correlate better than another's
HELD_OUT = 0.5  # share of the phantom patients that is only looked at


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True, metavar="RUN")
@click.option("--studies", default=1500, show_default=True, type=click.IntRange(300), help="Phantom studies to draw.")
@click.option("--ranks", default=2, show_default=True, help="Ranks to train on.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key of the recipe.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def command(out: Path, studies: int, ranks: int, overrides: tuple[str, ...], as_json: bool) -> None:
    """Phantoms -> shards -> pre-train -> crash -> resume -> checks -> report, offline, on CPU or GPU."""
    began = time.perf_counter()
    recipe = load_recipe("demo", overrides)
    _clear(out)
    shards = out / "phantoms"
    _say(f"drawing {studies} phantom studies and building their shards")
    _build(studies, shards, recipe)
    _say(f"pre-training on {ranks} ranks; it will be killed half way")
    _train_with_a_crash(out, shards, ranks, overrides)
    _say("checking the model on held-out phantoms")
    checks, report = _judge(out, shards)
    verdict = {
        "passed": all(check["passed"] for check in checks),
        "checks": checks,
        "report": str(report),
        "seconds": round(time.perf_counter() - began, 1),
    }
    click.echo(json.dumps({"schema": 1, **verdict}) if as_json else _table(verdict))
    sys.exit(0 if verdict["passed"] else 1)


def _clear(out: Path) -> None:
    """Start from nothing, but never delete what another command made."""
    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).exists():
            raise ConfigError(f"{out} is not empty and not a demo's", "choose another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()


def _build(studies: int, shards: Path, recipe: Recipe) -> None:
    from ecamp_fast.shards.builder.build import Options, build_phantoms
    from ecamp_fast.shards.check.verify import verify

    build_phantoms(studies, shards, size=recipe.image.high_size * 8 // 7, options=Options(holdout=HELD_OUT))
    verify(shards)


def _train_with_a_crash(out: Path, shards: Path, ranks: int, overrides: tuple[str, ...]) -> None:
    from ecamp_fast.run import launch
    from ecamp_fast.run.rundir import RunDir, read_metrics, read_records

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

    with open(out / "train.log", "ab") as log:
        if not launch.kill_when(launch.start(arguments, ranks, log), half_way, PATIENCE, written):
            raise _failed(out, "could not be killed half way")
        _say("killed with SIGKILL; resuming")
        if launch.wait(launch.start([*arguments, "--resume=must"], ranks, log), out):
            raise _failed(out, "did not resume")


def _judge(out: Path, shards: Path) -> tuple[list[dict[str, Any]], Path]:
    """Measure the trained model on the held-out phantoms and write the report; returns the checks and its path."""
    from ecamp_fast.report.build import report_run
    from ecamp_fast.report.facts import read_results, save_results
    from ecamp_fast.run.rundir import read_metrics
    from ecamp_fast.run.trained import load_trained
    from ecamp_fast.shards.load.read import ShardSet

    model = load_trained(out)
    held_out = ShardSet(shards)
    first, *_, last = read_metrics(out, "val")
    probe = _probe(model, held_out)
    fell = {
        "name": "all three losses fell on held-out phantoms",
        "found": ", ".join(f"{name} {first[name]:.3f} -> {last[name]:.3f}" for name in LOSSES),
        "passed": all(last[name] < first[name] for name in LOSSES),
    }
    save_results(out, probe=probe.as_dict(), checks=[fell])
    report = report_run(out, model, held_out, model.recipe)  # measures the reconstructions too
    own = read_results(out)["own_versus_other"]
    checks = [
        fell,
        {
            "name": "masked patches look like this patient rather than another",
            "found": f"in {own['share']:.1%} of {own['cases']} cases (needed: {NEEDED:.0%})",
            "passed": own["share"] >= NEEDED,
        },
        {
            "name": "a linear probe beats the same probe on random weights",
            "found": "AUROC {:+.3f}, 95% interval {:+.3f} to {:+.3f}, 5 seeds".format(probe.mean, *probe.interval),
            "passed": probe.better,
        },
    ]
    return checks, report


def _probe(model: Any, shards: Any) -> Any:
    """The linear probe of held-out phantoms' findings, trained features against untrained: a ``Comparison``."""
    import torch

    from ecamp_fast.downstream.features import encode, labelled, untrained
    from ecamp_fast.downstream.probe import compare
    from ecamp_fast.shards.load.loader import Loader

    known = labelled(shards, "val")
    images = torch.cat([b.image for b in Loader(shards, "val", model.recipe, train=False).evaluation()])
    features = encode(model, images)
    return compare(features, lambda seed: encode(untrained(model.recipe, seed), images), known.labels, known.patients)


def _failed(out: Path, what: str) -> EcampError:
    tail = (out / "train.log").read_text(errors="replace").splitlines()[-12:]
    return EcampError(f"the training {what}:\n    " + "\n    ".join(tail), f"the whole log is {out / 'train.log'}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _table(verdict: dict[str, Any]) -> str:
    words = {True: "OK  ", False: "FAIL"}
    lines = [f"{words[check['passed']]}  {check['name']}: {check['found']}" for check in verdict["checks"]]
    return "\n".join([*lines, f"report: {verdict['report']}", f"took {verdict['seconds']} s"])
