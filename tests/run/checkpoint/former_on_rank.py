"""One rank of a test: trains a step in each case, and saves as versions up to 0.1 did and as is done today.

python former_on_rank.py OUT CASES    CASES: JSON object, name to [step, ZeRO stage, precision, keys of DeepSpeed's
JSON]. What is saved is in OUT/NAME/checkpoints and OUT/NAME/today; the former files lack their manifest.
"""

import json
import sys
from pathlib import Path

import torch

from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.config import dump_recipe, load_recipe
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.run import deepspeed_config
from ecamp_fast.run.checkpoint.agreement import ranks_of_this_run
from ecamp_fast.run.checkpoint.commit import save
from ecamp_fast.run.checkpoint.engine_state import engine_state
from ecamp_fast.run.checkpoint.manifest import Position
from ecamp_fast.run.distributed import init, shutdown
from ecamp_fast.run.engine import build_engine
from ecamp_fast.run.step import OptimizerStep

VOCABULARY = 100
TINY = [
    *("image.high_size=64", "image.low_size=32", "text.max_tokens=64", "batch.total=8", "batch.micro=4"),
    *("model.vision.width=48", "model.vision.depth=1", "model.decoder.width=48", "model.decoder.depth=1"),
    *("model.text.width=48", "model.text.ffn=64"),
]


def main(out: str, cases: str) -> None:
    context = init()
    for name, (number, stage, precision, keys) in json.loads(cases).items():
        run, recipe = Path(out) / name, load_recipe("demo", [*TINY, f"precision={precision}"])
        file = run / f"ds-{context.rank}.json"
        run.mkdir(exist_ok=True)
        config = {"zero_optimization": {"stage": stage}, "zero_allow_untested_optimizer": True} | keys
        file.write_text(json.dumps(config))
        resolved = deepspeed_config.resolve(file, recipe, context.world)
        torch.manual_seed(1)
        engine = build_engine(Ecamp(recipe, VOCABULARY).to(context.device), recipe, resolved)
        step = OptimizerStep(engine, recipe, context, clipping=0.0)
        step.backward(0, 1e-3, iter([synthetic_batch(recipe, VOCABULARY, [20, 30, 40, 64]).to(context.device)]))
        step.update()
        engine.save_checkpoint(str(run / "checkpoints"), tag=f"step-{number:08d}", save_latest=False)
        save(run / "today", engine_state(engine), Position(step=number), ranks_of_this_run())
        if context.is_main:
            (run / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
            (run / "ds_config.json").write_text(json.dumps(resolved))
    shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
