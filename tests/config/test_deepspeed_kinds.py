"""Values of a DeepSpeed JSON that are of another kind than their key's, or that do not go together in a run here."""

from typing import Any

import pytest

from ecamp_fast.config import load_recipe
from ecamp_fast.config.deepspeed_kinds import NAMES
from ecamp_fast.config.deepspeed_values import judge

BF16, FP32 = load_recipe("paper"), load_recipe("paper", ["precision=fp32"])

KINDS: list[tuple[dict[str, Any], str]] = [
    ({"wall_clock_breakdown": "yes"}, "wall_clock_breakdown is 'yes', not true or false"),
    ({"wall_clock_breakdown": 1}, "wall_clock_breakdown is 1, not true or false"),
    ({"memory_breakdown": "no"}, "memory_breakdown is 'no', not true or false"),
    ({"dump_state": 0}, "dump_state is 0, not true or false"),
    ({"prescale_gradients": "false"}, "prescale_gradients is 'false', not true or false"),
    ({"gradient_predivide_factor": "2"}, "gradient_predivide_factor is '2', not a number above 0"),
    ({"zero_optimization": {"stage": 1}, "gradient_predivide_factor": 0}, "gradient_predivide_factor is 0, not a"),
    ({"communication_data_type": "fp99"}, "communication_data_type is 'fp99', not one of fp16, bf16, fp32"),
    ({"communication_data_type": 3}, "communication_data_type is 3, not one of"),
    ({"log_level": "loud"}, "log_level is 'loud', not one of debug"),
    ({"log_level": 3}, "log_level is 3, not one of debug"),
    ({"steps_per_print": True}, "steps_per_print is True, not a whole number from 1"),
    ({"data_types": {"grad_accum_dtype": "fp99"}}, "data_types.grad_accum_dtype is 'fp99', not one of bf16"),
    ({"data_types": {"grad_accum_dtype": 32}}, "data_types.grad_accum_dtype is 32, not one of"),
    ({"data_types": {"grad_accum_dtype": "FP32"}}, "data_types.grad_accum_dtype is 'FP32', not one of"),
    ({"data_types": {"buffer_dtype": "int8"}}, "data_types.buffer_dtype is 'int8', not one of"),
    ({"data_types": {"keep_in_fp32_modules": 3}}, "data_types.keep_in_fp32_modules is 3, not a list of names"),
    ({"data_types": {"grad_acum_dtype": "fp32"}}, "unknown key 'data_types.grad_acum_dtype' (DeepSpeed would ignore"),
    (
        {"checkpoint": {"tag_validation": "never"}},
        "checkpoint.tag_validation is 'never', not one of ignore, warn, fail",
    ),
    ({"checkpoint": {"tag_validation": 3}}, "checkpoint.tag_validation is 3, not one of"),
    ({"checkpoint": {"parallel_write": 3}}, "checkpoint.parallel_write is 3, not an object"),
    ({"checkpoint": {"load_universial": True}}, "did you mean 'load_universal'?"),
    ({"timers": {"throughput": True}}, "timers.throughput is True, not an object"),
    ({"timers": {"troughput": {}}}, "did you mean 'throughput'?"),
    ({"aio": {"block_size": "big"}}, "aio.block_size is 'big', not a whole number from 1"),
    ({"aio": {"intra_op_parallelism": 0}}, "aio.intra_op_parallelism is 0, not a whole number from 1"),
    ({"aio": {"queue_depth": 0.5}}, "aio.queue_depth is 0.5, not a whole number from 1"),
    ({"activation_checkpointing": {"bogus": 1}}, "unknown key 'activation_checkpointing.bogus'"),
    ({"activation_checkpointing": {"profile": "x"}}, "activation_checkpointing.profile is 'x', not true or false"),
    ({"flops_profiler": {"enabled": "yes"}}, "flops_profiler.enabled is 'yes', not true or false"),
    ({"flops_profiler": {"output_file": 3}}, "flops_profiler.output_file is 3, not a string"),
]
LIMITS: list[tuple[dict[str, Any], Any, str]] = [
    ({"wall_clock_breakdown": True}, BF16, "wall_clock_breakdown is True: DeepSpeed's timers do not start"),
    ({"flops_profiler": {"enabled": True}}, BF16, "flops_profiler.enabled is True: DeepSpeed's timers do not start"),
    ({"zero_optimization": {"stage": 2}, "prescale_gradients": True}, BF16, "prescale_gradients is True, which ZeRO-2"),
    ({"zero_optimization": {"stage": "auto"}, "prescale_gradients": True}, BF16, "prescale_gradients is True, which"),
    ({"zero_optimization": {"stage": 2.0}, "gradient_predivide_factor": 2}, BF16, "gradient_predivide_factor is 2,"),
    ({"bf16": {"enabled": True, "bf16_master_weights_and_grads": True}}, BF16, "bf16_master_weights_and_grads is True"),
    ({"bf16": {"bf16_optimizer_states": "yes"}}, BF16, "bf16.bf16_optimizer_states is 'yes', which needs an offload"),
    ({"data_types": {"param_dtype": "fp16"}}, BF16, "data_types.param_dtype is 'fp16', the recipe's precision is bf16"),
    ({"data_types": {"param_dtype": "bfloat16"}}, FP32, "param_dtype is 'bfloat16', the recipe's precision is fp32"),
    ({"data_types": {"grad_accum_dtype": "fp32"}}, BF16, "grad_accum_dtype is 'fp32', without ZeRO gradients are"),
    (
        {"zero_optimization": {"stage": 0}, "data_types": {"grad_accum_dtype": "bf16"}},
        FP32,
        "data_types.grad_accum_dtype is 'bf16', without ZeRO gradients are summed in the recipe's precision, fp32",
    ),
    (
        {"zero_optimization": {"stage": 1, "compute_grad_norm": False}, "data_types": {"grad_accum_dtype": "float32"}},
        BF16,
        "compute_grad_norm is False, which ZeRO-1 does not take with data_types.grad_accum_dtype 'float32'",
    ),
]
TAKEN: list[tuple[dict[str, Any], Any]] = [
    ({"zero_optimization": {"stage": 1}, "prescale_gradients": True}, BF16),
    ({"zero_optimization": {"stage": 2, "reduce_scatter": False}, "gradient_predivide_factor": 2.0}, BF16),
    ({"gradient_predivide_factor": 2.0, "prescale_gradients": True}, BF16),
    ({"zero_optimization": {"stage": 1}, "data_types": {"grad_accum_dtype": "fp32"}}, BF16),
    ({"zero_optimization": {"stage": 0}, "data_types": {"grad_accum_dtype": "torch.float32"}}, FP32),
    ({"zero_optimization": {"stage": 1, "compute_grad_norm": False}, "data_types": {"grad_accum_dtype": "fp32"}}, FP32),
    ({"data_types": {"param_dtype": "torch.bfloat16", "keep_in_fp32_modules": ["norm"]}}, BF16),
    ({"bf16": {"enabled": False, "bf16_master_weights_and_grads": True}}, FP32),
    ({"communication_data_type": "FP32", "log_level": "WARNING"}, BF16),
    ({"checkpoint": {"tag_validation": "Ignore", "parallel_write": {"pipeline_stage": False}}}, BF16),
    ({"memory_breakdown": True, "dump_state": True, "timers": {"throughput": {"enabled": True}}}, BF16),
]


