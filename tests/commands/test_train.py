"""``ecamp-fast train`` and ``train.py``: what cannot be meant is refused before a rank starts or anything is loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ecamp_fast.cli import main
from ecamp_fast.commands import train as command
from ecamp_fast.config import load_recipe
from ecamp_fast.errors import ConfigError
from ecamp_fast.run import launch
from ecamp_fast.shards.builder.build import build_phantoms
from ecamp_fast.train import main as program
from ecamp_fast.train import settle

SMALL = str(Path(__file__).resolve().parents[1] / "data" / "small.yaml")
CASES: dict[str, tuple[Any, str]] = {
    "a name that is none": ("zero3", "zero0, zero1, zero2"),
    "a file that is not there": ("none/ds.json", "cannot read the DeepSpeed JSON"),
    "no object": ([1], "holds no JSON object"),
    "fp16": ({"fp16": {"enabled": True}}, "fp16 is enabled"),
    "clipping": ({"gradient_clipping": "some"}, "gradient_clipping is 'some'"),
    "batch": ({"train_batch_size": 3}, "train_batch_size is 3"),
    "an auto that is left": ({"aio": {"block_size": "auto"}}, 'aio.block_size is "auto"'),
    "a nested key": ({"zero_optimization": {"stage": 2, "bogus": 1}}, "unknown key 'zero_optimization.bogus'"),
    "a nested type": ({"comms_logger": {"prof_ops": 3}}, "comms_logger.prof_ops is 3"),
    "timers": ({"wall_clock_breakdown": True}, "wall_clock_breakdown is True"),
    "learning rate": ({"optimizer": {"type": "AdamW", "params": {"lr": 9}}}, "lr is 9, the recipe's optim.lr is"),
}


def source(content: Any, folder: Path) -> str:
    if isinstance(content, str):
        return content
    (folder / "ds.json").write_text(json.dumps(content))
    return str(folder / "ds.json")


@pytest.mark.parametrize("micro", ["16", "auto"])
@pytest.mark.parametrize("name", CASES)
def test_before_any_launcher_starts(name: str, micro: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (name, micro) == ("batch", "auto"):
        pytest.skip("the batch is known once the memory is")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "start", lambda *_, **__: pytest.fail("a launcher was started"))
    content, _ = CASES[name]
    options = ["--recipe", SMALL, "--ranks", "1", "--set", f"batch.micro={micro}", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as left:
        main(["train", "--ds_config", source(content, tmp_path), *options])
    assert left.value.code == 2 and not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of phantoms that fills 3 steps of 4."""
    shards = tmp_path_factory.mktemp("few") / "set"
    build_phantoms(14, shards, size=64)
    return shards


@pytest.mark.parametrize(
    ("steps", "said"),
    [("soon", "is no number of steps"), ("12-10", "names no step"), ("90", "at most 50"), ("5-7", "takes steps 5-7")],
)
@pytest.mark.parametrize("door", [["train", "--ranks", "1"], []])
def test_steps_to_profile_that_the_run_has_not_are_said_before_any_launcher_starts(
    door: list[str],
    steps: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    few: Path,
) -> None:
    monkeypatch.setattr(launch, "start", lambda *_, **__: pytest.fail("a launcher was started"))
    options = ["--recipe", SMALL, "--data", str(few), "--out", str(tmp_path / "run"), "--profile", steps]
    options += ["--set", "batch.total=4", "--set", "batch.micro=4", "--set", "schedule.epochs=1"]
    with pytest.raises(SystemExit) as left:
        main([*door, *options]) if door else program(options)
    assert left.value.code == 2 and not (tmp_path / "run").exists() and said in capsys.readouterr().err


