"""Values of a DeepSpeed JSON: filled, off, equal to the recipe's, or refused by their names with hints of their own."""

import json
from typing import Any

import pytest

from ecamp_fast.config import load_recipe
from ecamp_fast.config.deepspeed_fault import Fault, refusal
from ecamp_fast.config.deepspeed_values import MONITORS, absent_monitors, judge

PAPER, FP32 = load_recipe("paper"), load_recipe("paper", ["precision=fp32"])
ADAMW = {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto"}
WARMUP = {"warmup_min_lr": "auto", "warmup_max_lr": "auto", "warmup_num_steps": "auto"}


def faults_of(config: dict[str, Any], recipe: Any = PAPER) -> list[Fault]:
    return judge(config, recipe, 4)[1]


def resolved(config: dict[str, Any], recipe: Any = PAPER) -> dict[str, Any]:
    out, faults = judge(config, recipe, 4)
    assert not faults
    return out


FILLED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "batch": ({"train_batch_size": "auto"}, {"train_batch_size": 8192}),
    "clipping": ({"gradient_clipping": "auto"}, {"gradient_clipping": 0.0}),
    "prints": ({"steps_per_print": "auto"}, {"steps_per_print": 1_000_000_000}),
    "breakdown": ({"wall_clock_breakdown": "auto"}, {"wall_clock_breakdown": False}),
    "optimizer check": ({"zero_allow_untested_optimizer": "auto"}, {"zero_allow_untested_optimizer": True}),
    "bf16": ({"bf16": {"enabled": "auto"}}, {"bf16": {"enabled": True}}),
    "communication": ({"communication_data_type": "auto"}, {}),
    "stage": ({"zero_optimization": {"stage": "auto"}}, {"zero_optimization": {"stage": 2}}),
    "buckets": (
        {"zero_optimization": {"stage": 2, "reduce_bucket_size": "auto", "allgather_bucket_size": "auto"}},
        {"zero_optimization": {"stage": 2, "reduce_bucket_size": 25_000_000}},
    ),
    "of stage 3": (
        {"zero_optimization": {"stage": 1, "stage3_prefetch_bucket_size": "auto", "overlap_comm": "auto"}},
        {"zero_optimization": {"stage": 1, "overlap_comm": False}},
    ),
    "sums, stage 2": (
        {"zero_optimization": {"stage": 2}, "data_types": {"grad_accum_dtype": "auto"}},
        {"data_types": {"grad_accum_dtype": "fp32"}},
    ),
    "sums, stage 1": (
        {"zero_optimization": {"stage": 1}, "data_types": {"grad_accum_dtype": "auto"}},
        {"data_types": {}},
    ),
    "profiler": ({"flops_profiler": {"enabled": "auto"}}, {"flops_profiler": {"enabled": False}}),
    "a monitor": ({"wandb": {"enabled": "auto"}}, {"wandb": {"enabled": False}}),
    "a project": ({"wandb": {"enabled": True, "project": "auto"}}, {"wandb": {"enabled": True}}),
    "DeepSpeed's own": (
        {"data_types": {"keep_in_fp32_modules": "auto"}},
        {"data_types": {"keep_in_fp32_modules": "auto"}},
    ),
}


@pytest.mark.parametrize("name", FILLED)
def test_every_auto_is_filled(name: str) -> None:
    given, wanted = FILLED[name]
    found = resolved(given)
    for key, value in wanted.items():
        if isinstance(value, dict):
            assert found[key].items() >= value.items() and set(found[key]) <= {*value, "enabled"}
        else:
            assert found[key] == value
    assert not set(given) - set(found) - {"communication_data_type"}


