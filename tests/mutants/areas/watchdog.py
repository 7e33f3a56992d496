"""Who is blamed when a run stands still, and what becomes of a loader that fails."""

from typing import Any

from mutant import mutants


def judgements() -> Any:
    """Kind and rank of the endings of a row of situations."""
    from dataclasses import replace

    from ecamp_fast.config.sections import WatchdogConfig
    from ecamp_fast.run.safety.heartbeat import AFTER_ALL, Beat
    from ecamp_fast.run.safety.judge import Seen, judge
    from ecamp_fast.run.safety.member import Member

    limits = WatchdogConfig(start=100, step=30, data=20, evaluation=40, save=50, stopped=10, silent=15)
    here = Beat(step=7, part=1, phase="step", warm=True, waits=True)
    late, busy = replace(here, still=1000.0), replace(here, still=1000.0, waits=False)
    data, end = replace(here, phase="data", still=25.0), replace(here, phase="end")
    every = replace(here, phase="evaluation", part=AFTER_ALL, still=1000.0)
    found = []
    for own, other, seen in (
        (here, here, {"state": "dead", "lost_for": 2.0}),
        (end, end, {"state": "dead", "lost_for": 2.0}),
        (here, here, {"state": "stopped", "lost_for": 9.0}),
        (late, busy, {}),
        (late, late, {}),
        (late, here, {}),
        (late, data, {}),
        (late, replace(data, still=31.0), {}),
        (every, replace(every, part=2), {}),
        (replace(here, still=16.0), here, {"silent": 16.0}),
        (here, here, {"silent": 16.0}),
        (here, replace(here, step=5), {"state": "dead", "lost_for": 2.0}),
    ):
        members = [Member(rank, "host", rank, 0, "machine") for rank in range(2)]
        ranks = [Seen(members[0], own), Seen(members[1], other, **seen)]
        for unheard in (0.0, 14.0):
            ending = judge(0, ranks, limits, "store", unheard)
            found.append(ending and (ending.kind, ending.rank, ending.code, ending.beat.step, ending.reached))
    return found


def a_loader() -> Any:
    """What a loader that fails leaves: batches, the fault, marks."""
    from ecamp_fast.run.safety.heartbeat import Heartbeat
    from ecamp_fast.run.safety.loader_fault import GuardedBatches

    def batches() -> Any:
        yield "a"
        yield "b"
        raise KeyError("c")

    heartbeat = Heartbeat()
    guarded: Any = GuardedBatches(batches(), heartbeat, 7, 2)
    found = []
    for _ in range(4):
        try:
            found.append((next(guarded), heartbeat.at, type(guarded.fault).__name__))
        except KeyError:
            found.append("raised")
    return found


def a_failed_update() -> Any:
    """Results of an update on one rank that had no data."""
    from types import SimpleNamespace
    from unittest.mock import patch

    import torch

    from ecamp_fast.run.update import Update, Votes

    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    engine: Any = SimpleNamespace(
        device="cpu",
        optimizer=SimpleNamespace(),
        basic_optimizer=SimpleNamespace(found_inf=None),
        module=SimpleNamespace(parameters=lambda: [weight]),
        zero_optimization=lambda: True,
        step=lambda: None,
    )
    found = []
    with patch("torch.distributed.all_reduce", lambda vector: None):
        for failed in (False, True):
            result = Update(engine, 0.0).apply(Votes(failed=failed))
            found.append((result.votes.failed, result.applied, float(engine.basic_optimizer.found_inf)))
    return found


MUTANTS = [
    *mutants(
        "ecamp_fast/run/safety/judge.py",
        "tests/run/safety/test_judge.py",
        judgements,
        {
            "the dead are named whenever they left": ('DEAD_AT_THE_END if seen.beat.phase == "end" else DEAD', "DEAD"),
            "a stop is not waited for": (" and seen.lost_for >= limits.stopped", ""),
            "who is ahead is blamed": ("least = min(", "least = max("),
            "one that moves does not hold the others": ("still = min(", "still = max("),
            "who waits is blamed": ("if not seen.beat.waits]", "if seen.beat.waits]"),
            "silence counts of those that move": ("    if own.still < limit:\n        return None\n", ""),
            "a store that hangs makes a rank silent": ("silent.silent - unheard", "silent.silent"),
            "the loader has no time to say so itself": ("limits.data + LOADER_FIRST", "limits.data"),
            "a culprit is where it was last heard": (
                "own.beat.position > seen.beat.position",
                "own.beat.position < seen.beat.position",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/run/safety/heartbeat.py",
        "tests/run/safety/test_judge.py",
        judgements,
        {"parts of a step do not count": ("ORDER[self.phase], self.part,", "ORDER[self.phase], 0,")},
    ),
    *mutants(
        "ecamp_fast/run/safety/loader_fault.py",
        "tests/run/safety/test_loader_fault.py::test_a_batch_that_fails_is_stood_in_for_by_the_one_before",
        a_loader,
        {
            "a fault is raised where the others do not know of it": ("if self._last is None:", "if self._last:"),
            "micro-batches are not counted": ("        self._count += 1\n", ""),
        },
    ),
    *mutants(
        "ecamp_fast/run/update.py",
        "tests/run/test_update.py::test_a_rank_without_data_leaves_the_update_out_everywhere",
        a_failed_update,
        {
            "a step without data is applied": (
                "        if votes.failed:\n            self._vector[0].fill_(math.inf)\n",
                "",
            )
        },
    ),
]
