"""``make knowledge``: where a GLoRIA of phantoms looks, by distilled and by raw reports, and what its maps are worth.

The phantoms are of another seed than those by which anything was chosen. Every part is done once: the same command goes
on where it was cut off. Exit code 1 where something that must hold does not; of what is only told, nothing is claimed.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecamp_fast.attend.map_scores import MapPair, Numbers, judge_findings, mean_of
from ecamp_fast.attend.stored_maps import read_boxed
from ecamp_fast.files import write_json
from ecamp_fast.run.rundir import read_metrics
from ecamp_fast.scores import Estimate, over_seeds
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.strict_json import parse_object

TEXTS = ("distilled", "raw")
SPLIT = "val"
PARTS: dict[str, Any] = {"own": "own", "above usual": ("above", "usual"), "above other": ("above", "other")}
METRICS = ("pointing", "iou", "lift", "side")
PLAIN = "none"
# What pre-training is guided by: maps of the first GLoRIA of distilled reports, or none.
ARMS = (PLAIN, "soft", "window_aligned")
AUROC, SIDE, CORE_MINUTES = 0.75, 0.6, 60


@dataclass(frozen=True)
class Plan:
    """What is run; a folder holds one plan.

    seed        of the phantoms
    gloria      changes of the recipe `phantom` of `attend train`, and ``pretraining`` of the recipe `demo`
    trainings   seeds of GLoRIAs, and ``pretrainings`` of pre-trainings, for each arm
    """

    studies: int = 7500
    size: int = 146
    held_out: float = 0.2
    seed: int = 1702
    gloria: tuple[str, ...] = ()
    trainings: tuple[int, ...] = (23, 24)
    pretraining: tuple[str, ...] = (
        *("schedule.epochs=1", "schedule.horizon_epochs=1", "schedule.warmup_epochs=0.1"),
        *("evaluation.samples=512", "checkpoint.every_steps=250"),
    )
    pretrainings: tuple[int, ...] = (42, 43, 44)
    arms: tuple[str, ...] = ARMS


Call = Callable[[Sequence[str]], tuple[int, str]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/knowledge"))
    return conduct(Plan(), parser.parse_args(arguments).out, ecamp_fast)


def conduct(plan: Plan, out: Path, call: Call) -> int:
    """Run what is missing, write OUT/results.json and print what it says.  returns the exit code"""
    steps = Steps(out, plan, call)
    work(plan, steps)
    figures = gather(plan, out) | {"core_minutes": sum(steps.seconds.values()) / 60}
    write_json(out / "results.json", {"schema": 1, "plan": asdict(plan), **figures})
    lines, code = judge(figures)
    print(*lines, out / "results.json", sep="\n", flush=True)
    return code


def ecamp_fast(arguments: Sequence[str]) -> tuple[int, str]:
    """Exit code and stdout, of a process of its own on one thread."""
    command = [sys.executable, "-m", "ecamp_fast.cli", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    return done.returncode, done.stdout


class Steps:
    """Commands by name, each once; what they printed is in OUT/told/NAME.json, core-seconds in OUT/steps.json."""

    def __init__(self, out: Path, plan: Plan, call: Call) -> None:
        self.out, self._call = out, call
        self._file, own = out / "steps.json", json.loads(json.dumps(asdict(plan)))
        (out / "told").mkdir(parents=True, exist_ok=True)
        self._held: dict[str, Any] = {"plan": own, "seconds": {}}
        if self._file.exists():
            self._held = parse_object(self._file.read_bytes())
        if self._held["plan"] != own:
            sys.exit(f"{out} holds another plan: name another --out, or delete it")

    @property
    def seconds(self) -> dict[str, float]:
        """Of processor time, by step."""
        return dict(self._held["seconds"])

    def __call__(self, name: str, *arguments: object) -> None:
        if name in self._held["seconds"]:
            return
        print(f"{name}", file=sys.stderr, flush=True)
        before = os.times()
        code, told = self._call([*map(str, arguments), "--json"])
        after = os.times()
        if code:
            print(told)
            sys.exit(code)
        last = told.strip().splitlines()[-1]  # libraries print above it
        write_json(self.out / "told" / f"{name}.json", parse_object(last.encode()))
        spent = sum(getattr(after, part) - getattr(before, part) for part in ("children_user", "children_system"))
        self._held["seconds"][name] = round(spent, 1)
        write_json(self._file, self._held)


def work(plan: Plan, steps: Steps) -> None:
    """Every command, in order."""
    out, phantoms = steps.out, steps.out / "phantoms"
    drawn = ("--seed", plan.seed, "--size", plan.size, "--short-side", plan.size, "--holdout", plan.held_out)
    steps("phantoms", "shard", "build", "--from", "phantom", plan.studies, phantoms, *drawn)
    for text, seed in glorias(plan):
        name = f"{text}-{seed}"
        run = out / "gloria" / name
        changes = (f"seed={seed}", f"gloria.text={text}", *plan.gloria)
        steps(f"gloria-{name}", "attend", "train", phantoms, run, "--recipe", "phantom", *_set(changes))
        steps(f"zero-shot-{name}", "zero-shot", run, phantoms, "--split", SPLIT)
        whole = () if (text, seed) == next(glorias(plan)) else ("--split", SPLIT)  # pre-training takes the first one's
        steps(f"apply-{name}", "attend", "apply", run, phantoms, out / "maps" / name, *whole)
        steps(f"score-{name}", "attend", "score", out / "maps" / name, phantoms, "--split", SPLIT)
    text, seed = next(glorias(plan))
    guided = out / "guided"
    steps("guided", "shard", "put", phantoms, guided, "--maps", out / "maps" / f"{text}-{seed}")
    for arm in plan.arms:
        for seed in plan.pretrainings:
            name = f"{arm}-{seed}"
            run = out / "pretraining" / name
            changes = (f"seed={seed}", f"sr.guidance={arm}", *plan.pretraining)
            common = ("--recipe", "demo", "--ds_config", "zero0", "--no-report", "--ranks", 1)
            steps(f"pretraining-{name}", "train", "--data", guided, "--out", run, *common, *_set(changes))
            steps(f"probe-{name}", "probe", run, phantoms, out / "probes" / name, "--no-baselines", "--test", SPLIT)


def glorias(plan: Plan) -> Iterator[tuple[str, int]]:
    """Text and seed of each."""
    yield from ((text, seed) for text in TEXTS for seed in plan.trainings)


def _set(changes: Sequence[str]) -> list[str]:
    return [part for change in changes for part in ("--set", change)]


def gather(plan: Plan, out: Path) -> dict[str, Any]:
    """All figures, from what the commands left in OUT; estimates as dicts of ``value``, ``low``, ``high``."""
    told = {file.stem: parse_object(file.read_bytes()) for file in (out / "told").glob("*.json")}
    shards = ShardSet(out / "phantoms")
    read = {one: read_boxed(out / "maps" / f"{one[0]}-{one[1]}", shards, SPLIT).pairs for one in glorias(plan)}
    auroc = {text: [told[f"zero-shot-{text}-{seed}"]["mean"]["auroc"] for seed in plan.trainings] for text in TEXTS}
    return {"auroc": auroc, **compare_maps(read, plan.trainings), "pretraining": _pretraining(plan, out, told)}


def compare_maps(read: Mapping[tuple[str, int], Sequence[MapPair]], seeds: Sequence[int]) -> dict[str, Any]:
    """Scores of one-sided findings, over the maps that all GLoRIAs have: of each text, and the first less the second.

    read: of each text and seed   returns ``pairs``, ``maps`` by text and metric, ``difference`` by metric
    """
    common = set.intersection(*({pair[:2] for pair in pairs} for pairs in read.values()))
    found = {one: _one_sided([pair for pair in pairs if pair[:2] in common]) for one, pairs in read.items()}
    rows = {text: [found[text, seed] for seed in seeds] for text in TEXTS}
    maps = {text: {metric: _parts([one[metric] for one in rows[text]]) for metric in METRICS} for text in TEXTS}
    pairs = list(zip(*rows.values(), strict=True))
    gaps = {
        metric: _parts([{key: a[metric][key] - b[metric][key] for key in PARTS.values()} for a, b in pairs])
        for metric in METRICS
    }
    return {"pairs": len(common), "maps": maps, "difference": gaps}


def _parts(seeds: Sequence[Mapping[Any, np.ndarray]]) -> dict[str, dict[str, float]]:
    """Numbers of one score by training, over trainings."""
    return {name: _over([one[key] for one in seeds]) for name, key in PARTS.items()}


def _one_sided(pairs: Sequence[MapPair]) -> Numbers:
    found = [one.numbers for one in judge_findings(pairs).values() if one.one_sided]
    if not found:
        sys.exit("no finding is one-sided: draw more phantoms")
    return mean_of(found)


def _pretraining(plan: Plan, out: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """By arm: AUROC of the probe and held-out error of hidden patches by seed; the AUROC above that of no guidance."""
    found: dict[str, Any] = {}
    draws = {}
    for arm in plan.arms:
        names = [f"{arm}-{seed}" for seed in plan.pretrainings]
        draws[arm] = np.array([told[f"probe-{name}"]["extra"]["resampled"] for name in names], np.float64)
        errors = [read_metrics(out / "pretraining" / name, "val")[-1]["mim"] for name in names]
        found[arm] = {"auroc": [float(one) for one in draws[arm][:, 0]], "mim": errors}
        found[arm]["above none"] = None if arm == PLAIN else _over(list(draws[arm] - draws[PLAIN]))
    return found


def _over(rows: Sequence[np.ndarray]) -> dict[str, float]:
    return over_seeds(np.stack(rows)).as_dict()


def judge(figures: Mapping[str, Any]) -> tuple[list[str], int]:
    """Lines to print, and 1 where something that must hold does not, else 0."""
    lines = [*_of_maps(figures), *_of_pretraining(figures)]
    marks = {None: "--  ", True: "OK  ", False: "NOT THERE"}
    told = [f"{marks[holds]} {text}" for holds, text in lines]
    told.append(
        f"Maps: {figures['pairs']} of images with boxes, one-sided findings. Intervals: 95 % over patients and seeds; "
        "of prompts over patients. Of what has no verdict nothing is claimed."
    )
    return told, int(any(holds is False for holds, _ in lines))


def _of_maps(figures: Mapping[str, Any]) -> Iterator[tuple[bool | None, str]]:
    for text in TEXTS:
        needed = text == TEXTS[0]
        for one in figures["auroc"][text]:
            yield one["low"] > AUROC if needed else None, f"{text}: AUROC of prompts {_told(one)}, aim {AUROC}"
        scores = figures["maps"][text]
        above = scores["lift"]["above other"]
        what = f"{text}: share in the box above another patient's map, as multiples of a flat map's"
        yield above["low"] > 0 if needed else None, f"{what}: {_told(above, '+')}"
        yield None, f"{text}: right side {_told(scores['side']['own'])}, hoped for {SIDE}"
        for metric, one in scores.items():
            beside = ", ".join(f"{name} {_told(one[name], '+')}" for name in ("above usual", "above other"))
            yield None, f"{text}: {metric} {_told(one['own'])}, {beside}"
    for metric, one in figures["difference"].items():
        both = f"{_told(one['own'], '+')}, above other {_told(one['above other'], '+')}"
        yield None, f"distilled less raw: {metric} {both}"


def _of_pretraining(figures: Mapping[str, Any]) -> Iterator[tuple[bool | None, str]]:
    for arm, one in figures["pretraining"].items():
        each = " ".join(f"{value:.3f}" for value in one["auroc"])
        above = f", above {PLAIN} {_told(one['above none'], '+')}" if one["above none"] else ""
        errors = " ".join(f"{value:.4f}" for value in one["mim"])
        yield None, f"pre-training, guidance {arm}: probe AUROC {each}{above}; error of hidden patches {errors}"
    yield None, f"core-minutes {figures['core_minutes']:.1f}, aim at most {CORE_MINUTES}"


def _told(one: Mapping[str, float], sign: str = "") -> str:
    found = Estimate(**one)
    return f"{found.value:{sign}.3f} ({found.low:{sign}.3f} to {found.high:{sign}.3f})"


if __name__ == "__main__":
    sys.exit(main())