LEFT: list[tuple[dict[str, Any], str]] = [
    ({"activation_checkpointing": {"partition_activations": "auto"}}, "activation_checkpointing.partition_activations"),
    ({"aio": {"block_size": "auto"}}, "aio.block_size"),
    ({"compile": {"deepcompile": "auto"}}, "compile.deepcompile"),
    ({"checkpoint": {"tag_validation": "auto"}}, "checkpoint.tag_validation"),
    ({"comms_logger": {"prof_ops": ["all_reduce", "auto"]}}, "comms_logger.prof_ops[1]"),
    ({"flops_profiler": {"profile_step": "auto"}}, "flops_profiler.profile_step"),
    ({"log_level": "auto"}, "log_level"),
    ({"disable_allgather": "auto"}, "disable_allgather"),
    ({"zero_optimization": {"stage": 2, "zero_quantized_weights": "auto"}}, "zero_optimization.zero_quantized_weights"),
    ({"bf16": {"enabled": True, "immediate_grad_update": "auto"}}, "bf16.immediate_grad_update"),
    ({"data_types": {"param_dtype": "auto"}}, "data_types.param_dtype"),
]


@pytest.mark.parametrize(("config", "name"), LEFT, ids=[name for _, name in LEFT])
def test_an_auto_that_nothing_fills_is_refused_by_name(config: dict[str, Any], name: str) -> None:
    (fault,) = faults_of(config)
    assert f'{name} is "auto"' in fault.what and name in fault.hint


OFF: dict[str, dict[str, Any]] = {
    "fp16": {"fp16": {"enabled": False, "loss_scale": 0, "initial_scale_power": "auto"}},
    "fp16, auto": {"fp16": {"enabled": "auto", "loss_scale": "auto"}},
    "fp16, empty": {"fp16": {}},
    "amp": {"amp": {"enabled": False, "opt_level": "auto"}},
    "offload": {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "none", "pin_memory": True}}},
    "offload of parameters": {"zero_optimization": {"stage": 2, "offload_param": {"device": "none"}}},
    "offload, empty": {"zero_optimization": {"stage": 2, "offload_optimizer": {}}},
    "offload, auto": {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "auto"}}},
    "the old spelling": {"zero_optimization": {"stage": 2, "cpu_offload": False, "cpu_offload_use_pin_memory": False}},
    "MiCS": {"zero_optimization": {"stage": 2, "mics_shard_size": -1, "mics_hierarchical_params_gather": False}},
    "elasticity": {"elasticity": {"enabled": False, "max_train_batch_size": 2000}},
    "autotuning": {"autotuning": {"enabled": False}},
    "autotuning, auto": {"autotuning": {"enabled": "auto", "fast": "auto"}},
    "autocast": {"torch_autocast": {"enabled": False, "dtype": "bfloat16"}},
    "curriculum": {"data_efficiency": {"enabled": False, "data_sampling": {"enabled": True}}},
    "compression": {
        "compression_training": {
            "weight_quantization": {"shared_parameters": {"enabled": False}, "different_groups": {"a": {"params": {}}}}
        }
    },
    "flags": {"sparse_gradients": False, "graph_harvesting": False},
    "monitors": {name: {"enabled": False} for name in MONITORS},
    "tensors": {"tensor_parallel": {"autotp_size": 1}},
    "pipeline": {"pipeline": {"stages": "auto", "partition": "auto"}},
    "a whole float": {"steps_per_print": 1e9},
    "the timers": {"wall_clock_breakdown": False, "flops_profiler": {"enabled": False, "profile_step": 5}},
    "aio of a template": {"aio": {"block_size": 1048576, "queue_depth": 8, "thread_count": 1, "single_submit": False}},
    "a profile of checkpoints": {"activation_checkpointing": {"partition_activations": False, "profile": False}},
    "low precision": {"bf16": {"bf16_master_weights_and_grads": False, "bf16_optimizer_states": False}},
    "scaling": {"zero_optimization": {"stage": 2}, "prescale_gradients": False, "gradient_predivide_factor": 1},
    "what is so anyhow": {"gradient_allreduce_op": "mean", "managed_gradient_accumulation": True},
}


@pytest.mark.parametrize("name", OFF)
def test_what_is_off_is_no_fault_and_says_nothing_more(name: str) -> None:
    found = resolved(OFF[name])
    assert "auto" not in json.dumps(found)
    assert not {"fp16", "amp", "elasticity", "offload_optimizer", "cpu_offload"} & {
        *found,
        *found.get("zero_optimization", {}),
    }


