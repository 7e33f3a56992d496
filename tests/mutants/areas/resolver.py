"""The DeepSpeed JSON against the recipe."""

from typing import Any

from mutant import mutants


def resolved() -> Any:
    import json
    import tempfile
    from pathlib import Path

    from ecamp_fast.config import load_recipe
    from ecamp_fast.errors import EcampError
    from ecamp_fast.run.deepspeed_config import aligned, find, resolve, zero_stage

    files: list[dict[str, Any]] = [
        {},
        {"train_batch_size": 0},
        {"train_batch_size": "auto"},
        {"train_batch_size": 512, "fp16": {"enabled": True}},
        {"bf16": {"enabled": False}},
        {"bf16": {"enabled": True}},
        {"zero_optimization": {"stage": 1}, "gradient_clipping": 1.0},
        {"zero_optimization": {"stage": 1}, "data_types": {"grad_accum_dtype": "fp32"}},
        {"zero_optimization": {"stage": 2, "parameter_alignment": False, "compute_grad_norm": True}},
        {"zero_optimization": {"stage": 3}},
        {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}},
        {"optimizer": {"type": "Adam"}},
        {"gradient_cliping": 1.0},
        {"gradient_clipping": "auto"},
        {"gradient_clipping": True},
        {"aio": {"block_size": "auto"}},
        {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "none"}}},
        {"optimizer": {"type": "AdamW", "params": {"betas": ["auto", 0.999]}}},
        {"scheduler": {"type": "WarmupLR", "params": {"warmup_max_lr": 1.5e-4}}},
        {"gradient_accumulation_steps": True, "train_micro_batch_size_per_gpu": 2048},
        {"elasticity": {"enabled": True}},
        {"zero_optimization": {"stage": 2.0}, "wall_clock_breakdown": True},
        {"zero_optimization": {"stage": 2}, "prescale_gradients": True},
        {"zero_optimization": {"stage": 2, "reduce_scatter": False}, "prescale_gradients": True},
        {"zero_optimization": {"stage": 0}, "data_types": {"grad_accum_dtype": "fp32"}},
        {"optimizer": {"type": "Adam", "params": {"adam_w_mode": False}}},
        {"aio": {"block_size": 0, "bogus": 1}, "log_level": "WARNING"},
    ]
    found: list[Any] = [str(find(name)).rsplit("/", 1)[-1] for name in ("", "zero1", "./zero1")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ds.json"
        for content in files:
            path.write_text(json.dumps(content))
            for precision in ("bf16", "fp32"):
                recipe = load_recipe("paper", [f"precision={precision}"])
                try:
                    config = resolve(path, recipe, 4)
                    found.append((config, aligned(config), zero_stage(path)))
                except EcampError as error:
                    found.append(str(error).replace(folder, ""))
    return found


RESOLVED = "tests/run/test_deepspeed_config.py"
VALUES = "tests/config/test_deepspeed_values.py"
KINDS = "tests/config/test_deepspeed_kinds.py"

MUTANTS = (
    mutants(
        "ecamp_fast/run/deepspeed_config.py",
        RESOLVED,
        resolved,
        {
            "stage 1 is taken to pad what it cannot": (
                "stage == 2 or (stage == 1 and not",
                "stage == 2 or (stage == 1 or not",
            ),
            "the throughput timer stays": ('("throughput", {"enabled": False})', '("throughput", {"enabled": True})'),
            "DeepSpeed checks for overflow": ('("check_grad_overflow", False)', '("check_grad_overflow", True)'),
        },
    )
    + mutants(
        "ecamp_fast/config/deepspeed_values.py",
        f"{RESOLVED} {VALUES}",
        resolved,
        {
            "bf16 stays on in float32": ('section["enabled"] = wanted', 'section["enabled"] = True'),
            "bf16 that contradicts float32 is fine": (
                "asked not in (None, wanted)",
                "asked not in (None, True, wanted)",
            ),
            "zero is no number": ("given = resolved.get(key, AUTO)", "given = resolved.get(key) or AUTO"),
            "the batch of the file counts": (
                "        resolved[key] = value\n",
                "        resolved.setdefault(key, value)\n",
            ),
            "the micro-batch is the batch": ('(recipe.micro, "batch.micro")', '(recipe.batch.total, "batch.micro")'),
            "what is switched on passes": ("return bool(asks(value, name, faults))", "return False"),
            "a whole float is no stage": ("not is_whole(stage)", "type(stage) is not int"),
            "stage 3 passes": ("if same(stage, 3):", "if False:"),
            "unknown keys pass": ("in sorted(set(config) - legal):", "in ():"),
            "an auto that nothing fills passes": ("if name not in batch and", "if False and"),
            "auto clips at one": ('"gradient_clipping": 0.0,', '"gradient_clipping": 1.0,'),
            "an offload to nowhere is an offload": ('not in ("none", AUTO, False)', "not in (AUTO, False)"),
        },
    )
    + mutants(
        "ecamp_fast/config/deepspeed_optimizer.py",
        VALUES,
        resolved,
        {
            "one beta that is the recipe's is enough": ("if all(one == AUTO or", "if any(one == AUTO or"),
            "its Adam is another optimizer": ('(AUTO, "adamw", "adam")', '(AUTO, "adamw")'),
            "a rate that stays constant is the recipe's": (
                "kind in _TEMPLATES and any(value == AUTO for value in params.values())",
                "kind in _TEMPLATES",
            ),
        },
    )
    + mutants(
        "ecamp_fast/config/deepspeed_kinds.py",
        KINDS,
        resolved,
        {
            "unknown keys within a section pass": ("sorted(set(_section(config, name)) - set(kinds))", "()"),
            "capitals are another word": ("(value.lower() if small else value)", "value"),
            "none is a count": ("is_whole(value) and value >= 1", "is_whole(value) and value >= 0"),
        },
    )
    + mutants(
        "ecamp_fast/config/deepspeed_limits.py",
        KINDS,
        resolved,
        {
            "scaling is taken by ZeRO-2": ('zero.get("stage", 0) != 2', "True"),
            "scaling is refused without reduce_scatter": (
                ' or zero.get("reduce_scatter", True) is False',
                "",
            ),
            "float32 sums without ZeRO pass": ("stage == 0 and summed", "stage == 9 and summed"),
            "timers that never start pass": ("False) is True:", "False) is None:"),
        },
    )
    + mutants(
        "ecamp_fast/config/deepspeed_fault.py",
        VALUES,
        resolved,
        {
            "true is the number one": (" and not isinstance(value, bool)", ""),
            "one hint serves all": ('"; ".join(hints)', "next(iter(hints))"),
        },
    )
)
