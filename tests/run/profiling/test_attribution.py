"""Whose every instant of a step is, on traces written by hand; sharing out against counting instant by instant."""

import random

import pytest

from ecamp_fast.run.profiling.attribution import BACKWARD, COPY, KERNEL, STEP, Interval, Part, attribute, share_out
from ecamp_fast.run.profiling.recorded import Event

MAIN, ENGINE = 11, 12
MARK = "component: "


def host(name: str, start: int, end: int, thread: int = MAIN, **facts: int) -> Event:
    return Event(name, start, end, thread, annotation=name.startswith((MARK, STEP)), **facts)


def kernel(name: str, start: int, end: int, launched_by: int = 0, stream: int = 7) -> Event:
    return Event(name, start, end, device=0, stream=stream, launched_by=launched_by)


def ordered(*events: Event) -> list[Event]:
    return sorted(events, key=lambda event: (event.start, -event.end))


def test_a_step_on_a_cpu_is_shared_out_by_the_innermost_range() -> None:
    events = ordered(
        host(f"{STEP}5", 0, 1000),
        host(f"{MARK}data wait", 0, 50),
        host(f"{MARK}other", 60, 500),
        host(f"{MARK}encoder", 100, 300),
        host("aten::linear", 120, 280),
        host("aten::addmm", 130, 270, sequence=7),
        host(f"{MARK}fusion", 320, 480),
        host("aten::mul", 330, 400, sequence=8),
        host("aten::mul", 340, 390, sequence=9),  # made the node that the one around it names, too
        host(f"{BACKWARD}MulBackward0", 520, 600, sequence=9),
        host("aten::mul", 530, 590),
        host(f"{BACKWARD}AddmmBackward0", 600, 700, sequence=7),
        host(f"{BACKWARD}torch::autograd::AccumulateGrad", 700, 720),
        host(f"{BACKWARD}Strange", 720, 725, sequence=99),
        host(f"{MARK}optimizer", 800, 990),
        host("aten::norm", 810, 820),
        host("c10d::allreduce_", 850, 900),
    )
    found = attribute(events)
    assert found.steps == {5: 1000} and sum(found.parts.values()) == 1000
    assert dict(found.parts) == {
        ("data wait", ""): 50,
        ("other", "forward"): 440 - 200 - 160,
        ("encoder", "forward"): 200,
        ("fusion", "forward"): 160,
        ("fusion", "backward"): 80,
        ("encoder", "backward"): 100,
        ("gradients", ""): 20,
        ("other", "backward"): 5,
        ("optimizer", ""): 190 - 50,
        ("communication", ""): 50,
        ("host gaps", ""): 10 + 20 + 75 + 10,
    }
    assert found.operators["aten::mul"] == (70 + 60, 3) and found.operators["aten::linear"] == (20, 1)
    assert found.between == 1000 - 50 - (160 + 70 + 60 + 10 + 50)
    assert found.collectives == 0


def test_a_step_on_a_gpu_is_shared_out_by_what_was_launched() -> None:
    events = ordered(
        host(f"{STEP}1", 0, 1000),
        host(f"{MARK}data wait", 0, 100),
        host(f"{MARK}encoder", 100, 140),
        host("aten::mm", 110, 120, number=1, sequence=4),
        host("cudaLaunchKernel", 112, 118),
        host(f"{BACKWARD}MmBackward0", 200, 260, ENGINE, sequence=4),
        host("aten::mm", 210, 220, ENGINE, number=2),
        host("c10d::allreduce_", 230, 240, ENGINE, number=3),
        host(f"{MARK}optimizer", 700, 990),
        host("aten::_fused_adamw_", 710, 720, number=4),
        kernel("gemm", 150, 350, 1),
        kernel("gemm", 350, 550, 2),
        kernel("ncclDevKernel_AllReduce", 500, 650, 3, stream=9),
        kernel("Memcpy HtoD (Pinned -> Device)", 60, 80, 77, stream=8),
        kernel("adamw", 800, 900, 4),
        Event(f"{MARK}encoder", 140, 360, device=0, annotation=True),  # a range, as the GPU lived it
    )
    found = attribute(events)
    assert dict(found.parts) == {
        ("encoder", "forward"): 200,
        ("encoder", "backward"): 200,
        ("communication", ""): 100,  # 50 of its 150 were hidden
        ("optimizer", ""): 100,
        ("other", ""): 20,
        ("data wait", ""): 80,
        ("GPU idle", ""): 50 + 150 + 100,
    }
    assert found.collectives == 150 and found.operators["gemm"] == (400, 2)


def test_nodes_that_another_thread_numbers_are_not_ours() -> None:
    events = ordered(
        host(f"{STEP}1", 0, 100),
        host(f"{MARK}encoder", 0, 20),
        host("aten::mm", 5, 10, sequence=4),
        host(f"{MARK}fusion", 30, 50, ENGINE),  # done again for the backward, in the engine's thread
        host("aten::mm", 35, 40, ENGINE, sequence=4),
        host(f"{BACKWARD}MmBackward0", 60, 90, sequence=4),
    )
    assert attribute(events).parts["encoder", "backward"] == 30


def test_a_forward_that_is_done_again_is_of_the_backward() -> None:
    events = ordered(
        host(f"{STEP}1", 0, 100),
        host(f"{MARK}encoder", 0, 20),
        host("aten::mm", 5, 10, sequence=4),
        host(f"{BACKWARD}MmBackward0", 40, 90, sequence=4),
        host(f"{MARK}encoder", 50, 80),
        host("aten::mm", 55, 60, sequence=9),
    )
    assert dict(attribute(events).parts) == {
        ("encoder", "forward"): 20,
        ("encoder", "backward"): 50,
        ("host gaps", ""): 30,
    }


def test_without_a_step_there_is_nothing_to_tell() -> None:
    with pytest.raises(ValueError, match="no step"):
        attribute([host("aten::mm", 0, 5)])


@pytest.mark.parametrize("seed", range(30))
def test_sharing_out_is_counting_instant_by_instant(seed: int) -> None:
    draw = random.Random(seed)
    intervals: list[Interval] = []
    for number in range(draw.randrange(12)):
        start = draw.randrange(-5, 40)
        intervals.append((start, start + draw.randrange(1, 20), (str(number), ""), draw.choice([KERNEL, COPY])))
    expected: dict[Part, int] = {}
    for instant in range(30):
        running = [(rank, start, end, part) for start, end, part, rank in intervals if start <= instant < end]
        clipped = sorted((rank, max(start, 0), min(end, 30), part) for rank, start, end, part in running)
        part = clipped[0][3] if clipped else ("rest", "")
        expected[part] = expected.get(part, 0) + 1
    assert share_out(intervals, 0, 30, ("rest", "")) == expected


def test_of_steps_that_a_run_went_back_from_the_last_time_counts() -> None:
    """3, 4 and 5, back to 2, then 3 and 4 again; each does so much of the encoder."""
    times = ((3, 100), (4, 100), (5, 100), (3, 30), (4, 50))
    events = []
    for at, (number, took) in enumerate(times):
        begin = 1000 * at
        events += [host(f"{STEP}{number}", begin, begin + 200), host(f"{MARK}encoder", begin, begin + took)]
        events += [host("aten::mm", begin, begin + took)]
    found = attribute(ordered(*events))
    assert found.steps == {3: 200, 4: 200} and sum(found.parts.values()) == 400
    assert found.parts["encoder", "forward"] == 80 and found.operators["aten::mm"] == (80, 2)
