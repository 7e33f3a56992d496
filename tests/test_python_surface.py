"""What a notebook imports from ``ecamp_fast``: exactly what docs/python.md documents, typed, and nothing before it is
asked for.
"""

import ast
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
import typing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ecamp_fast
from ecamp_fast import pretraining
from ecamp_fast.errors import ConfigError, DataError
from ecamp_fast.pretraining import Pretrained, pretrain
from ecamp_fast.run.rundir import RunDir

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
SOURCE = ast.parse((ROOT / "ecamp_fast" / "__init__.py").read_text(encoding="utf-8"))
SETTINGS = ("model.text={width: 12, depth: 2, heads: 3, ffn: 20, dropout: 0.0}", "batch={total: 4, micro: 4}")
SETTINGS += ("image.high_size=64", "image.low_size=32", "text.max_tokens=24", "log_every=1")
SETTINGS += ("model.vision={width: 16, depth: 2, heads: 2, patch: 8}", "model.decoder={width: 8, depth: 1, heads: 2}")


def documented() -> dict[str, str]:
    """Name -> signature, of every section of the page that is no introduction."""
    return dict(re.findall(r"^## (\w+)\n\n```text\n(.*?)\n```$", PAGE, re.MULTILINE))


def signature(name: str) -> str:
    """As the page writes it: types without their modules, functions by their names."""
    value = getattr(ecamp_fast, name)
    if name == "Recipe":  # its keys are those of the recipe files
        return name
    found = inspect.signature(value)
    shown = [one.replace(default=...) if inspect.isfunction(one.default) else one for one in found.parameters.values()]
    text = str(found.replace(parameters=shown)).replace("<built-in function print>", "print").replace("Ellipsis", "...")
    text = re.sub(r"collections\.abc\.Callable\[\[dict\[str, typing\.Any\]\], None\]", "Note", text)
    return name + re.sub(r"'(\w+)'(?= [|=,)]|$)|(?:\w+\.)+(?=[A-Za-z])", lambda hit: hit[1] or "", text)


def test_the_surface_is_exactly_what_is_documented() -> None:
    sections = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert sorted(sections) == sorted(ecamp_fast.__all__) == sorted(documented())
    assert documented() == {name: signature(name) for name in documented()}
    public = {name for name in dir(ecamp_fast) if not name.startswith("_")}
    inside = {name for name in public if isinstance(getattr(ecamp_fast, name), ModuleType)}
    assert public - inside == {*ecamp_fast.__all__, "Any", "Path", "import_module", "TYPE_CHECKING"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ecamp_fast.nothing


def test_editors_see_what_python_finds() -> None:
    (block,) = [node for node in SOURCE.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == ecamp_fast._HOMES and set(seen) == set(ecamp_fast.__all__)


@pytest.mark.parametrize("name", sorted(ecamp_fast.__all__))
def test_all_of_it_is_typed_and_says_what_it_is(name: str) -> None:
    value = getattr(ecamp_fast, name)
    assert inspect.getdoc(value)
    for one in (value, *vars(value).values()) if inspect.isclass(value) else (value,):
        if not inspect.isfunction(one) or (one.__name__.startswith("_") and one.__name__ != "__init__"):
            continue
        given = inspect.signature(one)
        names = [parameter for parameter in given.parameters if parameter not in ("self", "cls")]
        assert given.return_annotation is not inspect.Signature.empty, one
        assert set(names) <= set(one.__annotations__), one
        typing.get_type_hints(one)


IMPORTS = """
import sys, time
sys.modules["torch"] = None
began = time.perf_counter()
import ecamp_fast
took = time.perf_counter() - began
assert {"load", "Recipe", "pretrain"} <= set(dir(ecamp_fast))
heavy = {"numpy", "pydantic", "click", "yaml"} & set(sys.modules)
from ecamp_fast import Recipe, ShardSet, load_recipe, pretrain
assert load_recipe("demo").batch.total > 0 and not heavy, heavy
from ecamp_fast import train
assert not callable(train) and callable(train.main)
print(took)
"""


def test_it_takes_milliseconds_and_needs_no_torch() -> None:
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        times.append(float(done.stdout))
    assert min(times) < 0.05


def test_a_call_that_cannot_be_meant_raises_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'demo'") as raised:
        pretrain("dmo", out=tmp_path / "run", say=None)
    assert "name one of" in raised.value.hint
    with pytest.raises(DataError, match="nothing"):
        pretrain("demo", tmp_path / "nothing", tmp_path / "run", say=None)
    assert not (tmp_path / "run").exists()


SILENT = ("log_every=1000", "evaluation.every_steps=2", "schedule.epochs=120", "schedule.horizon_epochs=120")
LISTENS = """
import json, os, signal, sys
from ecamp_fast import pretrain

def say(line):
    if line.startswith("held out, step 2"):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    data, out, overrides = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    pretrain("demo", data, out, overrides=overrides, ranks=1, report=False, say=say)
"""


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ecamp_fast.shards.builder.build import Options, build_phantoms

    out = tmp_path_factory.mktemp("phantoms") / "set"
    build_phantoms(24, out, size=64, options=Options(workers=1, shard_size=12, vocab_size=300))
    return out


@pytest.mark.slow
def test_a_run_whose_listener_is_gone_saves(small_set: Path, tmp_path: Path) -> None:
    """Its next line of training comes after the pipe has broken, and before the save."""
    run, changes = RunDir(tmp_path / "run", writes=False), [*(one for one in SETTINGS if one != "log_every=1"), *SILENT]
    command = [sys.executable, "-c", LISTENS, str(small_set), str(run.path), json.dumps(changes)]
    assert subprocess.run(command, cwd=ROOT, timeout=120).returncode == -signal.SIGKILL
    until = time.monotonic() + 60
    while run.state()["status"] == "running" and time.monotonic() < until:
        time.sleep(0.1)
    state = run.state()
    assert state["status"] == "stopped" and 2 <= state["step"] < state["total_steps"], state
    assert (run.path / "checkpoints" / f"step-{state['step']:08d}").is_dir()


def test_what_say_raises_comes_after_the_end_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "python"
    command.write_text(
        "#!/bin/sh\ntrap 'for n in 1 2 3; do echo line >&2; sleep 0.1; done; touch $0.saved; exit 75' TERM\n"
        "echo begun >&2\nwhile :; do sleep 0.05; done\n"
    )
    command.chmod(0o700)
    monkeypatch.setattr(pretraining.sys, "executable", str(command))
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pretrain("demo", out=tmp_path / "run", say=say)
    assert said == ["begun"] and (tmp_path / "python.saved").exists()


def test_a_word_that_stands_alone_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluated: list[Any]) -> None:
    given: list[str] = []
    monkeypatch.setattr(pretraining, "_run", lambda arguments, *_: (given.extend(arguments), (2, []))[1])
    with pytest.raises(ConfigError):
        pretrain("demo", Path("set"), overrides="seed=1", allow_change="loader.threads")
    assert {"--data=set", "--set=seed=1", "--allow-change=loader.threads"} < set(given) and len(given) == 7
    assert ecamp_fast.load_recipe("demo", "seed=7").seed == 7
    ecamp_fast.evaluate("run", "set", classes="edema")
    assert evaluated[0][0][3].names == ("edema",)


@pytest.mark.slow
@pytest.mark.parametrize("compared", [False, pytest.param(True, marks=pytest.mark.complete)])
def test_a_run_is_interrupted_and_the_same_call_goes_on(small_set: Path, tmp_path: Path, compared: bool) -> None:
    """compared: with one that was not interrupted"""
    recipe = ecamp_fast.load_recipe("demo", [*SETTINGS, "schedule.epochs=12", "schedule.horizon_epochs=12"])

    def run(name: str, say: Callable[[str], None] | None = None) -> Pretrained:
        return pretrain(recipe, small_set, tmp_path / name, ranks=1, report=False, say=say)

    told: list[str] = []

    def interrupt(line: str) -> None:
        told.append(line)
        if [one.startswith("step ") for one in told] == [False] * (len(told) - 1) + [True]:  # the first of them
            os.kill(os.getpid(), signal.SIGINT)

    first = run("run", interrupt)
    assert first.status == "stopped" and 0 < first.step < first.total_steps and first.path == tmp_path / "run"
    again = run("run")
    assert again.status == "complete" and again.step == again.total_steps == len(again.metrics)
    assert again.held_out[-1]["step"] == again.step
    if not compared:
        return
    whole = run("other")
    assert [line["loss"] for line in again.metrics] == [line["loss"] for line in whole.metrics]
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("run", "other")]
    assert weights[0] == weights[1]


