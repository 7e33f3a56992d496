"""The weights a run leaves behind."""

from typing import Any

from mutant import mutants


def masters() -> Any:
    """In bf16 without ZeRO and with it: how far the exported weights are from bf16 numbers."""
    import torch

    from ecamp_fast.bench.data.synthetic import synthetic_batch
    from ecamp_fast.config import load_recipe
    from ecamp_fast.model.ecamp import Ecamp
    from ecamp_fast.run.deepspeed_config import find, resolve
    from ecamp_fast.run.distributed import init
    from ecamp_fast.run.engine import build_engine, set_learning_rate
    from ecamp_fast.run.export import master_weights

    init()
    settings = [
        "precision=bf16",
        "image={high_size: 32, low_size: 16}",
        "model.vision={width: 32, depth: 1, heads: 2, patch: 4}",
        "model.decoder={width: 32, depth: 1, heads: 2}",
        "batch={total: 2, micro: 2}",
    ]
    recipe, found = load_recipe("demo", settings), []
    for stage in ("zero0", "zero2"):
        torch.manual_seed(1)
        engine = build_engine(Ecamp(recipe, 100), recipe, resolve(find(stage), recipe, 1))
        set_learning_rate(engine, 1e-3)
        engine.backward(engine(synthetic_batch(recipe, 100, [20, 30])).total)
        engine.basic_optimizer.found_inf.zero_()
        engine.step()
        weights = master_weights(engine).values()
        found.append(sum(float((weight - weight.bfloat16().float()).abs().sum()) for weight in weights))
    return found


MUTANTS = mutants(
    "ecamp_fast/run/export.py",
    "tests/run/test_export.py",
    masters,
    {
        "bf16 without ZeRO leaves rounded weights": ("unfused_masters(engine.optimizer)  #", "{}  #"),
        "weights are those of the model": ("if full is None else full", "if True else full"),
    },
)
