"""Options that agree: of every command of the tree, name, value, default, help and example."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ecamp_fast import cli
from ecamp_fast.usage.groups import HelpfulGroup

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = 80
# Names that mean something else from command to command, and so may differ in everything
OF_ITS_OWN = {
    *("--baselines", "--boxes", "--distilled", "--dry-run", "--head", "--images", "--max-tokens", "--pictures"),
    *("--plot", "--profile", "--quick", "--rate", "--repeats", "--samples", "--short-side", "--size", "--timeout"),
    *("--times", "--to", "--tokens", "--tune", "--vocabulary"),
}
# Of these the value is the same, and how many one gets, or from what number on, is each command's own
OF_ITS_OWN_COUNT = {"--batch", "--count", "--out", "--recipe", "--split", "--steps", "--studies"}
# ``bench scaling`` takes several, ``demo`` has two, ``features`` and ``attend apply`` take several splits
EXCEPT = {("--ranks", "ecamp-fast bench scaling"), ("--ranks", "ecamp-fast demo")}
SEVERAL = {("--split", "ecamp-fast features"), ("--split", "ecamp-fast attend apply")}
# A run is of several sets, each with a weight; what looks at one set takes one
SETS = {"SHARDS[:WEIGHT]", "SHARDS"}
HEAVY = {
    *("torch", "transformers", "numpy", "pydantic", "PIL", "yaml", "rich", "deepspeed", "triton", "timm", "scipy"),
    *("matplotlib", "tokenizers", "importlib.metadata", "multiprocessing", "asyncio", "http.client", "safetensors"),
}
SECONDS = 0.1  # of a help; goal 0.08


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


reference = _load("write_reference")
PROGRAMS = reference.programs()
NAMES = [told.name for told in PROGRAMS]


def helps(command: click.Command, *words: str) -> str:
    result = CliRunner(env={"COLUMNS": str(COLUMNS)}).invoke(command, [*words, "--help"], prog_name="ecamp-fast")
    assert result.exit_code == 0, result.output
    return result.output


def disagreements(programs: list[Any]) -> list[str]:
    """Options of one name whose values, defaults or whether they may be repeated differ."""
    found: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for told in programs:
        for option in reference.visible(told):
            name = option.opts[0]
            if name in OF_ITS_OWN or (name, told.name) in EXCEPT:
                continue
            several = (name, told.name.removeprefix("deepspeed ")) in SEVERAL or name == "--data"
            kind = type(option.type).__name__ if name in OF_ITS_OWN_COUNT else str(option.type)
            kind = "Path" if isinstance(option.type, click.Path) else kind
            facts = {"value": (option.metavar, kind), "flag": option.is_flag, "others": option.secondary_opts}
            facts |= {} if name in OF_ITS_OWN_COUNT else {"default": option.get_default(told.context)}
            facts |= {} if several else {"repeated": option.multiple}
            if name == "--data" and option.metavar in SETS:
                facts |= {"value": "SHARDS", "default": None}
            if name == "--out":
                facts["value"] = "RUN or FOLDER" if option.metavar in ("RUN", "FOLDER") else option.metavar
            for fact, value in facts.items():
                found[name, fact][str(value)].append(told.name)
    return [f"{name}: {fact}: {dict(values)}" for (name, fact), values in found.items() if len(values) > 1]


def test_options_of_one_name_agree() -> None:
    assert disagreements(PROGRAMS) == []


def test_a_disagreement_is_noticed() -> None:
    for option in (
        click.Option(["--seed"], default=43, type=click.IntRange(0)),
        click.Option(["--workers"], default=0, type=click.IntRange(1), metavar="N"),
        click.Option(["--ds_config"], default="", metavar="FILE"),
        click.Option(["--json"]),
        click.Option(["--out"], metavar="DIR"),
    ):
        planted = click.Command("planted", params=[option])
        told = reference.Told("ecamp-fast planted", planted, click.Context(planted), 1)
        assert disagreements([*PROGRAMS, told]), option.opts


@pytest.mark.parametrize("told", PROGRAMS, ids=NAMES)
def test_every_option_says_what_it_is_and_shows_its_default(told: Any) -> None:
    for option in reference.visible(told):
        name = f"{told.name} {option.opts[0]}"
        assert (option.help or "").endswith("."), name
        assert type(option.type) not in (click.types.IntParamType, click.types.FloatParamType), f"{name}: no range"
        shown = option.get_help_extra(told.context).get("default")
        default = option.get_default(told.context)
        if option.show_default is False:
            assert "Default" in (option.help or ""), f"{name}: a default that is computed is told"
        elif default not in (None, (), False, click.core.UNSET) and not option.is_flag:  # type: ignore[attr-defined]
            assert shown == str(default), name
        assert "[default" not in (option.help or ""), name


@pytest.mark.parametrize("told", PROGRAMS, ids=NAMES)
def test_every_help_ends_with_one_example_that_parses(
    told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, example = reference.helped(told)
    assert len(example) <= COLUMNS - 4
    if told.name == reference.PROGRAM:
        program, words = "deepspeed ecamp_fast/train.py", shlex.split(example)[2:]
        assert example.startswith(program)
        told.command.make_context("train.py", words)
        return
    assert f"{example} ".startswith(f"{told.name} ")
    called, words = follow(cli.command, shlex.split(example)[1:])
    called.make_context(called.name, words)  # a fault is a UsageError


def test_no_number_is_infinite() -> None:
    for told in PROGRAMS:
        for option in told.command.params:
            if isinstance(option.type, click.FloatRange):
                for value in ("inf", "nan"):
                    with pytest.raises(click.BadParameter):
                        option.type.convert(value, option, None)


def follow(command: click.Command, words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that a line calls, and what is left of the line for it."""
    while isinstance(command, click.Group) and words:
        context = click.Context(command, info_name=command.name)
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    return command, words


