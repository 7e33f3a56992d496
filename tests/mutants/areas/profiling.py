"""Where the time of a step went: whose every instant is, what is counted, what it reaches."""

from typing import Any

from mutant import mutants

ROOM = "ecamp_fast/run/profiling"
MS = 1_000_000


def _events() -> Any:
    """A step on a host, and the same with a GPU."""
    from ecamp_fast.run.profiling.recorded import Event

    main, engine, mark = 11, 12, "component: "
    host = [
        Event("step: 5", 0, 1000, main, annotation=True),
        Event(f"{mark}data wait", 0, 50, main, annotation=True),
        Event(f"{mark}other", 60, 500, main, annotation=True),
        Event(f"{mark}encoder", 100, 300, main, annotation=True),
        Event("aten::mm", 120, 280, main, number=1, sequence=7),
        Event(f"{mark}fusion", 320, 480, main, annotation=True),
        Event("aten::mul", 330, 400, main, number=2, sequence=8),
        Event("aten::mul", 340, 390, main, sequence=9),
        Event(f"{mark}fusion", 500, 510, engine, annotation=True),
        Event("aten::mul", 502, 504, engine, sequence=7),
        Event("autograd::engine::evaluate_function: MulBackward0", 520, 600, main, sequence=9),
        Event("autograd::engine::evaluate_function: MmBackward0", 600, 700, main, sequence=7),
        Event(f"{mark}encoder", 610, 640, main, annotation=True),
        Event("autograd::engine::evaluate_function: torch::autograd::AccumulateGrad", 700, 720, main),
        Event(f"{mark}optimizer", 800, 990, main, annotation=True),
        Event("c10d::allreduce_", 850, 900, main),
    ]
    device = [
        Event("gemm", 150, 350, device=0, launched_by=1),
        Event("gemm", 350, 550, device=0, launched_by=2),
        Event("ncclDevKernel", 500, 650, device=0, stream=9),
        Event("Memcpy HtoD", 540, 560, device=0, stream=8, launched_by=77),
        Event("component: encoder", 0, 900, device=0, annotation=True),
    ]
    back = [Event(f"step: {n}", 1000 * at, 1000 * at + 50 + n, main) for at, n in enumerate((3, 4, 3), start=2)]
    return [sorted(found, key=lambda event: (event.start, -event.end)) for found in (host, host + device, back)]


def attributed() -> Any:
    """Parts, operations and what lies between, of both."""
    from ecamp_fast.run.profiling.attribution import attribute

    found = []
    for events in _events():
        one = attribute(events)
        found.append(
            (sorted(one.parts.items()), sorted(one.operators.items()), one.between, one.collectives, one.steps)
        )
    return found


def summarised() -> Any:
    """The rows of a page."""
    from ecamp_fast.run.profiling.attribution import Attribution
    from ecamp_fast.run.profiling.ceiling import of_chip
    from ecamp_fast.run.profiling.summary import summarise

    parts = {("encoder", "forward"): 10 * MS, ("encoder", "backward"): 30 * MS, ("optimizer", ""): 8 * MS}
    parts |= {("communication", ""): 6 * MS, ("GPU idle", ""): 6 * MS}
    found = Attribution({7: 20 * MS, 8: 40 * MS}, parts, {"mm": (9 * MS, 4)}, 5 * MS, 20 * MS)
    facts = {"images a step": "16"}
    told = []
    for precision in ("bf16", "fp32"):
        limit = of_chip("NVIDIA H200", precision)
        one = summarise(
            found, {"encoder": 2e10}, 10**6, limit, precision=precision, before=None, facts=facts, trace="t"
        )
        told.append((one.as_dict()["rows"], one.as_dict()["waits"], one.step, one.images_per_second))
    return told


def settled() -> Any:
    """Which steps are meant."""
    from ecamp_fast.run.profiling.steps import ProfiledSteps

    found: list[Any] = []
    for text, done in (("3", 0), ("3", 7), ("3", 8), ("10-12", 0), ("10-12", 9), ("10-12", 10), ("10-13", 0)):
        try:
            found.append(str(ProfiledSteps.parse(text).settle(done, 12)))
        except Exception as error:
            found.append(type(error).__name__)
    return found


MUTANTS = [
    *mutants(
        f"{ROOM}/attribution.py",
        "tests/run/profiling/test_attribution.py",
        attributed,
        {
            "a collective hides what computes": (
                "KERNEL, COPY, COLLECTIVE, WAIT = range(4)",
                "COPY, COLLECTIVE, KERNEL, WAIT = range(4)",
            ),
            "the first operation that names a node made it": (
                "owners[event.sequence] = open_ranges[-1].name.removeprefix(MARK)",
                "owners.setdefault(event.sequence, open_ranges[0].name.removeprefix(MARK))",
            ),
            "nodes of all threads are one": ("_owners(hosts[main])", "_owners(events)"),
            "a forward done again is a forward": ('again = part[1] == "backward"', "again = False"),
            "gradients are of the rest": ('if "AccumulateGrad" in name:', "if False:"),
            "what ends stays on": ("while running and running[0][2] <= at:", "while running and running[0][2] < at:"),
            "ranges of a GPU are kernels": ("if e.device is not None and not e.annotation", "if e.device is not None"),
            "steps that were given up count": (
                "if _number(former) < _number(one)]",
                "if _number(former) != _number(one)]",
            ),
            "waiting for data lies between operations": (
                "p.part[0] not in (DATA, COMMUNICATION)",
                "p.part[0] != COMMUNICATION",
            ),
        },
    ),
    *mutants(
        f"{ROOM}/summary.py",
        "tests/run/profiling/test_summary.py",
        summarised,
        {
            "times are of all steps": ("return time / count / 1e6", "return time / 1e6"),
            "an update moves fewer bytes": ('"bf16": 30', '"bf16": 28'),
            "an update is bound by products": (
                "update / seconds / limit.bandwidth if limit.bandwidth",
                "update / seconds / limit.operations if limit.operations",
            ),
            "all communication is hidden": ("max(found.collectives - shown, 0)", "found.collectives"),
        },
    ),
    *mutants(
        f"{ROOM}/steps.py",
        "tests/run/profiling/test_steps.py",
        settled,
        {
            "the first steps are warm": ("WARM = 2", "WARM = 0"),
            "a number counts from the run's start": (
                "Span(done + WARM + 1, done + WARM + self.count)",
                "Span(WARM + 1, WARM + self.count)",
            ),
            "the last step is none": ("if span.last > total:", "if span.last >= total:"),
            "the step before can be watched": ("if done < span.first and", "if done <= span.first and"),
            "steps that are not left are watched": (" and span.last <= total else None", " else None"),
        },
    ),
]
