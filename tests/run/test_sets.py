"""A run on two sets: it is cut off and goes on to the bit, knows its data again, and what reads runs reads it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.commands.downstream.export import _origin
from ecamp_fast.commands.downstream.visualize import _entities
from ecamp_fast.commands.report import own_data
from ecamp_fast.config import Recipe
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.replay.rebuild import Rebuild
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.export import WEIGHTS
from ecamp_fast.run.rundir import RunDir, read_metrics
from ecamp_fast.run.setup import Job
from ecamp_fast.run.trainer import Trainer
from ecamp_fast.shards.format.manifest import read_manifest
from ecamp_fast.shards.load.mix import open_data

STEPS_AN_EPOCH = 24 / 8  # 20 of one set, 4 of the other
TINY = ("log_every=1", "schedule={warmup_epochs: 1, horizon_epochs: 40}", "checkpoint.every_steps=2")
Make = Callable[..., Trainer]


@pytest.fixture
def make(tiny: Callable[..., Recipe], two_sets: tuple[Path, Path], context: DistContext, tmp_path: Path) -> Make:
    """A Trainer of the run ``tmp_path / name`` up to so many steps.  data: by default the second set with 0.3"""

    def build(name: str, steps: int, *data: str, **options: Any) -> Trainer:
        recipe = tiny(*TINY, f"schedule.epochs={(steps - 0.5) / STEPS_AN_EPOCH}")
        named = data or (str(two_sets[0]), f"{two_sets[1]}:0.3")
        return Trainer(Job(recipe, named, tmp_path / name, **options), context)

    return build


def losses(run: Path) -> list[tuple[float, ...]]:
    return [
        tuple(line[name] for name in ("step", "loss", "mim", "sr", "mlm", "grad_norm")) for line in read_metrics(run)
    ]


def test_a_run_that_is_cut_off_goes_on_to_the_bit(make: Make, two_sets: tuple[Path, Path], tmp_path: Path) -> None:
    whole = make("whole", 7)
    assert (whole.samples, whole.total) == (24, 7) and whole.train() == "complete"
    for steps in (2, 4):
        assert make("broken", steps).train() == "complete"
    assert make("broken", 7, f"{two_sets[1]}:0.3", str(two_sets[0])).train() == "complete"  # in the other order
    assert losses(tmp_path / "whole") == losses(tmp_path / "broken") and len(losses(tmp_path / "whole")) == 7
    assert (tmp_path / "whole" / WEIGHTS).read_bytes() == (tmp_path / "broken" / WEIGHTS).read_bytes()
    held = [[line["loss"] for line in read_metrics(tmp_path / name, "val")][-1] for name in ("whole", "broken")]
    assert held[0] == held[1]


def test_other_data_is_refused_and_what_differs_is_named(
    make: Make, two_sets: tuple[Path, Path], tmp_path: Path
) -> None:
    one, other = map(str, two_sets)
    make("run", 2).train()
    with pytest.raises(DataError, match=r"another shard set: the weight of b was 0\.3, is 0\.5"):
        make("run", 4, one, f"{other}:0.5").train()
    with pytest.raises(DataError, match=r"another shard set: b \([0-9a-f]{12}\) is missing"):
        make("run", 4, one).train()
    make("alone", 2, one).train()
    with pytest.raises(DataError, match=r"another shard set: b \([0-9a-f]{12}\) is new"):
        make("alone", 4).train()
    with pytest.raises(DataError, match=r"another shard set\n"):
        make("alone", 4, other).train()


def test_what_reads_runs_reads_this_one(
    make: Make, two_sets: tuple[Path, Path], context: DistContext, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    make("run", 3).train()
    told = capsys.readouterr()
    assert "24 samples, 3 steps" in told.out + told.err
    assert f"data: {two_sets[1]}: 4 samples an epoch, of 12 (weight 0.3)" in told.out + told.err
    state = RunDir(run, writes=False).state()
    assert sorted(state["data"]) == sorted([str(two_sets[0]), f"{two_sets[1]}:0.3"])
    assert own_data(state, run) == state["data"]
    found = Rebuild(run, context).replay(3)
    assert found.agrees
    with pytest.raises(DataError, match="is not the shard set of"):
        Rebuild(run, context, (str(two_sets[0]),))
    state["data"][0] += "-moved"
    with pytest.raises(ConfigError, match="is not where it was"):
        own_data(state, run)


@pytest.mark.parametrize("folder", ["b:2", "b:0"])
def test_a_folder_whose_name_ends_in_a_number(
    make: Make, two_sets: tuple[Path, Path], context: DistContext, tmp_path: Path, folder: str
) -> None:
    place = tmp_path / folder
    shutil.copytree(two_sets[1], place)
    run = tmp_path / "run"
    make("run", 2, f"{place}:1").train()
    state = RunDir(run, writes=False).state()
    assert state["data"] == f"{place}:1.0"
    samples = read_manifest(place).counts["samples"]
    for recorded in (state["data"], str(place)):  # now, and by versions before
        RunDir(run).set_state(data=recorded)
        found = open_data(own_data({"data": recorded}, run))
        assert found.manifest.digest == state["manifest"] and found.epoch("train") == 12
        assert Rebuild(run, context).shards.manifest.digest == state["manifest"]
        assert _origin(run).data["samples"] == samples
        assert _entities(run, None) is not None
    place.rename(tmp_path / "moved")
    for recorded in (state["data"], str(place)):
        with pytest.raises(ConfigError, match=rf"is not where it was \({place}\)"):
            own_data({"data": recorded}, run)


def test_the_report_shows_held_out_samples_of_all_sets(make: Make, tmp_path: Path) -> None:
    from ecamp_fast.report.build import report_run

    trainer = make("run", 2)
    trainer.train()
    report_run(tmp_path / "run", trainer.engine.module, trainer.shards, trainer.recipe)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "phantom" in page and "bphantom" in page
    assert json.loads((tmp_path / "run" / "results.json").read_text())["images"]
