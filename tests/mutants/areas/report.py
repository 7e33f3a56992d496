"""What a run tells of the machine, the time it still takes, and whether a set is finished."""

from typing import Any

from mutant import mutants


def gauged() -> Any:
    """Of a CPU and of an H200."""
    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.run.distributed import DistContext
    from ecamp_fast.run.metrics import Gauge

    means = {"tokens": 800.0, "predicted": 80.0, "data_seconds": 0.5}
    recipe = load_recipe("paper", ["batch.micro=4"])
    before = torch.cuda.get_device_name, torch.cuda.max_memory_allocated, torch.cuda.reset_peak_memory_stats
    torch.cuda.get_device_name = lambda device: "NVIDIA H200"  # type: ignore[assignment]
    torch.cuda.max_memory_allocated = lambda device: 7  # type: ignore[assignment]
    torch.cuda.reset_peak_memory_stats = lambda device: None  # type: ignore[assignment]
    try:
        found = [
            Gauge(recipe, 30000, DistContext(0, 2, torch.device(kind))).read(means, 8.0, 2.0)
            for kind in ("cpu", "cuda")
        ]
    finally:
        torch.cuda.get_device_name, torch.cuda.max_memory_allocated, torch.cuda.reset_peak_memory_stats = before  # type: ignore[assignment]
    return [{name: value for name, value in one.items() if name != "memory_bytes"} for one in found]


def metered() -> Any:
    """Words that are predicted, and seconds that two ranks waited."""
    from unittest.mock import patch

    import torch

    from ecamp_fast.batch import Batch, Text
    from ecamp_fast.config import load_recipe
    from ecamp_fast.objectives import Losses
    from ecamp_fast.run.metrics import LossMeter

    nothing = torch.zeros(2)
    text = Text(*[nothing] * 4, torch.tensor([0.5, 0.0, 2.0]), nothing, nothing, 0)  # type: ignore[arg-type]
    batch = Batch(nothing, nothing, nothing, text, torch.tensor([5, 6]), nothing, nothing)
    with (
        patch("torch.distributed.is_initialized", lambda: True),
        patch("torch.distributed.get_world_size", lambda: 2),
        patch("torch.distributed.all_reduce", lambda sums: sums.mul_(2)),
    ):
        meter = LossMeter("cpu", load_recipe("demo"))
        meter.add(Losses(*(torch.tensor(float(n)) for n in (3, 1, 2, 0))), batch)
        return [meter.drain(3.0), meter.drain()]


def awaited() -> Any:
    """ETAs, and what the first step still takes."""
    import contextlib
    import io
    import time

    from ecamp_fast.run.progress import TrainProgress, Waiting
    from ecamp_fast.run.safety.heartbeat import Heartbeat

    now, real, monotonic = [100.0], time.perf_counter, time.monotonic
    time.perf_counter = time.monotonic = lambda: now[0]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            shown = TrainProgress(100, 20, visible=True)
            now[0] += 500
            shown.warmed_up(21)
            now[0] += 18
            line = {"loss": 1.0, "mim": 1.0, "sr": 1.0, "mlm": 1.0, "images_per_second": 3.0}
            shown.update(30, line)
            heartbeat = Heartbeat()
            waiting = Waiting(heartbeat, visible=False)
            heartbeat.parts = 8
            for part in (1, 3):
                heartbeat.at = (0, part, "step")
                now[0] += 20
                print(waiting.line())
                said.write(waiting.line())
    finally:
        time.perf_counter, time.monotonic = real, monotonic
    return said.getvalue()


MANY = "tests/run/test_metrics.py tests/run/test_progress.py"

MUTANTS = [
    *mutants(
        "ecamp_fast/run/metrics.py",
        MANY,
        gauged,
        {
            "the wait is in seconds": ('min(means["data_seconds"] / seconds, 1.0)', 'min(means["data_seconds"], 1.0)'),
            "tokens are those of a lap": ('round(means["tokens"] / seconds, 2)', 'round(means["tokens"], 2)'),
            "one chip does the work of all": ("(self._chip.bf16 * self._context.world)", "self._chip.bf16"),
            "a text is as long as all of them": ('round(means["tokens"] / images)', 'round(means["tokens"])'),
            "words are predicted once a micro-batch": ("/ images * micro)", "/ images)"),
        },
    ),
    *mutants(
        "ecamp_fast/run/metrics.py",
        MANY,
        metered,
        {
            "words count by their weight": ("weights.count_nonzero()", "weights.sum()"),
            "all ranks wait one after the other": (
                "seconds / (dist.get_world_size() if dist.is_initialized() else 1)",
                "seconds",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/run/progress.py",
        MANY,
        awaited,
        {
            "the ETA counts steps of before": ("/ (step - self._start)", "/ step"),
            "the ETA counts from the beginning": (
                "self._start, self._began = step, time.perf_counter()",
                "self._start = step",
            ),
            "the micro-step on its way is done": (
                "(self._heartbeat.parts - part)",
                "(self._heartbeat.parts - part - 1)",
            ),
        },
    ),
]
