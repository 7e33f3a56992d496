import json
from pathlib import Path

import pytest

from ecamp_fast.config import load_recipe
from ecamp_fast.errors import ConfigError
from ecamp_fast.run.deepspeed_config import aligned, as_deepspeed_reads_it, check, find, resolve

PAPER = load_recipe("paper")


def write(folder: Path, **keys: object) -> Path:
    path = folder / "ds.json"
    path.write_text(json.dumps(keys))
    return path


def test_the_default_is_zero_2_in_bf16_with_the_recipes_batch() -> None:
    config = resolve(None, PAPER, world=4)
    assert config["zero_optimization"]["stage"] == 2
    assert config["bf16"]["enabled"] is True
    assert config["train_batch_size"] == 8192
    assert config["train_micro_batch_size_per_gpu"] == 256
    assert config["gradient_accumulation_steps"] == 8
    assert "auto" not in json.dumps(config)


def test_the_users_other_keys_pass_through(tmp_path: Path) -> None:
    path = write(tmp_path, zero_optimization={"stage": 1, "reduce_bucket_size": 7}, gradient_clipping=1.0)
    config = resolve(path, PAPER, world=1)
    assert config["zero_optimization"].items() >= {"stage": 1, "reduce_bucket_size": 7}.items()
    assert config["gradient_clipping"] == 1.0


def test_deepspeed_does_not_wait_for_the_device_unless_asked_to(tmp_path: Path) -> None:
    for stage in (0, 1, 2):
        config = resolve(write(tmp_path, zero_optimization={"stage": stage}), PAPER, world=1)
        assert config["timers"]["throughput"] == {"enabled": False}
        assert config["bf16"] == {"enabled": True, "check_grad_overflow": False}
        assert config["zero_optimization"].get("compute_grad_norm", True) is (stage == 0)
    asked = {"timers": {"throughput": {"enabled": True}}, "bf16": {"enabled": True, "check_grad_overflow": True}}
    config = resolve(write(tmp_path, **asked, zero_optimization={"stage": 2, "compute_grad_norm": True}), PAPER, 1)
    assert config["timers"] == asked["timers"] and config["bf16"] == asked["bf16"]
    assert config["zero_optimization"]["compute_grad_norm"] is True


def test_the_norm_stays_where_deepspeed_cannot_do_without(tmp_path: Path) -> None:
    path = write(tmp_path, zero_optimization={"stage": 1}, data_types={"grad_accum_dtype": "fp32"})
    zero = resolve(path, PAPER, world=1)["zero_optimization"]
    assert "compute_grad_norm" not in zero and "parameter_alignment" not in zero


def test_weights_are_aligned_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    def found(**zero: object) -> object:
        keys = {"zero_optimization": zero} if zero else {}
        return resolve(write(tmp_path, **keys), PAPER, world=1).get("zero_optimization", {}).get("parameter_alignment")

    assert [found(stage=stage) for stage in (0, 1, 2)] == [None, True, True]
    assert found() is None and found(stage=2, parameter_alignment=False) is False
    config = resolve(find("zero2"), PAPER, world=1)
    assert aligned(config) and not aligned(resolve(find("zero0"), PAPER, world=1))
    for zero, sums in (({"stage": 0}, {}), ({"stage": 1}, {"data_types": {"grad_accum_dtype": "fp32"}})):
        given = write(tmp_path, zero_optimization=zero | {"parameter_alignment": True}, **sums)
        assert not aligned(resolve(given, PAPER, world=1))  # nothing is padded there, whatever the file says