@pytest.mark.parametrize("door", [["train", "--ranks", "1"], []])
def test_such_steps_are_said_of_phantoms_before_they_are_drawn(
    door: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ecamp_fast.run.launch.start", "ecamp_fast.train.run_rank"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("the run began"))
    options = ["--recipe", SMALL, "--out", str(tmp_path / "run"), "--profile", "149-150"]  # 593 in batches of 4
    options += ["--set", "batch.total=4", "--set", "batch.micro=4", "--set", "schedule.epochs=1"]
    with pytest.raises(SystemExit) as left:
        main([*door, *options]) if door else program(options)
    assert left.value.code == 2 and not (tmp_path / "run").exists()
    assert "takes steps 149-150, the run has 149" in capsys.readouterr().err


FREE = {
    "nothing": (),
    "hidden files": (".git/config", ".nfs0001"),
    "logs": ("train.log", "slurm-12.out", "job.err", "ecamp-7.log", "slurm-12.batch"),
    "a former run": ("run_state.json", "notes.txt"),
    "one that was killed early": ("recipe.yaml", "LOCK", "HEARTBEAT"),
    "checkpoints": ("checkpoints/step-00000002/MANIFEST.json", "notes.txt"),
    "what was set aside": ("previous-1/metrics.jsonl", "STOP", "stacks-rank0.txt"),
    "its shard set": ("MANIFEST.json", "INDEX.bin", "tokenizer.json", "train-000000.tar", "train-000000.idx"),
    "a shard set below": ("shards/MANIFEST.json", "shards/train-000000.tar"),
    "phantoms": ("phantoms/MANIFEST.json", "phantoms.building/journal/x", "made-by-demo"),
}
TAKEN = {
    "a file": (("thesis.tex",), "thesis.tex"),
    "folders": (("photos/a.jpg", "src/b.py", "t.txt", "u.txt", "train.log"), "photos, src, t.txt and 1 more"),
    "a set and more": (("MANIFEST.json", "train-000000.tar", "thesis.tex"), "thesis.tex"),
    "tars without a set": (("backup.tar",), "backup.tar"),
}


def filled(folder: Path, names: tuple[str, ...]) -> str:
    folder.mkdir()
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return str(folder)


@pytest.mark.parametrize("name", FREE)
def test_a_run_begins_where_nobody_else_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Started(Exception):
        pass

    def start(*_: object, **__: object) -> None:
        raise Started

    monkeypatch.setattr(launch, "start", start)
    out = filled(tmp_path / "run", FREE[name])
    with pytest.raises(Started):
        main(["train", "--recipe", SMALL, "--ranks", "1", "--out", out])


@pytest.mark.parametrize("name", TAKEN)
def test_a_folder_of_others_is_left_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(launch, "start", lambda *_, **__: pytest.fail("a launcher was started"))
    names, held = TAKEN[name]
    out = filled(tmp_path / "run", names)
    with pytest.raises(SystemExit) as left:
        main(["train", "--recipe", SMALL, "--ranks", "1", "--out", out])
    told = capsys.readouterr().err
    assert (
        left.value.code == 2 and f"--out {out} is no run, and not empty: it holds {held}\n" in told and "hint: " in told
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_leaves_it_alone_too(rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setattr("ecamp_fast.train.run_rank", lambda *_: pytest.fail("the run began"))
    out = filled(tmp_path / "run", ("thesis.tex",))
    done = CliRunner().invoke(program, ["--recipe", SMALL, "--out", out])
    assert done.exit_code == 2 and "it holds thesis.tex" in done.output
    assert [path.name for path in Path(out).iterdir()] == ["thesis.tex"]


def test_the_doctor_sees_it_before(tmp_path: Path, capsys: Any) -> None:
    out = filled(tmp_path / "run", ("thesis.tex",))
    with pytest.raises(SystemExit):
        main(["doctor", "--recipe", SMALL, "--ranks", "1", "--out", out, "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [one["exit_code"] for one in found if "it holds thesis.tex" in one["found"]] == [2]


@pytest.mark.parametrize("name", CASES)
def test_before_anything_is_loaded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ecamp_fast.train.run_rank", lambda *_: pytest.fail("the run began"))
    content, says = CASES[name]
    done = CliRunner().invoke(program, ["--ds_config", source(content, tmp_path), "--recipe", SMALL])
    assert done.exit_code == 2 and says in done.output


def test_the_launcher_says_nothing_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed's tells a rank's whole command line as an error, also of one that was asked to stop."""
    given: list[list[str]] = []
    monkeypatch.setattr(launch.subprocess, "Popen", lambda command, **options: given.append(command))
    launch.start([], 1)
    assert "--log_level=critical" in given[0]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (247, "a rank was ended by SIGKILL"),
        (245, "a rank was ended by SIGSEGV"),
        (-9, "the launcher was ended by SIGKILL"),
        (241, "a rank was ended by SIGTERM"),
        (255, "a rank left with 255"),
        (1, "the launcher left with 1"),
        (75, "a rank left with 75"),
    ],
)
def test_what_ended_without_a_word_is_told_by_its_code(code: int, told: str) -> None:
    assert launch._fault(code) == told


@pytest.mark.parametrize("named", [[], ["A"], ["A", "s3://bucket/set:0.3"]])
def test_every_set_is_passed_on_to_the_ranks(named: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        command, "settle", lambda *words: (asked.append(words[1]), load_recipe("demo"), Path("none"))[1:]
    )
    monkeypatch.setattr(launch, "start", lambda arguments, *rest, **more: asked.append(arguments))
    monkeypatch.setattr(launch, "run_ranks", lambda start, out: start() or 0)
    monkeypatch.setattr(launch, "say_last_line", lambda out, code: None)
    words = [word for name in named for word in ("--data", name)]
    assert CliRunner().invoke(command.command, [*words, "--ranks=1"]).exit_code == 0
    assert asked[0] == tuple(named)
    assert [word for word in asked[1] if word.startswith("--data")] == [f"--data={name}" for name in named]


@pytest.mark.parametrize(("weight", "said"), [("0", "a weight is above 0"), ("nan", "a weight is above 0")])
def test_a_weight_that_is_none_is_refused_at_once(weight: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        settle(None, (f"{tmp_path}:{weight}",), tmp_path / "run", ())
