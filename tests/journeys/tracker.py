"""Journey: the tracker hangs, dies or has no space, and the run ends as it would without it, to the bit."""

import sys

from journeys.harness import Skipped, Walk, check, check_complete, digest, program, tiny
from journeys.stop_resume import LENGTH

# Modules that stand in for wandb. What is called on it is not looked at: whatever it is, it goes wrong.
FAULTS = {
    "hangs": "import time\ntime.sleep(100_000)",
    "hangs later": "import time\n{run}\n    def log(self, *a, **k): time.sleep(100_000)\n{init}",
    "dies": "import os\n{run}\n    def log(self, *a, **k): os._exit(9)\n{init}",
    "is killed": "import os, signal\n{run}\n    def log(self, *a, **k): os.kill(os.getpid(), signal.SIGKILL)\n{init}",
    "fills the disk": "{run}\n    def log(self, *a, **k): raise OSError(28, 'No space left on device')\n{init}",
    "is no wandb": "raise ImportError('broken installation')",
}
PARTS = {
    "run": "class Run:\n    def __getattr__(self, name): return lambda *a, **k: Run()",
    "init": "run = Run()\ndef init(*a, **k): return Run()\ndef log(*a, **k): return run.log(*a, **k)\n"
    "def finish(*a, **k): return None\nclass Settings:\n    def __init__(self, *a, **k): pass",
}


def stands() -> bool:
    """Whether ``train`` knows ``--track``."""
    from ecamp_fast.train import main

    return any("--track" in option.opts for option in main.params)


def journey(walk: Walk) -> None:
    if not stands():
        raise Skipped("`train` has no --track yet")
    walk.need("SHARDS")
    command = f"ecamp-fast train --data SHARDS --recipe demo --no-report {tiny(LENGTH)}"
    walk.need("RUN:plain")
    for number, (name, text) in enumerate(list(FAULTS.items())[2 if walk.short else 0 : 3 if walk.short else None]):
        broken = walk.folder / f"broken-{number}"
        (broken / "wandb").mkdir(parents=True)
        (broken / "wandb" / "__init__.py").write_text(text.format(**PARTS))
        path = ":".join(filter(None, (str(broken), walk.env.get("PYTHONPATH", ""))))
        run = f"tracked-{number}"
        walk.type(f"{command} --out {run} --track wandb  # it {name}", env={"PYTHONPATH": path}, timeout=300)
        check_complete(walk.state(run))
        check_undisturbed(
            digest(walk.here / "plain" / "weights.safetensors"), digest(walk.here / run / "weights.safetensors"), name
        )


def check_undisturbed(plain: str, tracked: str, name: str) -> None:
    """Weights that are equal to the bit."""
    check(plain == tracked, f"the tracker {name}: the weights are those of a run without it")


def main() -> int:
    return program(journey)


if __name__ == "__main__":
    sys.exit(main())