ON: list[tuple[dict[str, Any], str, str]] = [
    ({"fp16": {"enabled": True}}, "fp16 is enabled, the recipe knows bf16 and fp32", "fp16.enabled"),
    ({"fp16": {"enabled": "true"}}, "fp16.enabled is 'true'", "true, false"),
    ({"bf16": {"enabled": 1}}, "bf16.enabled is 1", "bf16.enabled"),
    ({"bf16": {"enabled": False}}, "bf16.enabled is False, the recipe's precision is bf16", "precision"),
    ({"amp": {"enabled": True}}, "amp is switched on", "amp"),
    ({"torch_autocast": {"enabled": True}}, "torch_autocast is switched on", "torch_autocast"),
    ({"elasticity": {"enabled": True}}, "elasticity is switched on", "elasticity"),
    ({"autotuning": {"enabled": True}}, "autotuning is switched on", "batch.micro=auto"),
    ({"data_efficiency": {"enabled": True}}, "data_efficiency is switched on", "data_efficiency"),
    ({"sparse_gradients": True}, "sparse_gradients is switched on", "sparse_gradients"),
    ({"tensor_parallel": {"autotp_size": 4}}, "tensor_parallel is switched on", "tensor_parallel"),
    ({"compression_training": {"a": {"shared_parameters": {"enabled": True}}}}, "compression_training", "remove"),
    (
        {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}},
        "offload_optimizer to 'cpu'",
        '"none"',
    ),
    (
        {"zero_optimization": {"stage": 2, "offload_param": {"device": "nvme"}}},
        "offload_param to 'nvme'",
        "offload_param",
    ),
    ({"zero_optimization": {"stage": 2, "cpu_offload": True}}, "old spelling of offload_optimizer", "cpu_offload"),
    ({"zero_optimization": {"stage": 2, "mics_shard_size": 8}}, "mics_shard_size is 8", "mics_shard_size"),
    ({"zero_optimization": {"stage": 3}}, "stage 3 is not supported", "stage to 2"),
    ({"zero_optimization": {"stage": "2"}}, "stage is '2'", "stage"),
    ({"zero_optimization": {"stage": True}}, "stage is True", "stage"),
    ({"gradient_clipping": "1.0"}, "gradient_clipping is '1.0'", "largest norm"),
    ({"gradient_clipping": True}, "gradient_clipping is True", "gradient_clipping"),
    ({"gradient_clipping": -1}, "gradient_clipping is -1", "gradient_clipping"),
    ({"steps_per_print": 0.5}, "steps_per_print is 0.5", "steps_per_print"),
    ({"tensorboard": {"enabled": "yes"}}, "tensorboard.enabled is 'yes'", "tensorboard.enabled"),
    ({"tensorboard": True}, "tensorboard must be an object", "tensorboard"),
    ({"managed_gradient_accumulation": False}, "managed_gradient_accumulation is False", "managed_gradient"),
    (
        {"gradient_allreduce_op": "sum"},
        "gradient_allreduce_op is 'sum', a run here needs 'mean'",
        "gradient_allreduce_op",
    ),
    ({"train_batch_size": 512}, "train_batch_size is 512, the recipe on 4 rank(s) gives 8192", "batch.total"),
    ({"bfloat16": {"enabled": False}}, "bf16.enabled is False", "precision"),
    ({"bf16": {}, "bfloat16": {"enabled": "auto"}}, "unknown key 'bfloat16'", "'bfloat16'"),
    ({"pipeline": {"stages": 2}}, "pipeline is switched on", "pipeline"),
    ({"zero_optimization": {"stage": 1.5}}, "stage is 1.5", "stage"),
    ({"gradient_clipping": float("inf")}, "gradient_clipping is inf", "largest norm"),
    ({"gradient_clipping": 10**400}, "not a number from 0", "largest norm"),
    ({"tensorbord": {}}, "did you mean 'tensorboard'", "tensorbord"),
]