def test_an_example_that_does_not_parse_is_noticed() -> None:
    for line in ("shard verify SHARDS --no-such-option", "shard stats", "train --ranks 0", "completion tcsh"):
        called, words = follow(cli.command, line.split())
        with pytest.raises(click.UsageError):
            called.make_context(called.name, words)


def test_the_help_shows_the_example_as_it_is_typed() -> None:
    assert "\n  Example:\n    ecamp-fast shard verify SHARDS\n" in helps(cli.command, "shard", "verify")


@pytest.mark.parametrize(
    "told", [one for one in PROGRAMS if isinstance(one.command, click.Group)], ids=lambda t: t.name
)
def test_summaries_are_whole_sentences(told: Any) -> None:
    assert isinstance(told.command, HelpfulGroup)
    listed = told.command.summaries(told.context)
    assert [name for name, _ in listed] == told.command.list_commands(told.context)
    for name, line in listed:
        assert re.fullmatch(r"[A-Z].*[^.]\.", line) and "..." not in line, (name, line)
    text = " ".join(helps(cli.command, *told.name.split()[1:]).split())
    for name, line in listed:
        assert f"{name} {line}" in text, name


def test_a_usage_fault_is_told_before_any_launcher_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ecamp_fast.run import launch

    monkeypatch.setattr(launch, "start", lambda *_, **__: pytest.fail("a launcher was started"))
    monkeypatch.chdir(tmp_path)
    for words, told in FAULTS.items():
        result = CliRunner().invoke(_Main("ecamp-fast"), ["train", *words.split()])
        assert result.exit_code == 2, (words, result.output)
        assert told in result.output, (words, result.output)
    assert not list(tmp_path.iterdir())


class _Main(click.Command):
    """``ecamp-fast`` as it is called, with its faults told."""

    def main(self, args: Any = None, *_: Any, **__: Any) -> Any:
        cli.main(list(args))


FAULTS = {
    "--resume maybe": "'maybe' is neither auto, must, never nor the path of a checkpoint.",
    "--resume nevr": "Did you mean 'never'?",
    "--recipe papr": "did you mean 'paper'?",
    "--ds_config zero5": "no DeepSpeed JSON 'zero5'",
    "--ds_config zer1": "did you mean 'zero1'",
    "--set optim.lrr=1": "did you mean 'optim.lr'?",
    "--set precision=fp8": "precision",
    "--allow-change optim.lrr": "did you mean 'optim.lr'?",
    "--allow-change nothing.at.all": "no key 'nothing.at.all'",
    "--ranks 0": "0 is not in the range x>=1",
    "--reciep paper": "Did you mean one of: '--recipe'",
}


@pytest.mark.parametrize("words", ["--resume maybe", "--allow-change optim.lrr", "--recipe papr", "--ds_config zer1"])
def test_so_it_is_under_deepspeed_before_anything_is_loaded(words: str, tmp_path: Path) -> None:
    program = (
        "import atexit, sys; from ecamp_fast.train import be_a_rank\n"
        "atexit.register(lambda: print('loaded' if {'torch', 'deepspeed'} & set(sys.modules) else 'light'))\n"
        f"be_a_rank({words.split()})"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    environment |= {"PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and FAULTS[words] in done.stderr, done.stderr
    assert done.stdout == "light\n" and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["optim.lr", "optim.", "optim", "gradient_clipping", "zero_optimization.stage"])
def test_keys_that_may_change_are_known(key: str) -> None:
    from ecamp_fast.config.changes import is_known, known_keys

    known = known_keys()
    assert is_known(key, known) and is_known("optimizer.params.lr", known)
    assert not is_known(f"{key}x" if key[-1] != "." else "optm.", known)


def test_a_former_name_is_taken_and_not_listed() -> None:
    for words in (["doctor"], ["train"], ["bench", "train"], ["attend", "train", "a", "b"]):
        command, rest = follow(cli.command, words)
        for name in ("--ds_config", "--ds-config"):
            context = command.make_context("x", [*rest, name, "zero1"], resilient_parsing=True)
            assert context.params["ds_config"] == "zero1"
        assert command.make_context("x", [*rest, "--ds_config"], resilient_parsing=True).params["ds_config"] == ""
        assert "--ds-config" not in command.get_help(click.Context(command))


def test_no_help_imports_what_takes_long() -> None:
    """Of all commands in one process, so that what one imports is found behind its name."""
    program = (
        "import sys\n"
        "from ecamp_fast import cli\n"
        "for words in sys.argv[1:]:\n"
        "    before = set(sys.modules)\n"
        "    try: cli.main([*words.split()[1:], '--help'])\n"
        "    except SystemExit: pass\n"
        f"    heavy = {HEAVY!r} & (set(sys.modules) - before)\n"
        "    if heavy: print(words, sorted(heavy), file=sys.stderr)\n"
    )
    run = [sys.executable, "-c", program, *(name for name in NAMES if name != reference.PROGRAM)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.parametrize("name", ["train", "attend train", "bench kernels"])  # those that import most
def test_a_help_is_instant(name: str) -> None:
    """The best of five; on a machine that is slow or busy beside a Python that imports click alone."""
    program = f"from ecamp_fast.cli import main; main({[*name.split(), '--help']})"
    took = 9.9
    for _ in range(5):
        took = min(took, _seconds(program))
        if took < SECONDS:
            return
    bare = min(_seconds("import click") for _ in range(5))
    assert took < 2.5 * bare, (took, bare)


def _seconds(program: str) -> float:
    """Elapsed, or of the processor, whichever are fewer."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    elapsed, after = time.perf_counter() - began, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return min(spent, elapsed)
