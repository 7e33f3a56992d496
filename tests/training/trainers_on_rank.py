"""One rank of a test: several runs, one after the other, in one process per rank.

python trainers_on_rank.py SHARDS OUT CASES    SHARDS: one, or several with blanks between them   CASES: JSON object,
name to {"settings": list of KEY=VALUE on the recipe demo, "ds_config": name or path, "threads": count, "run": folder in
OUT, by default the name}.
"""

import json
import sys
from pathlib import Path

import torch

from ecamp_fast.config import load_recipe
from ecamp_fast.run.deepspeed_config import find
from ecamp_fast.run.distributed import init, shutdown
from ecamp_fast.run.trainer import Job, Trainer


def main(shards: str, out: str, cases: str) -> None:
    context = init()
    for name, case in json.loads(cases).items():
        torch.set_num_threads(case["threads"])
        recipe = load_recipe("demo", case["settings"])
        run = Path(out) / case.get("run", name)
        Trainer(Job(recipe, tuple(shards.split()), run, find(case["ds_config"])), context).train()
    shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