@pytest.mark.fault("N3.refused")
@pytest.mark.parametrize(("config", "what", "hint"), ON, ids=[what for _, what, _ in ON])
def test_what_is_on_or_wrong_is_refused_with_a_hint_of_its_own(config: dict[str, Any], what: str, hint: str) -> None:
    (fault,) = faults_of(config)
    assert what in fault.what and hint in fault.hint


WHOLE: list[tuple[dict[str, Any], tuple[str, ...], int]] = [
    ({"zero_optimization": {"stage": 2.0}}, ("zero_optimization", "stage"), 2),
    ({"zero_optimization": {"stage": 0.0}}, ("zero_optimization", "stage"), 0),
    ({"steps_per_print": 1e3}, ("steps_per_print",), 1000),
    ({"train_batch_size": 8192.0}, ("train_batch_size",), 8192),
    ({"aio": {"block_size": 1e6}}, ("aio", "block_size"), 1_000_000),
    ({"flops_profiler": {"module_depth": -1.0}}, ("flops_profiler", "module_depth"), -1),
]


@pytest.mark.parametrize(("config", "keys", "wanted"), WHOLE, ids=str)
def test_a_whole_float_is_an_integer(config: dict[str, Any], keys: tuple[str, ...], wanted: int) -> None:
    found: Any = resolved(config)
    for key in keys:
        found = found[key]
    assert (found, type(found)) == (wanted, int)


def test_hints_differ_and_all_are_told() -> None:
    faults = [fault for config, _, _ in ON for fault in faults_of(config)]
    assert len({fault.hint for fault in faults}) > 20
    error = refusal("ds.json", faults)
    assert all(fault.what in error.what and fault.hint in error.hint for fault in faults)


TAKEN: list[dict[str, Any]] = [
    {"optimizer": {"type": "AdamW", "params": ADAMW}},
    {"optimizer": {"type": "AdamW"}},
    {"optimizer": {"type": "auto", "params": {"lr": "auto"}}},
    {"optimizer": {"type": "AdamW", "params": {"lr": 1.5e-4, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.05}}},
    {"optimizer": {"type": "adamw", "params": {"betas": ["auto", 0.95], "torch_adam": True, "adam_w_mode": True}}},
    {"optimizer": {"type": "Adam", "params": ADAMW | {"adam_w_mode": True}}},
    {"optimizer": {"type": "Adam", "params": ADAMW}},
    {"optimizer": {"type": "adam", "params": {"adam_w_mode": "auto", "torch_adam": True}}},
    {"scheduler": {"type": "WarmupLR", "params": WARMUP}},
    {"scheduler": {"type": "WarmupDecayLR", "params": WARMUP | {"total_num_steps": "auto"}}},
    {"scheduler": {"type": "WarmupCosineLR", "params": {"warmup_num_steps": "auto", "cos_min_ratio": 0}}},
    {"scheduler": {"type": "WarmupCosineLR", "params": {"warmup_type": "linear"}}},
    {"scheduler": {"type": "auto"}},
    {"optimizer": {"type": "AdamW", "params": ADAMW}, "scheduler": {"type": "WarmupLR", "params": WARMUP}},
]


@pytest.mark.parametrize("config", TAKEN, ids=str)
def test_an_optimizer_and_a_schedule_that_are_the_recipes_are_left_to_it(config: dict[str, Any]) -> None:
    assert not {"optimizer", "scheduler"} & set(resolved(config))