@pytest.mark.parametrize(("config", "what"), KINDS, ids=[what for _, what in KINDS])
def test_a_value_of_another_kind_is_refused_by_its_key(config: dict[str, Any], what: str) -> None:
    (fault,) = judge(config, BF16, 4)[1]
    assert what in fault.what and fault.hint


@pytest.mark.parametrize(("config", "recipe", "what"), LIMITS, ids=[what for _, _, what in LIMITS])
def test_what_does_not_go_together_is_refused_by_its_key(config: dict[str, Any], recipe: Any, what: str) -> None:
    (fault,) = judge(config, recipe, 4)[1]
    assert what in fault.what and fault.hint


@pytest.mark.parametrize(("config", "recipe"), TAKEN, ids=[str(config) for config, _ in TAKEN])
def test_what_deepspeed_takes_is_taken(config: dict[str, Any], recipe: Any) -> None:
    assert judge(config, recipe, 4)[1] == []


def test_the_keys_of_strict_sections_are_deepspeeds() -> None:
    from deepspeed.comm.config import CommsLoggerConfig
    from deepspeed.compile.config import CompileConfig
    from deepspeed.monitor.config import CometConfig, CSVConfig, TensorBoardConfig, WandbConfig
    from deepspeed.runtime.precision_config import DeepSpeedBF16Config
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    from deepspeed.utils.config import DeepSpeedThroughputTimerConfig

    theirs = {
        "zero_optimization": DeepSpeedZeroConfig,
        "bf16": DeepSpeedBF16Config,
        "comms_logger": CommsLoggerConfig,
        "compile": CompileConfig,
        "tensorboard": TensorBoardConfig,
        "wandb": WandbConfig,
        "csv_monitor": CSVConfig,
        "comet": CometConfig,
        "timers.throughput": DeepSpeedThroughputTimerConfig,
    }
    former = {"zero_optimization.mics_shard_size", "zero_optimization.mics_hierarchical_params_gather"}
    former |= {"zero_optimization.zeropp_loco_param"}  # which other releases have, and we answer by name
    for section, kind in theirs.items():
        named = {name for name in NAMES if name.rpartition(".")[0] == section} - former
        fields = {f"{section}.{key}" for name, field in kind.model_fields.items() for key in (name, field.alias) if key}
        assert named == fields, section
