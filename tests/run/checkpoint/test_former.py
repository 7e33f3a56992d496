"""Checkpoints of versions up to 0.1, written by the engine as they were, go on to the bit; others run nothing."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ecamp_fast.cli import main
from ecamp_fast.errors import DataError
from ecamp_fast.machine import free_port
from ecamp_fast.run.checkpoint.engine_state import engine_state, load_engine_state
from ecamp_fast.run.checkpoint.find import find
from ecamp_fast.run.checkpoint.former_files import MODEL
from ecamp_fast.run.checkpoint.manifest import is_former
from ecamp_fast.run.checkpoint.read import Checkpoint, load
from ecamp_fast.run.checkpoint.tensor_file import pieces_of
from ecamp_fast.run.checkpoint.verify import damage
from ecamp_fast.run.rundir import read_records
from ecamp_fast.run.trained import load_trained
from ecamp_fast.weights.torch_archive import read_deepspeed_file

ON_RANK = Path(__file__).with_name("former_on_rank.py")
SUMS_IN_FLOAT32 = {"data_types": {"grad_accum_dtype": "fp32"}}
CASES = {
    "plain fp32": (0, "fp32", {}),
    "plain bf16": (0, "bf16", {}),
    "ZeRO-1 fp32": (1, "fp32", {}),
    "ZeRO-1 bf16": (1, "bf16", {}),
    "ZeRO-1 bf16, sums in float32": (1, "bf16", SUMS_IN_FLOAT32),
    "ZeRO-2 fp32": (2, "fp32", {}),
    "ZeRO-2 bf16": (2, "bf16", {}),
    "ZeRO-2 bf16, end to end": (2, "bf16", {"zero_optimization": {"stage": 2, "parameter_alignment": False}}),
    "ZeRO-2 bf16, elastic": (2, "bf16", {"zero_optimization": {"stage": 2, "elastic_checkpoint": True}}),
}
ON_TWO = ("plain bf16", "ZeRO-1 fp32", "ZeRO-1 bf16, sums in float32", "ZeRO-2 bf16", "ZeRO-2 bf16, end to end")
Make = Callable[..., Any]
Convert = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def convert(capsys: pytest.CaptureFixture[str]) -> Convert:
    """``ecamp-fast import --checkpoint RUN --json``: exit code, the object, stderr."""

    def call(run: Path, *more: str) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()  # what DeepSpeed told before
        with pytest.raises(SystemExit) as caught:
            main(["import", "--checkpoint", str(run), "--json", *more])
        printed = capsys.readouterr()
        return int(caught.value.code or 0), json.loads(printed.out), printed.err

    return call


def deepspeed_file(path: Path) -> Any:
    """As torch reads it."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    with torch.serialization.safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
        return torch.load(path, weights_only=True)


def kept(engine: Any) -> dict[str, Tensor]:
    """What an engine keeps, copied."""
    return {name: piece.values.clone() for name, piece in pieces_of(engine_state(engine)).items()}