@pytest.mark.parametrize("name", ["zero0", "zero1", "zero2"])
def test_the_shipped_files_resolve_and_never_wait_for_the_device(name: str) -> None:
    """With ``overlap_comm`` DeepSpeed synchronizes after every backward."""
    config = resolve(find(name), PAPER, world=4)
    assert "auto" not in json.dumps(config)
    assert not config["zero_optimization"].get("overlap_comm", False)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"train_batch_size": 512}, "train_batch_size is 512"),
        ({"train_micro_batch_size_per_gpu": 8}, "train_micro_batch_size_per_gpu is 8"),
        ({"gradient_accumulation_steps": 3}, "gradient_accumulation_steps is 3"),
        ({"bf16": {"enabled": False}}, "bf16.enabled is False"),
        ({"fp16": {"enabled": True}}, "fp16"),
        ({"zero_optimization": {"stage": 3}}, "stage 3"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}, "offload_optimizer"),
        ({"optimizer": {"type": "Lamb"}}, "optimizer"),
        ({"scheduler": {}}, "scheduler"),
        ({"zero_optimisation": {}}, "unknown key 'zero_optimisation'"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, keys: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        resolve(write(tmp_path, **keys), PAPER, world=4)


@pytest.mark.parametrize("key", ["train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"])
def test_zero_is_a_number_that_contradicts(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} is 0"):
        resolve(write(tmp_path, **{key: 0}), PAPER, world=4)


def test_float32_is_not_bf16(tmp_path: Path) -> None:
    recipe = load_recipe("paper", ["precision=fp32"])
    for given in ({}, {"bf16": {}}, {"bf16": {"enabled": "auto"}}, {"bf16": {"enabled": False}}):
        assert resolve(write(tmp_path, **given), recipe, world=4)["bf16"]["enabled"] is False
    with pytest.raises(ConfigError, match=r"bf16\.enabled is True, the recipe's precision is fp32"):
        resolve(write(tmp_path, bf16={"enabled": True}), recipe, world=4)


def test_all_contradictions_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fp16.*") as caught:
        resolve(write(tmp_path, train_batch_size=1, fp16={"enabled": True}), PAPER, world=4)
    assert "train_batch_size" in str(caught.value)


STRICT: list[tuple[dict[str, object], str]] = [
    ({"zero_optimization": {"stage": 2, "bogus": 1}}, "unknown key 'zero_optimization.bogus'"),
    ({"zero_optimization": {"stage": 2, "reduce_bucket_size": -1}}, "zero_optimization.reduce_bucket_size is -1, not "),
    (
        {"zero_optimization": {"stage": 2, "reduce_bucket_size": 5.5}},
        "zero_optimization.reduce_bucket_size is 5.5, not ",
    ),
    ({"zero_optimization": {"stage": 1, "overlap_comm": "maybe"}}, "zero_optimization.overlap_comm is 'maybe', not "),
    ({"bf16": {"enabled": True, "imediate_grad_update": True}}, "unknown key 'bf16.imediate_grad_update'"),
    ({"compile": {"bogus": 1}}, "unknown key 'compile.bogus'"),
    ({"comms_logger": {"enabled": "perhaps"}}, "comms_logger.enabled is 'perhaps', not "),
    ({"comms_logger": {"prof_op": []}}, "unknown key 'comms_logger.prof_op'"),
    ({"tensorboard": {"enabled": False, "folder": "x"}}, "unknown key 'tensorboard.folder'"),
    ({"csv_monitor": {"enabled": True, "output_path": 3}}, "csv_monitor.output_path is 3: "),
    ({"timers": {"throughput": {"enabled": "sometimes"}}}, "timers.throughput.enabled is 'sometimes', not "),
    ({"checkpoint": {"parallel_write": {"pipeline_stage": 4}}}, "DeepSpeed does not take it: checkpoint"),
]


@pytest.mark.parametrize("micro", ["256", "auto"])
@pytest.mark.parametrize(("keys", "says"), STRICT, ids=[says for _, says in STRICT])
def test_nested_keys_and_types_are_refused_before_a_run(
    tmp_path: Path, keys: dict[str, object], says: str, micro: str
) -> None:
    path = write(tmp_path, **keys)
    with pytest.raises(ConfigError) as caught:
        check(path, load_recipe("paper", [f"batch.micro={micro}"]), 4)
    assert caught.value.what.startswith(f"{path}: {says}") and caught.value.hint and caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["zero0", "zero1", "zero2"])
def test_deepspeed_takes_the_shipped_files(name: str) -> None:
    for precision in ("bf16", "fp32"):
        recipe = load_recipe("paper", [f"precision={precision}"])
        assert as_deepspeed_reads_it(resolve(find(name), recipe, world=4)) == []


def test_of_the_shipped_files_deepspeed_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[int] = []
    monkeypatch.setattr("ecamp_fast.run.deepspeed_config.as_deepspeed_reads_it", lambda _: asked.append(1) or [])
    for path in (None, find(""), find("zero1")):
        check(path, PAPER, 4)
    assert not asked
    check(write(tmp_path), PAPER, 4)
    assert asked


def test_not_json(tmp_path: Path) -> None:
    (tmp_path / "ds.json").write_text('{"a": 1,\n oops}')
    with pytest.raises(ConfigError, match="line 2"):
        resolve(tmp_path / "ds.json", PAPER, world=1)
    with pytest.raises(ConfigError, match="cannot read"):
        resolve(tmp_path / "none.json", PAPER, world=1)