CONTRADICTING: list[tuple[dict[str, Any], str, str]] = [
    ({"optimizer": {"type": "Lamb"}}, "optimizer.type is 'Lamb', the recipe's optimizer is 'AdamW'", "optim"),
    ({"optimizer": {"type": "Adam", "params": {"adam_w_mode": False}}}, "adam_w_mode is False", '"auto"'),
    ({"optimizer": {"type": "AdaGrad"}}, "optimizer.type is 'AdaGrad'", "AdamW"),
    ({"optimizer": {}}, "optimizer has no type", "optim"),
    ({"optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}}, "lr is 0.001, the recipe's optim.lr is 0.00015", "lr"),
    ({"optimizer": {"type": "AdamW", "params": {"lr": "1.5e-4"}}}, "lr is '1.5e-4'", '"auto"'),
    ({"optimizer": {"type": "AdamW", "params": {"betas": [0.9, 0.999]}}}, "optim.betas is [0.9, 0.95]", "betas"),
    ({"optimizer": {"type": "AdamW", "params": {"betas": 0.9}}}, "betas is 0.9", "betas"),
    ({"optimizer": {"type": "AdamW", "params": {"eps": 1e-6}}}, "eps is 1e-06, the recipe's optim.eps is 1e-08", "eps"),
    ({"optimizer": {"type": "AdamW", "params": {"weight_decay": 0}}}, "weight_decay is 0,", "optim.weight_decay"),
    ({"optimizer": {"type": "AdamW", "params": {"adam_w_mode": False}}}, "adam_w_mode is False", "adam_w_mode"),
    ({"optimizer": {"type": "AdamW", "params": {"wieght_decay": 0.05}}}, "did you mean 'weight_decay'", "wieght_decay"),
    ({"optimizer": {"type": "AdamW", "params": [1]}}, "optimizer.params must be an object", "params"),
    ({"optimizer": {"type": "AdamW", "lr": "auto"}}, "optimizer.lr is no key of optimizer", "into params"),
    ({"scheduler": {}}, "scheduler has no type", "schedule"),
    ({"scheduler": {"type": "OneCycle", "params": {}}}, "scheduler.type is 'OneCycle'", "schedule"),
    ({"scheduler": {"type": "WarmupLR"}}, "scheduler.type is 'WarmupLR'", "WarmupCosineLR"),
    ({"scheduler": {"type": "WarmupLR", "params": WARMUP | {"warmup_max_lr": 1e-3}}},
     "warmup_max_lr is 0.001, the recipe's optim.lr is 0.00015", "optim.lr"),
    ({"scheduler": {"type": "WarmupCosineLR", "params": {"warmup_num_steps": 500}}},
     "warmup_num_steps is 500, the recipe warms up for schedule.warmup_epochs 40", '"auto"'),
    ({"scheduler": {"type": "WarmupDecayLR", "params": WARMUP | {"total_num_steps": 9}}},
     "total_num_steps is 9, the recipe's cosine ends at schedule.horizon_epochs 200", '"auto"'),
    ({"scheduler": {"type": "WarmupCosineLR", "params": {"warmup_type": "log"}}}, "warmup_type is 'log'", "type"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "what", "hint"), CONTRADICTING, ids=[what for _, what, _ in CONTRADICTING])
def test_a_value_that_contradicts_names_both(config: dict[str, Any], what: str, hint: str) -> None:
    (fault,) = faults_of(config)
    assert what in fault.what and hint in fault.hint


def test_float32_turns_bf16_off_with_all_it_says() -> None:
    assert resolved({"bf16": {"enabled": "auto", "immediate_grad_update": "auto"}}, FP32)["bf16"] == {"enabled": False}


def test_bf16_by_its_old_name() -> None:
    for value in ("auto", True):
        found = resolved({"bfloat16": {"enabled": value}})
        assert found["bf16"] == {"enabled": True} and "bfloat16" not in found


def test_without_ranks_the_batch_is_left_and_the_rest_is_judged() -> None:
    out, faults = judge({"train_batch_size": 3, "fp16": {"enabled": True}}, PAPER, None)
    assert out["train_batch_size"] == 3 and [fault.what[:4] for fault in faults] == ["fp16"]


def test_a_monitor_without_its_package_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {name: {"enabled": True} for name in MONITORS}
    monkeypatch.setattr("ecamp_fast.config.deepspeed_values.find_spec", lambda package: None)
    assert absent_monitors(config) == {"tensorboard": "tensorboard", "wandb": "wandb", "comet": "comet_ml"}
    assert absent_monitors({"wandb": {"enabled": False}, "csv_monitor": {"enabled": True}}) == {}
    monkeypatch.setattr("ecamp_fast.config.deepspeed_values.find_spec", lambda package: object())
    assert absent_monitors(config) == {}
