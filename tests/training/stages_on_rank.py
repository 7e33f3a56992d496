"""One rank of ``test_stages``: the same run under several stages, one after the other.

python stages_on_rank.py SHARDS OUT SETTINGS CASES    SETTINGS: JSON list of KEY=VALUE, CASES: JSON object, name to
{"ds_config": path, "threads": count}; losses go to OUT/NAME/metrics.jsonl
"""

import json
import sys
from pathlib import Path

import torch

from ecamp_fast.config import load_recipe
from ecamp_fast.run.distributed import init, shutdown
from ecamp_fast.run.trainer import Job, Trainer


def main(shards: str, out: str, settings: str, cases: str) -> None:
    recipe = load_recipe("demo", json.loads(settings))
    context = init()
    for name, case in json.loads(cases).items():
        torch.set_num_threads(case["threads"])
        Trainer(Job(recipe, Path(shards), Path(out) / name, Path(case["ds_config"])), context).train()
    shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
