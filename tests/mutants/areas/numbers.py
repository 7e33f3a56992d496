"""Numbers that go bad: what is left out, what is written, from where to go on, and what a replay names."""

from typing import Any

from mutant import mutants

NUMBERS, SPIKES = "tests/run/safety/test_numbers.py", "tests/run/safety/test_spikes.py"


def judged() -> Any:
    """What is said of good steps, bad steps and spikes, and the state at the end of each way."""
    import math

    from ecamp_fast.config import SafetyConfig
    from ecamp_fast.run.safety.numbers import Numbers, rebuild

    good, bad, spike = (1.0, 5.0), (math.inf, 5.0), (1.0, 60.0)
    found: list[Any] = []
    for choice in ("log", "skip", "roll_back"):
        for steps in ([good, bad] * 20, [good] * 20 + [spike, bad] + [good] * 70, [good] * 40 + [bad] * 18):
            numbers, events = Numbers(SafetyConfig(spikes=choice)), []
            for step, (norm, loss) in enumerate(steps, 1):
                limits = numbers.limits(step)
                told = numbers.judge(step, norm, loss, norm < math.inf and loss <= limits[1])
                found.append((told, limits, numbers.healthy_until, numbers.skips, numbers.in_a_row))
                events += [{"event": told.event, "step": step, **told.facts}] if told.event else []
            if numbers.healthy_until is not None:
                found.append((numbers.go_back(len(steps)), numbers.left_out))
            again = rebuild(numbers._safety, len(steps) - 1, events, [(step, *good) for step in range(1, 90)])
            found.append((again.skips, again.in_a_row, again.healthy_until, again.limits(500)))
    worse = Numbers(SafetyConfig())
    for step in range(1, 9):
        worse.judge(step, 1.0, 5.0 * step, True)
    return found, [worse.fault_of_end(loss) for loss in (49.0, 51.0, math.nan)]


def limits() -> Any:
    from ecamp_fast.run.safety.spikes import Spikes

    found = []
    for values in ([1.0] * 15, [1.0] * 16, [float(n) for n in range(40)], [1.0] * 20 + [9.0] * 60):
        spikes = Spikes(64, 10.0)
        for value in values:
            spikes.add(value)
        found.append((spikes.limit, spikes.z(50.0), [spikes.is_spike(value / 4) for value in range(400)]))
    return found


def applied() -> Any:
    """What the update says and masks, of norms and losses within their limits and not."""
    import math
    from types import SimpleNamespace
    from unittest.mock import patch

    import torch

    from ecamp_fast.run.update import Update

    found = []
    with patch("torch.distributed.get_world_size", lambda: 2), patch("torch.distributed.all_reduce", lambda sums: None):
        wide = (9.0, 9.0)
        for loss, pair in ((1.0, wide), (math.nan, wide), (20.0, wide), (1.0, (4.0, 9.0)), (1.0, (-1.0, 9.0))):
            weight = SimpleNamespace(grad=torch.full((4,), 3.0))
            engine = SimpleNamespace(
                device="cpu",
                optimizer=SimpleNamespace(),
                basic_optimizer=SimpleNamespace(),
                module=SimpleNamespace(parameters=lambda weight=weight: [weight]),
                step=lambda: None,
                zero_optimization=lambda: True,
            )
            losses = torch.full((4,), loss, dtype=torch.float64)
            found.append((str(Update(engine, 0.0).apply(losses=losses, limits=pair)), engine.basic_optimizer))
    return str(found)


def finite() -> Any:
    import torch

    from ecamp_fast.weights.finite import first_not_finite

    bad = torch.tensor([1.0, float("nan"), 2.0]), torch.tensor([1.0, float("inf")])
    return [first_not_finite({"good": torch.ones(3), "bad": tensor}) for tensor in bad]


def owners() -> Any:
    """Of rows of pictures, of text and of predicted words."""
    import torch

    from ecamp_fast.bench.data.synthetic import synthetic_batch
    from ecamp_fast.config import load_recipe
    from ecamp_fast.replay.search import _samples_of

    batch = synthetic_batch(load_recipe("demo"), 100, [20, 30, 10])
    text = batch.text
    assert text is not None
    counts = (3, len(text.ids), len(text.rows))
    return [_samples_of(torch.tensor(rows), count, batch) for count in counts for rows in ([0], [1, 2], [count - 1])]


MUTANTS = [
    *mutants(
        "ecamp_fast/run/safety/numbers.py",
        NUMBERS,
        judged,
        {
            "skips have no budget in total": ("if self.skips > max(", "if self.skips > 1e9 + max("),
            "a row has no end": ("if self.in_a_row >= IN_A_ROW:", "if self.in_a_row > IN_A_ROW:"),
            "weights are proven by the step that made them": (
                "self._proved, self.in_a_row = step - 1, 0",
                "self._proved, self.in_a_row = step, 0",
            ),
            "trouble moves on with every bad step": (
                "        if self.healthy_until is None:\n            self.healthy_until = self._proved\n",
                "        self.healthy_until = self._proved\n",
            ),
            "the first suspected update is not left out": (
                "range(self.healthy_until + 1, step + 1)",
                "range(self.healthy_until + 2, step + 1)",
            ),
            "spikes are masked where they are to be logged": ('self._safety.spikes == "log" else', "False else"),
            "a run ends ruined, and is complete": (
                "if loss > RUINED * self._first_loss:",
                "if loss > RUINED * max(self._losses._values):",
            ),
            "a resumed run forgets what it left out": ("self.skips, number = len(unapplied), step", "number = step"),
        },
    ),
    *mutants(
        "ecamp_fast/run/safety/spikes.py",
        SPIKES,
        limits,
        {
            "a few spikes hide the next": (
                "deviation = median(abs(value",
                "deviation = max(abs(value",
            ),
            "what is near the median is judged by a floor of its own": ("(1 + self._z * _FLOOR) *", "(1 + self._z) *"),
            "a flat curve has no room": ("_FLOOR = 0.05", "_FLOOR = 0.0"),
            "the first values judge": ("ARMED = 16", "ARMED = 8"),
        },
    ),
    *mutants(
        "ecamp_fast/run/update.py",
        "tests/run/test_update.py::test_beyond_a_limit_nothing_moves",
        applied,
        {
            "a loss beyond its limit is applied": (" & (loss <= highest)", ""),
            "a norm beyond its limit is applied": (" & (squared <= largest)", ""),
        },
    ),
    *mutants(
        "ecamp_fast/weights/finite.py",
        "tests/weights/test_finite.py",
        finite,
        {"one finite extreme is enough": (".all(dim=1)", ".any(dim=1)")},
    ),
    *mutants(
        "ecamp_fast/replay/search.py",
        "tests/replay/test_search.py",
        owners,
        {"a row belongs to the sample before": ("right=True) - 1", "right=True) - 2")},
    ),
]
