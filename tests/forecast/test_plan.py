"""``train --dry-run``: it does nothing, refuses what a start refuses, and its figures are those of a run."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from ecamp_fast import cli
from ecamp_fast.bench.data.synthetic import synthetic_batch, text_lengths
from ecamp_fast.commands import train
from ecamp_fast.config import load_recipe
from ecamp_fast.doctor.recipe import meta_model
from ecamp_fast.errors import DataError
from ecamp_fast.forecast import disk, hours, switched
from ecamp_fast.forecast.dataset import PHANTOM_TOKENS, PHANTOM_VOCABULARY, DataFacts, facts_of
from ecamp_fast.forecast.memory import memory_of
from ecamp_fast.forecast.page import describe, size
from ecamp_fast.model.compile import recompute_blocks
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.run import launch
from ecamp_fast.run.auto_batch import _saved
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.rundir import RunDir
from ecamp_fast.run.setup import Job
from ecamp_fast.run.trainer import Trainer
from ecamp_fast.shards.builder.build import build_phantoms
from ecamp_fast.shards.builder.plan import DEFAULTS, make_plan
from ecamp_fast.shards.builder.resume import train_tokenizer
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.shards.sources.phantom import PhantomSource
from ecamp_fast.train import PHANTOM_STUDIES, PHANTOM_TRAIN

SMALL = (
    *("image.high_size=64", "image.low_size=32", "text.max_tokens=64", "model.vision={width: 48, depth: 1, heads: 3}"),
    *("model.vision.patch=8", "model.decoder={width: 48, depth: 1, heads: 2}", "batch={total: 8, micro: 4}"),
    *("model.text={width: 48, depth: 1, heads: 2, ffn: 64, dropout: 0.0}", "schedule.epochs=0.6"),
    *("checkpoint.every_steps=2", "loader.threads=1"),
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "set"
    build_phantoms(40, out, size=73)
    return out


def tree(folder: Path) -> dict[str, tuple[int, ...]]:
    """Every folder below, and every file with what changes when it is written to.

    Of folders the name alone: whether RUN can be written is tried with a file that is gone at once.
    """
    return {
        str(path): (state.st_size, state.st_mtime_ns, state.st_ino) if path.is_file() else ()
        for path in sorted(folder.rglob("*"))
        for state in [path.lstat()]
    }


def arguments(*changes: str, **options: object) -> list[str]:
    keys = {change.partition("=")[0] for change in changes if changes.count(change) == 1}
    kept = [change for change in SMALL if change.partition("=")[0] not in keys]
    sets = [word for change in (*kept, *changes) for word in ("--set", change)]
    named = {"--recipe": "demo", "--ranks": 1} | {f"--{name}": value for name, value in options.items()}
    return ["train", *(str(word) for pair in named.items() for word in pair), *sets]


def planned(*changes: str, **options: object) -> dict[str, Any]:
    asked = [*arguments(*changes, **options)[1:], "--dry-run", "--json"]
    done = CliRunner().invoke(train.command, asked, catch_exceptions=False)
    return json.loads(done.stdout)


@pytest.fixture(autouse=True)
def _no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "start", lambda *_, **__: pytest.fail("a launcher was started"))


def test_it_writes_nothing_and_needs_no_folder(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("home", "cache", "work"):
        (tmp_path / name).mkdir()
    environment = os.environ | {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    environment |= {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    before = tree(tmp_path), tree(shards)
    command = [sys.executable, "-m", "ecamp_fast.cli", *arguments(data=shards), "--dry-run"]
    done = subprocess.run(command, cwd=tmp_path / "work", env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    long = [line for line in done.stdout.splitlines() if len(line) > 80 and str(shards) not in line]
    assert "Nothing was written" in done.stdout and "\x1b" not in done.stdout and not long
    monkeypatch.chdir(tmp_path / "work")
    drawn = CliRunner().invoke(train.command, ["--dry-run", "--ranks", "1"], catch_exceptions=False)
    assert "runs/phantoms-demo/phantoms, drawn by the run" in drawn.stdout
    assert (tree(tmp_path), tree(shards)) == before


def test_bytes_steps_and_resuming_are_those_of_a_run(shards: Path, tmp_path: Path, context: DistContext) -> None:
    out = tmp_path / "run"
    plan = planned(data=shards, out=out)
    assert not plan["run"]["exists"] and plan["run"]["from_step"] == 0
    trainer = Trainer(Job(load_recipe("demo", SMALL), shards, out), context)
    assert trainer.train() == "complete"
    state = RunDir(out).state()
    assert plan["length"]["steps"] == state["total_steps"] == plan["length"]["left"] > 2
    assert plan["length"]["accumulation"] == trainer.optimizer_step.accumulation
    assert plan["deepspeed"]["config"] == trainer.ds_config
    kept = list((out / "checkpoints").iterdir())
    assert plan["disk"]["kept"] == len(kept)
    for one in kept:
        assert weight(one) == pytest.approx(plan["disk"]["checkpoint"], rel=0.05)
    assert weight(out / "checkpoints") == pytest.approx(plan["disk"]["checkpoints"], rel=0.05)
    assert weight(out / "weights.safetensors") == pytest.approx(plan["disk"]["weights"], rel=0.05)
    parameters = sum(parameter.numel() for parameter in trainer.engine.module.parameters())
    assert plan["model"] == {"parameters": parameters, "tensors": len(list(trainer.engine.module.parameters()))}

    again, before = planned(data=shards, out=out), tree(out)
    assert again["run"]["from_step"] == plan["length"]["steps"] and again["length"]["left"] == 0
    assert again["run"]["status"] == "complete" and again["time"]["hours"] == [0, 0]
    more = planned("schedule.epochs=1.2", data=shards, out=out)
    assert (
        more["time"]["kind"] == "measured"
        and more["time"]["hours"][0] > 0
        and "metrics.jsonl" in more["time"]["source"]
    )
    rate = more["length"]["left"] * 8 / more["time"]["hours"][0] / 3600
    assert rate == pytest.approx(more["time"]["images_per_second"][0])
    assert planned(data=shards, out=out, resume="never")["run"] == again["run"] | {
        "from_step": 0, "checkpoint": None, "aside": True,
    }  # fmt: skip
    assert tree(out) == before


def weight(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


REFUSED = {
    "a key that is none": (("optim.lrr=1",), {}, 2),
    "a key twice": (("seed=1", "seed=2"), {}, 2),
    "ranks that do not divide the batch": ((), {"ranks": 3}, 2),
    "no DeepSpeed JSON": ((), {"ds_config": "zero3"}, 2),
    "no data": ((), {"data": "nowhere"}, 3),
    "an address of nobody": ((), {"data": "ftp://host/set"}, 8),
    "first weights that are not there": (("init_from=none.safetensors",), {}, 3),
    "no checkpoint": ((), {"resume": "no/where"}, 3),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_start_refuses_it_refuses_with_the_same_words(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    changes, options, code = REFUSED[name]
    told = []
    for more in ((), ("--dry-run",)):
        with pytest.raises(SystemExit) as left:
            cli.main([*arguments(*changes, **options), *more])
        told.append((left.value.code, capsys.readouterr().err))
    assert told[0] == told[1] and told[0][0] == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("stage", "precision"), [(0, "fp32"), (2, "fp32"), (1, "bf16"), (2, "bf16")])
def test_states_are_what_deepspeed_holds(
    stage: int, precision: str, shards: Path, context: DistContext, tmp_path: Path
) -> None:
    recipe = load_recipe("demo", [*SMALL, f"precision={precision}", "schedule.epochs=0.05"])
    source = tmp_path / "ds.json"
    source.write_text(json.dumps({"zero_optimization": {"stage": stage}, "zero_allow_untested_optimizer": True}))
    trainer = Trainer(Job(recipe, shards, tmp_path / "run", source), context)
    trainer.train()
    parts = planned(f"precision={precision}", data=shards, ds_config=source)["memory"]["parts"]
    engine = trainer.engine
    assert parts["weights"] == sum(weight.nbytes for weight in engine.module.parameters())
    inner = getattr(engine.optimizer, "optimizer", engine.optimizer)
    moments = [value for state in inner.state.values() for name, value in state.items() if name != "step"]
    assert parts["moments"] == pytest.approx(sum(moment.nbytes for moment in moments), rel=0.02)  # padded, to 16 bytes
    masters = [weight for group in inner.param_groups for weight in group["params"]]
    own = {weight.data_ptr() for weight in engine.module.parameters()}
    held = sum(weight.nbytes for weight in masters if weight.data_ptr() not in own)
    assert parts["masters"] == pytest.approx(held, rel=0.02)


@pytest.mark.parametrize("changes", [(), ("precision=bf16",), ("activations=recompute",), ("losses.align=true",)])
def test_activations_are_what_is_kept_when_it_is_computed(changes: tuple[str, ...]) -> None:
    recipe = load_recipe("demo", [*SMALL, "model.vision.depth=3", *changes])
    found = memory_of(meta_model(recipe, 500), recipe, 40.0, 2, 1)
    model = Ecamp(recipe, 500).to(torch.bfloat16 if recipe.precision == "bf16" else torch.float32)
    if recipe.activations == "recompute":
        recompute_blocks(model)
    batch = synthetic_batch(recipe, 500, text_lengths(8, 40.0, 0.4, 64))
    assert found["once"] + 8 * found["sample"] == pytest.approx(_saved(model, batch), rel=0.1)


def test_phantoms_are_known_before_they_are_drawn() -> None:
    plan = make_plan(PhantomSource(PHANTOM_STUDIES, 42, 146), DEFAULTS)
    counted = {split: sum(len(u.records) for u in plan.units if u.split == split) for split in ("train", "val")}
    assert counted == {"train": PHANTOM_TRAIN, "val": PHANTOM_STUDIES - PHANTOM_TRAIN}
    assert train_tokenizer(plan, DEFAULTS.vocab_size).vocab_size == PHANTOM_VOCABULARY


def test_phantoms_weigh_what_was_forecast(shards: Path) -> None:
    drawn = facts_of(load_recipe("demo", SMALL), (), Path("nowhere"))
    held = ShardSet(shards).manifest
    assert drawn.bytes / PHANTOM_STUDIES == pytest.approx(sum(s.bytes for s in held.shards) / 40, rel=0.15)
    assert held.text["tokens_mean"] == pytest.approx(PHANTOM_TOKENS, rel=0.2)


def test_where_values_are_from(shards: Path, tmp_path: Path) -> None:
    plan = planned("optim.lr=2e-3", data=shards, out=tmp_path / "run")
    origins = {row["key"]: (row["value"], row["origin"]) for row in plan["recipe"]}
    assert origins["optim.lr"] == (2e-3, "--set optim.lr=2e-3")
    assert origins["optim.eps"] == (1e-8, "default")
    assert origins["precision"] == ("fp32", "demo.yaml, line 6")
    keys = {row["key"]: (row["value"], row["origin"]) for row in plan["deepspeed"]["keys"]}
    assert keys["train_batch_size"] == (8, 'zero2.json, "auto": batch.total')
    assert keys["zero_optimization.stage"] == (2, "zero2.json")
    assert keys["zero_optimization.compute_grad_norm"] == (False, "ecamp-fast")
    auto = planned("batch.micro=auto", data=shards, out=tmp_path / "run")
    (micro,) = (row for row in auto["recipe"] if row["key"] == "batch.micro")
    assert micro["value"] == auto["length"]["micro"] == 8 and "by this forecast" in micro["origin"]


WHOLE = DataFacts("set", False, 10, 10, 2, 100, 40.0, 1000, False, 10, 10, 0, "d")


@pytest.mark.parametrize(
    ("data", "changes", "words"),
    [
        ({}, (), None),
        ({"maps": 0}, (), "guidance by attention maps: 0 of 10"),
        ({"maps": 4}, (), "guidance by attention maps, in part: 4 of 10"),
        ({"maps": 0}, ("sr.maps=centre",), None),
        ({"maps": 0}, ("losses.sr=false",), "super-resolution: losses.sr: false"),
        ({"distilled": 0}, (), "context distillation: 0 of 10"),
        ({"distilled": 0}, ("text.distilled_probability=0",), None),
        ({"distilled": 0, "tokens": 0.0}, ("losses.mlm=false",), "masked language modelling: losses.mlm: false"),
        ({"distilled": 0}, ("losses.align=true",), "images against sentences: no training sample"),
        ({"val": 0}, (), "held-out losses: the set has no split val"),
        ({"lost": 3}, (), "3 training samples: their files are damaged"),
    ],
)
def test_what_is_off_for_want_of_data(
    data: dict[str, Any], changes: tuple[str, ...], words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switched, "_by_machine", lambda *_: [])
    told = switched.switched_off(load_recipe("paper", changes), replace(WHOLE, **data), {})
    rows = [f"{row['what']}: {row['why']}" for row in told]
    assert any(row.startswith(words) for row in rows) if words else rows == []


def test_hours_say_what_they_are_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    paper = load_recipe("paper")
    found = hours.hours_of(paper, tmp_path / "run", 4, 5000, (30000, 110.0), 2)
    assert (found["kind"], found["hours"]) == ("unknown", None) and set(found["elsewhere"]) == {"A100", "H100"}
    low, high = found["elsewhere"]["A100"]
    assert 1 < low < high < 20  # the paper took some 20 hours for 5,290 steps
    half = hours.hours_of(paper, tmp_path / "run", 8, 5000, (30000, 110.0), 2)["elsewhere"]["A100"]
    assert half[1] == pytest.approx(high / 2, rel=0.1)
    assert hours.hours_of(load_recipe("demo"), tmp_path / "run", 1, 9, (800, 90.0), 2)["elsewhere"] == {}


WIDER = "model.vision.width=192"


@pytest.mark.parametrize(
    ("command", "changes", "kind"),
    [
        ("--recipe demo", (), "measured"),
        ("--recipe=demo --steps 20", ("optim.lr=2e-3", "schedule.epochs=3"), "measured"),
        ("--recipe demo", (WIDER,), "unknown"),
        ("--recipe demo", ("text.max_tokens=32",), "unknown"),
        ("--recipe demo", ("masking.image_ratio=0.25",), "unknown"),
        ("--recipe demo", ("batch.micro=4",), "unknown"),
        (f"--recipe demo --set {WIDER}", (WIDER,), "measured"),
        (f"--recipe demo --set={WIDER}", (), "unknown"),
        ("--recipe demo --set precision=bf16", (), "unknown"),
        ("--recipe some/demo.yaml", (), "unknown"),
        ("--recipe 'demo", (), "unknown"),
        ("", (), "unknown"),
        (None, (), "unknown"),
    ],
)
def test_a_bench_of_this_machine_counts_where_it_measured_the_same(
    command: str | None, changes: tuple[str, ...], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hours, "RESULTS", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = {"schema": 1, "bench": "train", "recipe": "demo", "precision": "fp32", "batch": 8}
    result |= {"feeds": {"shards": {"images_per_second": 40.0}}, "environment": hours.environment()}
    result |= {} if command is None else {"command": f"ecamp-fast bench train {command} --json"}
    (tmp_path / "train-here.json").write_text(json.dumps(result))
    found = hours.hours_of(load_recipe("demo", changes), tmp_path / "run", 1, 900, (800, 90.0), 2)
    assert found["kind"] == kind
    if kind == "measured":
        assert found["hours"] == [900 * 16 / 40 / 3600] * 2


def test_benches_are_those_beside_the_package_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(cli.__file__).parents[1] / "bench" / "results" == hours.RESULTS
    folder = tmp_path / "bench" / "results"
    folder.mkdir(parents=True)
    result = {"schema": 1, "bench": "train", "environment": hours.environment(), "recipe": "demo", "precision": "fp32"}
    result |= {"command": "ecamp-fast bench train --recipe demo", "batch": 8}
    (folder / "train-mine.json").write_text(json.dumps(result | {"feeds": {"memory": {"images_per_second": 4e9}}}))
    read, monkey = [], hours.read_results
    monkeypatch.setattr(hours, "read_results", lambda place: read.append(place) or monkey(place))
    told = []
    for place in (tmp_path, Path(cli.__file__).parents[1]):
        monkeypatch.chdir(place)
        told.append(hours.hours_of(load_recipe("demo"), tmp_path / "run", 1, 9, (800, 90.0), 2))
    assert told[0] == told[1] and set(read) == {hours.RESULTS}


def test_no_room_is_told_with_the_plan(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = disk.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    done = CliRunner().invoke(train.command, [*arguments(data=shards, out=tmp_path / "run")[1:], "--dry-run"])
    assert done.exit_code == 5 and "WOULD FAIL" in done.stdout and "LENGTH" in done.stdout


def units() -> Iterator[tuple[float, str]]:
    yield from ((12, "12 bytes"), (1500, "1.5 kB"), (123456, "123 kB"), (2.5e6, "2.5 MB"), (1.26e11, "126 GB"))


def test_bytes_are_readable() -> None:
    assert [size(count) for count, _ in units()] == [text for _, text in units()]


def test_a_set_without_a_held_out_split_is_trained_on_all_the_same(tmp_path: Path, context: DistContext) -> None:
    build_phantoms(8, tmp_path / "set", size=73, options=replace(DEFAULTS, workers=1, holdout=0.0))
    plan = planned(data=tmp_path / "set", out=tmp_path / "run")
    assert plan["data"]["val"] == 0 and "held-out losses" in [row["what"] for row in plan["off"]]
    trainer = Trainer(Job(load_recipe("demo", SMALL), tmp_path / "set", tmp_path / "run"), context)
    assert trainer.train() == "complete" and trainer.step == plan["length"]["steps"]


KEPT = (
    "checkpoint.keep_best=true",
    "checkpoint.every_steps=10",
    "checkpoint.keep=2",
    "evaluation.every_steps=10",
    "batch={total: 10, micro: 10}",
)


@pytest.mark.parametrize(
    ("changes", "data", "kept"),
    [
        ((), {}, 3),  # the newest and the best
        ((), {"val": 0}, 2),  # nothing is held out, so that none is the best
        (("checkpoint.keep_best=false",), {}, 2),
        (("evaluation.every_steps=null",), {}, 2),  # the last alone is evaluated
        (("checkpoint.keep=3",), {}, 3),  # and all stay
        (("checkpoint.milestones=[1, 2]",), {"val": 0}, 3),
        (("checkpoint.milestones=[1, 2]",), {"val": 0, "epoch": 200}, 2),  # the second is past the end
        (("checkpoint.milestones=[1, 2]",), {"val": 0, "train": 999}, 3),  # an epoch is less than there is
    ],
)
def test_checkpoints_that_stay(changes: tuple[str, ...], data: dict[str, Any], kept: int) -> None:
    recipe = load_recipe("demo", [*_others(KEPT, changes), *changes])
    facts = replace(WHOLE, **{"train": 100, "epoch": 100} | data)
    assert disk._kept(recipe, facts, 30) == kept


def _others(defaults: tuple[str, ...], changes: tuple[str, ...]) -> list[str]:
    """Those that no change has set."""
    keys = {change.partition("=")[0] for change in changes}
    return [one for one in defaults if one.partition("=")[0] not in keys]


def test_phantoms_that_are_to_be_drawn_again_do_not_keep_a_run_from_going_on(
    two_sets: tuple[Path, Path], tmp_path: Path, context: DistContext
) -> None:
    run = tmp_path / "run"
    shutil.copytree(two_sets[0], run / "phantoms")
    assert Trainer(Job(load_recipe("demo", SMALL), run / "phantoms", run), context).train() == "complete"
    known = planned("schedule.epochs=2.4", out=run)
    assert known["run"]["from_step"] > 0 and not known["run"]["unsure"] and not known["data"]["drawn"]
    shutil.rmtree(run / "phantoms")
    plan = planned("schedule.epochs=2.4", out=run)
    assert plan["data"]["drawn"] and plan["run"]["unsure"]
    assert plan["run"]["from_step"] == known["run"]["from_step"]
    assert "when the phantoms are drawn" in " ".join(" ".join(describe(plan)).split())
    checkpoint = run / "checkpoints" / known["run"]["checkpoint"]
    elsewhere = planned("schedule.epochs=2.4", out=tmp_path / "new", resume=checkpoint)
    assert elsewhere["run"]["from_step"] == known["run"]["from_step"] and not elsewhere["run"]["exists"]


def test_several_sets_are_told_by_their_weights_and_a_new_run_is_new(
    two_sets: tuple[Path, Path], tmp_path: Path, context: DistContext
) -> None:
    one, other = map(str, two_sets)
    run = tmp_path / "run"
    assert Trainer(Job(load_recipe("demo", SMALL), (one, f"{other}:0.3"), run), context).train() == "complete"
    (last, *_) = sorted((run / "checkpoints").glob("step-*"), reverse=True)

    def asked(*data: str, out: Path, **options: object) -> tuple[str, int, str]:
        words = [word for place in data for word in ("--data", place)]
        call = [*arguments("schedule.epochs=2", out=out, **options)[1:], *words, "--dry-run"]
        done = CliRunner().invoke(train.command, call)
        return " ".join(done.stdout.split()), done.exit_code, str(done.exception)

    page, code, _ = asked(one, f"{other}:0.3", out=run)
    assert code == 0 and "32 to train on, 24 of an epoch by their weights, 7 held out" in page
    assert "holds a run, complete: goes on from step" in page
    page, code, _ = asked(one, f"{other}:0.3", out=tmp_path / "new", resume=last)
    assert code == 0 and f"is new: goes on from step {int(last.name[-8:])}" in page and str(last) in page
    for data, words in (
        ((one, f"{other}:0.5"), "another shard set: the weight of b was 0.3, is 0.5"),
        ((one,), "another shard set: b ("),
        ((), "another shard set: "),  # phantoms are none of several
    ):
        _, code, fault = asked(*data, out=tmp_path / "new", resume=last)
        assert words in fault, fault
        if data:
            with pytest.raises(DataError) as caught:
                Trainer(Job(load_recipe("demo", SMALL), data, tmp_path / "real", resume=str(last)), context).train()
            assert str(caught.value) == fault
    alone = asked(one, out=tmp_path / "none")[0]
    assert "20 to train on, 4 held out" in alone
