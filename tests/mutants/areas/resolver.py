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


MUTANTS = mutants(
    "ecamp_fast/run/deepspeed_config.py",
    "tests/run/test_deepspeed_config.py",
    resolved,
    {
        "bf16 stays on in float32": ('bf16["enabled"] = recipe.precision == "bf16"', 'bf16["enabled"] = True'),
        "bf16 that contradicts float32 is fine": (
            'not in ("auto", recipe.precision == "bf16")',
            'not in ("auto", True, recipe.precision == "bf16")',
        ),
        "zero is no number": ('if config.get(key, "auto") not in', "if config.get(key) and config[key] not in"),
        "the batch of the file counts": (
            "        resolved[key] = value\n",
            "        resolved.setdefault(key, value)\n",
        ),
        "the micro-batch is the batch": (
            '"train_micro_batch_size_per_gpu": recipe.micro',
            '"train_micro_batch_size_per_gpu": recipe.batch.total',
        ),
        "fp16 passes": ('if config.get("fp16", {}).get("enabled", False):', "if False:"),
        "stage 3 passes": ('if zero.get("stage", 0) == 3:', "if False:"),
        "unknown keys pass": ("    return sorted(set(config) - KNOWN - set(OURS))", "    return []"),
        "stage 1 is taken to pad what it cannot": (
            "stage == 2 or (stage == 1 and not",
            "stage == 2 or (stage == 1 or not",
        ),
        "the throughput timer stays": ('("throughput", {"enabled": False})', '("throughput", {"enabled": True})'),
        "DeepSpeed checks for overflow": ('("check_grad_overflow", False)', '("check_grad_overflow", True)'),
    },
)
