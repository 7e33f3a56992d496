import torch
import triton
import triton.language as tl

from ecamp_fast.kernels import tuning
from ecamp_fast.kernels.tuning import launch, recorded, tuned, tuning_table

CPU = torch.device("cpu")


@triton.jit
def _twice(x_ptr, y_ptr, count, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + place, 2 * tl.load(x_ptr + place, mask=place < count), mask=place < count)


def test_launches_and_skips_an_empty_grid(device) -> None:
    x = torch.arange(5.0, device=device)
    y = torch.zeros_like(x)
    launch(_twice, (0,), x, y, 5, BLOCK=8)
    assert not y.any()
    launch(_twice, (1,), x, y, 5, BLOCK=8)
    assert torch.equal(y, 2 * x)


def test_recording_notes_and_does_not_launch() -> None:
    x = torch.zeros(5)
    with recorded("sm_80") as launches:
        launch(_twice, (1,), x, x, 5, BLOCK=8)
    (noted,) = launches
    assert noted.arguments["count"] == 5 and noted.constants == {"BLOCK": 8}


def test_launch_constants_of_the_nearest_older_chip(monkeypatch) -> None:
    table = {"sm_80": {"op": {"WARPS": 1}}, "sm_90": {"op": {"WARPS": 2}}, "interpreter": {"op": {"WARPS": 3}}}
    monkeypatch.setattr(tuning, "tuning_table", lambda: table)
    assert tuned("op", CPU) == {"WARPS": 3}
    for chip, warps in {"sm_75": 1, "sm_80": 1, "sm_86": 1, "sm_90": 2, "sm_100": 2}.items():
        with recorded(chip):
            assert tuned("op", CPU) == {"WARPS": warps}


def test_every_operation_has_constants_everywhere() -> None:
    operations = set(tuning_table()["interpreter"])
    assert all(set(entries) <= operations for entries in tuning_table().values())
    assert set(tuning_table()["sm_80"]) == operations


def test_constants_are_a_copy() -> None:
    operation = next(iter(tuning_table()["interpreter"]))
    tuned(operation, CPU).clear()
    assert tuned(operation, CPU)


def test_columns_of_the_vocabulary_loss_are_at_least_the_threads() -> None:
    """A column held twice would be read by one thread after another has overwritten it."""
    for entries in tuning_table().values():
        for constants in (value for key, value in entries.items() if key == "weighted_cross_entropy"):
            assert constants["COLUMNS"] >= 32 * constants["num_warps"] or entries is tuning_table()["interpreter"]