def test_iterating_a_loader_is_one_pass(tmp_path: Path) -> None:
    from ecamp_fast.shards.builder.build import Options, build_phantoms

    build_phantoms(14, tmp_path / "set", size=64, options=Options(workers=1, shard_size=7, vocab_size=300))
    shards, recipe = ecamp_fast.ShardSet(tmp_path / "set"), ecamp_fast.load_recipe("demo", SETTINGS)
    count = shards.count("train")
    loader = ecamp_fast.Loader(shards, "train", recipe)
    steps = -(-count // 4)
    for _ in range(2):
        keys = [batch.keys.tolist() for batch in loader]
        assert keys == [batch.keys.tolist() for batch in loader.batches(0, steps)] and len(keys) == steps
    ordered = [batch.samples.tolist() for batch in ecamp_fast.Loader(shards, "train", recipe, train=False)]
    assert [number for batch in ordered for number in batch] == list(range(count))


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the probe is asked for, which then does nothing."""
    from ecamp_fast.downstream import evaluation

    asked: list[Any] = []
    monkeypatch.setattr(evaluation, "probe_encoder", lambda *given, **named: asked.append((given, named)))
    monkeypatch.setattr(evaluation, "require_set_at", lambda path: None)
    monkeypatch.setattr(evaluation, "ShardSet", type("ShardSet", (), {"__init__": lambda self, path: None}))
    return asked


def test_an_evaluation_is_the_probe(evaluated: list[Any], tmp_path: Path) -> None:
    from ecamp_fast.downstream import evaluation

    asked = evaluated
    ecamp_fast.evaluate(Path("run"), "set", classes=["edema"], percent=10, seed=3, pooling=2, baselines=False)
    encoder, shards, out, options = asked[0][0]
    assert encoder == "run" and isinstance(shards, evaluation.ShardSet) and not out.exists()
    assert (options.names, options.pooling, options.baselines) == (("edema",), 2, False)
    assert (options.subset.percent, options.subset.seed) == (10, 3)
    ecamp_fast.evaluate("run", "set", tmp_path)
    assert asked[1][0][2] == tmp_path