def equal(ones: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return ones.keys() == others.keys() and all(
        ones[name].dtype == others[name].dtype and torch.equal(ones[name], others[name]) for name in ones
    )


@pytest.mark.parametrize("name", CASES)
def test_goes_on_to_the_bit(
    make_engine: Make, step: Make, former_run: Make, convert: Convert, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stage, precision, keys = CASES[name]
    # It collects garbage six times over.
    monkeypatch.setattr("deepspeed.runtime.bf16_optimizer.see_memory_usage", lambda *_, **__: None)
    old, new = (make_engine(stage, precision, **keys) for _ in range(2))
    step(old, 0)
    step(old, 1)
    run = former_run(old, precision, 2)
    path = run / "checkpoints" / "step-00000002"
    code, told, _ = convert(run)
    assert (code, told["refused"]) == (0, {}) and damage(path) == ""
    assert told["converted"] == [{"checkpoint": str(path), "former": str(path.with_name("former-step-00000002"))}]
    position = Checkpoint(path).position
    assert (position.step, position.data) == (2, "d")
    assert position.settings["layout"] == {"ranks": 1, "batch.micro": 4, "ZeRO": stage}
    assert position.settings["recipe"]["precision"] == precision
    assert not equal(kept(old), kept(new))
    load_engine_state(new, Checkpoint(path))
    assert equal(kept(old), kept(new)) and equal(old.module.state_dict(), new.module.state_dict())
    for engine in (old, new):
        step(engine, 2)
    assert equal(kept(old), kept(new)) and equal(old.module.state_dict(), new.module.state_dict())


def test_a_parameter_that_never_had_a_gradient(
    make_engine: Make, step: Make, former_run: Make, convert: Convert
) -> None:
    """It has no moments, in the file and afterwards; those behind it keep theirs."""
    old, new = make_engine(0, "bf16"), make_engine(0, "bf16")
    names = [name for name, _ in old.module.named_parameters()]
    dict(old.module.named_parameters())[names[3]].register_hook(torch.zeros_like)
    step(old, 0)
    masters = [master for group in old.optimizer.fp32_groups for master in group]
    del old.basic_optimizer.state[masters[3]]
    before = kept(old)
    run = former_run(old, "bf16", 1)
    assert convert(run)[0] == 0
    load_engine_state(new, Checkpoint(run / "checkpoints" / "step-00000001"))
    after = kept(new)
    assert all(torch.equal(after[name], before[name]) for name in before) and len(after) == len(before) + 3


def split(path: Path, seal: Make) -> None:
    """The file of one rank as two would have written it: ranges cut in the middle of a parameter."""
    (whole,) = path.glob("*_optim_states.pt")
    states = [deepspeed_file(whole) for _ in range(2)]
    for rank, file in enumerate(states):
        state = file["optimizer_state_dict"]
        for number, flat in enumerate(state["single_partition_of_fp32_groups"]):
            half = len(flat) // 2 + 1
            low, high = (0, half) if rank == 0 else (half, len(flat))
            state["single_partition_of_fp32_groups"][number] = flat[low:high].clone()
            moments = state["base_optimizer_state"]["state"][number]
            for kind in ("exp_avg", "exp_avg_sq"):
                moments[kind] = moments[kind][low:high].clone()
            ranges = state["param_slice_mappings"][number]
            for name, address in list(ranges.items()):
                start, stop = max(address.start, low), min(address.start + address.numel, high)
                address.start, address.numel = start - low, stop - start
                if start >= stop:
                    del ranges[name]
        torch.save(file, path / whole.name.replace("pp_rank_0", f"pp_rank_{rank}"))
    seal(path, world=2)


def test_the_parts_of_ranks_are_joined(
    make_engine: Make, step: Make, former_run: Make, seal_former: Make, convert: Convert
) -> None:
    engine = make_engine(2, "bf16")
    step(engine, 0)
    run = former_run(engine, "bf16", 1)
    path = run / "checkpoints" / "step-00000001"
    split(path, seal_former)
    assert convert(run)[0] == 0
    found, position = load(path)
    assert equal({name: tensor.view(-1) for name, tensor in found.items()}, kept(engine))
    assert position.settings["layout"]["ranks"] == 2


@pytest.mark.complete
def test_two_ranks_of_deepspeed(tmp_path: Path, seal_former: Make, convert: Convert) -> None:
    cases = {name: (number, *CASES[name]) for number, name in enumerate(CASES, 1) if name in ON_TWO}
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [sys.executable, str(ON_RANK), str(tmp_path), json.dumps(cases)]
    ranks = [{**os.environ, **world, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    processes = [subprocess.Popen(command, env=one) for one in ranks]
    try:
        assert [process.wait(timeout=300) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    for name, (number, *_) in cases.items():
        former, today = (tmp_path / name / folder / f"step-{number:08d}" for folder in ("checkpoints", "today"))
        seal_former(former, world=2)
        assert convert(tmp_path / name)[0] == 0
        ours, theirs = load(former)[0], load(today)[0]
        assert equal(ours, theirs) and len(ours) > 100, name


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run is kept that tests get copies of."""
    return tmp_path_factory.mktemp("made") / "run"


@pytest.fixture
def run(request: pytest.FixtureRequest, made: Path, tmp_path: Path) -> Path:
    """With former checkpoints of steps 1 and 2."""
    if not made.exists():
        make_engine, step, leave = map(request.getfixturevalue, ("make_engine", "step", "former_run"))
        engine = make_engine(2, "bf16")
        for number in (1, 2):
            step(engine, number - 1)
            left = leave(engine, "bf16", number)
        left.rename(made)
    return Path(shutil.copytree(made, tmp_path / "copy"))


def states_of(path: Path) -> Path:
    return next(path.glob("*_optim_states.pt"))


def changed(path: Path, seal: Make, change: Callable[[dict[str, Any]], Any], file: str = "") -> None:
    """Change what a file holds, behind right digests."""
    name = path / file if file else states_of(path)
    content = deepspeed_file(name)
    change(content)
    torch.save(content, name)
    seal(path)


@pytest.mark.fault("C3.former")
def test_former_ones_are_refused_with_the_command_that_converts_them(run: Path, convert: Convert) -> None:
    def refused() -> DataError:
        with pytest.raises(DataError, match=r"of versions up to 0\.1") as caught:
            find(run / "checkpoints", "auto", lambda *_: None)
        return caught.value

    assert refused().exit_code == 3 and f"ecamp-fast import --checkpoint {run}" in refused().hint
    with pytest.raises(DataError, match=r"ecamp-fast import --checkpoint"):
        load_trained(run)
    code, told, _ = convert(run)
    assert code == 0 and [Path(one["checkpoint"]).name[-1] for one in told["converted"]] == ["2", "1"]
    assert find(run / "checkpoints", "auto", lambda *_: None) == run / "checkpoints" / "step-00000002"
    assert len(load_trained(run).state_dict()) > 40
    events = [event for event in read_records(run / "events.jsonl") if event["event"] == "converted"]
    assert [event["former"] for event in events] == ["former-step-00000002", "former-step-00000001"]
    assert convert(run)[:2] == (0, {"schema": 1, "converted": [], "refused": {}})  # nothing is left to do


class Payload:
    """Pickles as a call."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


@pytest.mark.fault("S1.former")
@pytest.mark.parametrize("where", ["partition", "model", "nested"])
def test_a_strangers_pickle_with_right_digests_runs_nothing(
    run: Path, seal_former: Make, convert: Convert, tmp_path: Path, where: str
) -> None:
    canary, newest = tmp_path / "canary", run / "checkpoints" / "step-00000002"
    shutil.rmtree(run / "checkpoints" / "step-00000001")
    change = {
        "partition": lambda file: file.update(more=Payload(canary)),
        "model": lambda file: file.update(more=Payload(canary)),
        "nested": lambda file: file["optimizer_state_dict"]["param_slice_mappings"][0].update(more=[Payload(canary)]),
    }
    changed(newest, seal_former, change[where], MODEL if where == "model" else "")
    assert not canary.exists()
    code, told, _ = convert(run)
    assert code == 3 and "is refused: its pickle names posix.system" in told["error"]["what"]
    assert not canary.exists() and newest.is_dir() and not (run / "checkpoints" / "converted").exists()
    pickle.loads(pickle.dumps(Payload(canary)))
    assert canary.exists()  # it can sing


def cut(path: Path) -> None:
    states_of(path).write_bytes(states_of(path).read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(states_of(path).read_bytes())
    data[len(data) // 2] ^= 1
    states_of(path).write_bytes(data)


def tell(path: Path, **position: Any) -> None:
    manifest = json.loads((path / "MANIFEST.json").read_text())
    manifest["position"] |= position
    (path / "MANIFEST.json").write_text(json.dumps(manifest))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut": (cut, "bytes, not"),
    "flip": (flip, "digest differs"),
    "missing": (lambda path: states_of(path).unlink(), "is missing"),
    "extra": (lambda path: (path / "more.pt").write_bytes(b""), "does not belong"),
    "no manifest": (lambda path: (path / "MANIFEST.json").unlink(), "cannot be read"),
    "torn manifest": (lambda path: os.truncate(path / "MANIFEST.json", 5), "MANIFEST.json is damaged"),
    "open to all": (lambda path: path.chmod(0o777), "not yours alone"),
    "link": (lambda path: (path / "more.pt").symlink_to("/etc/hostname"), "not yours alone|no plain file"),
    "other step": (lambda path: tell(path, step=3), "is that of step 3"),
    "no step": (lambda path: tell(path, step="2"), "MANIFEST.json is damaged"),
    "other ranks": (lambda path: tell(path, world=2), "1 files of ranks, written by 2"),
    "billions of ranks": (lambda path: tell(path, world=10**12), "1 files of ranks"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_the_older_one_is_converted(run: Path, convert: Convert, name: str) -> None:
    damaging, why = DAMAGE[name]
    older, newer = (run / "checkpoints" / f"step-0000000{step}" for step in (1, 2))
    damaging(newer)
    code, told, _ = convert(run)
    assert code == 0 and [one["checkpoint"] for one in told["converted"]] == [str(older)]
    assert list(told["refused"]) == [str(newer)]
    assert re.search(why, told["refused"][str(newer)]), told
    assert find(run / "checkpoints", "auto", lambda *_: None) == older


def of_state(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda file: change(file["optimizer_state_dict"])


def swap(state: dict[str, Any]) -> None:
    """Two parameters of one size take each other's place."""
    ranges = state["param_slice_mappings"][0]
    one, other = (name for name in ranges if name.endswith("blocks.0.qkv.weight"))
    ranges[one], ranges[other] = ranges[other], ranges[one]


LIES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "swapped": (of_state(swap), "are not those that the model has"),
    "outside": (
        of_state(lambda state: state["param_slice_mappings"][0]["encoder.class_token"].__dict__.update(start=10**9)),
        "lies outside",
    ),
    "before": (
        of_state(lambda state: state["param_slice_mappings"][0]["encoder.class_token"].__dict__.update(start=-9)),
        "lies outside",
    ),
    "lacking": (of_state(lambda state: state["param_slice_mappings"][1].popitem()), "it has nothing"),
    "stranger": (
        of_state(
            lambda state: state["param_slice_mappings"][1].update(
                x=state["param_slice_mappings"][1]["encoder.norm.bias"]
            )
        ),
        "has a place for",
    ),
    "no moment": (
        of_state(lambda state: state["base_optimizer_state"]["state"][0].pop("exp_avg")),
        "it has exp_avg_sq, step, weight",
    ),
    "other type": (
        of_state(lambda state: state["single_partition_of_fp32_groups"].__setitem__(0, torch.zeros(9).double())),
        "lies outside|not float32",
    ),
    "no list": (of_state(lambda state: state.update(param_slice_mappings=3)), "not laid out as known"),
    "no state": (lambda file: file.pop("optimizer_state_dict"), "not laid out as known"),
    "not finite": (
        of_state(lambda state: state["base_optimizer_state"]["state"][0]["exp_avg"].__setitem__(5, float("nan"))),
        "is not finite",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_files_of_another_model_are_named(run: Path, seal_former: Make, convert: Convert, name: str) -> None:
    change, why = LIES[name]
    newer = run / "checkpoints" / "step-00000002"
    changed(newer, seal_former, change)
    code, told, _ = convert(run)
    assert code == 0 and len(told["converted"]) == 1
    assert re.search(why, told["refused"][str(newer)]), told


@pytest.mark.fault("C3.former")
@pytest.mark.parametrize(
    "point", ["checkpoint.written", "checkpoint.sealed", "checkpoint.committed", "former.aside", "former.replace"]
)
def test_a_kill_anywhere_loses_nothing(
    run: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    folder = run / "checkpoints"
    shutil.rmtree(folder / "step-00000001")
    process = os.fork()
    if process == 0:
        monkeypatch.setenv("ECAMP_FAULT", f"{point}:kill")
        os.close(1)
        try:
            main(["import", "--checkpoint", str(run)])
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL
    with pytest.raises(DataError, match="ecamp-fast import --checkpoint"):  # never a silent start from nothing
        find(folder, "auto", lambda *_: None)
    code, told, _ = convert(run)
    assert code == 0 and [Path(one["former"]).name for one in told["converted"]] == ["former-step-00000002"]
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["former-step-00000002", "step-00000002"]
    assert damage(folder / "step-00000002") == "" and is_former(folder / "former-step-00000002")


def test_a_full_disk_leaves_what_stood(run: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecamp_fast.run.checkpoint.commit.PAUSE", 0.0)
    monkeypatch.setenv("ECAMP_FAULT", "write:file=rank-*:ENOSPC")
    code, told, _ = convert(run)
    assert code == 5 and "No space left" in told["error"]["what"]
    monkeypatch.delenv("ECAMP_FAULT")
    assert convert(run)[0] == 0


def test_a_run_without_checkpoints(run: Path, convert: Convert, tmp_path: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    assert convert(run)[0] == 3 and convert(tmp_path / "none")[0] == 2
    assert convert(run, "SOURCE")[0] == 2


def test_a_file_of_deepspeed_as_plain_values(run: Path) -> None:
    path = run / "checkpoints" / "step-00000002"
    found, theirs = read_deepspeed_file(states_of(path)), deepspeed_file(states_of(path))
    assert found["ds_config"] == theirs["ds_config"]
    state, their_state = found["optimizer_state_dict"], theirs["optimizer_state_dict"]
    assert state["loss_scaler"] == vars(their_state["loss_scaler"]) and state["zero_stage"] == 2
    addresses = [{name: vars(one) for name, one in group.items()} for group in their_state["param_slice_mappings"]]
    assert state["param_slice_mappings"] == addresses
    model = read_deepspeed_file(path / MODEL)
    assert model["param_shapes"][0]["encoder.class_token"] == [1, 1, 48]


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def doubled(times: int) -> list[Any]:
    """Small in a file, since a list is written once: 2 ** times values."""
    found: list[Any] = [0]
    for _ in range(times):
        found = [found, found]
    return found


def endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.fault("S1.former")
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (nested(40), "nested too deep"),
        ([doubled(8)] * 5000, "too many"),
        (endless(), "nested too deep"),
        ({(1, 2): 3}, "keys that are neither"),
        (b"bytes", "pickle names _codecs.encode|holds a bytes"),
        (torch.float32, "names torch.float32"),
        (complex(1, 2), "names builtins.complex|names __builtin__.complex"),
    ],
)
def test_contents_that_no_checkpoint_has_are_refused(tmp_path: Path, content: Any, why: str) -> None:
    torch.save({"content": content}, tmp_path / "w.pt")
    with pytest.raises(DataError, match=why):
        read_deepspeed_file(tmp_path / "w.pt")
    torch.save(content if isinstance(content, list) else [content], tmp_path / "w.pt")
    with pytest.raises(DataError):
        read_deepspeed_file(tmp_path / "w.pt")
