"""Computing a grid with tasks that are known functions: the rate, what is repeated, kills, and a second process."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ecamp_fast.downstream.result import TaskResult
from ecamp_fast.downstream.tables import identity
from ecamp_fast.downstream.tables.evaluate import GroupResult, choose, evaluate
from ecamp_fast.downstream.tables.grid import read_plan
from ecamp_fast.downstream.tables.registry import CellInputs
from ecamp_fast.errors import DataError, StorageError
from ecamp_fast.files import only_one

NAMED = ["classify", "plain"]
TOTAL = 2 * (6 + 4 + 6 + 2 + 2)  # percentages x (ours, better, untrained, pixels, components)


@pytest.fixture(autouse=True)
def fresh_digests() -> None:
    identity.encoder_digest.cache_clear()


def by_row(results: list[GroupResult], fraction: float = 1) -> dict[str, GroupResult]:
    return {one.group.encoder: one for one in results if one.group.fraction == fraction}


def test_each_encoder_gets_the_rate_that_is_best_on_its_validation_data(
    write_grid: Callable[..., Path], counter: Any, tmp_path: Path
) -> None:
    results = by_row(evaluate(read_plan(write_grid(), NAMED), tmp_path / "out", counter.kinds))
    assert len(counter.fits) == TOTAL
    assert {name: one.factor for name, one in results.items() if one.trials} == {
        "ours": 0.3, "better": 0.1, "untrained": 1.0
    }  # fmt: skip
    ours = results["ours"]
    assert list(ours.trials) == [0.1, 0.3, 1.0] and max(ours.trials.values()) == ours.trials[0.3]
    assert len(ours.results) == 4 and all(
        one and one.settings["lr"] == pytest.approx(0.03) for one in ours.results.values()
    )
    assert {seed for _, seed in ours.results} == {1, 2}
    assert results["pixels 16 x 16"].trials == {}


def test_every_encoder_is_tried_at_the_same_rates(
    write_grid: Callable[..., Path], counter: Any, tmp_path: Path
) -> None:
    evaluate(read_plan(write_grid(seeds=[1], fractions=[1]), NAMED), tmp_path / "out", counter.kinds)
    rates: dict[str, set[float]] = {}
    for given in counter.fits:
        rates.setdefault(given.encoder, set()).add(round(given.settings.lr, 6))
    tried = [rates[str(tmp_path / "good-1")], rates[str(tmp_path / "better-1")]]
    assert tried == [{0.01, 0.03, 0.1}] * 2


@pytest.mark.parametrize(("trials", "factor"), [
    ({0.3: 0.7, 1.0: 0.8, 3.0: 0.75}, 1.0), ({0.3: 0.8, 1.0: 0.8}, 0.3), ({0.3: float("nan"), 1.0: 0.1}, 1.0),
    ({0.3: float("nan"), 1.0: float("nan")}, 0.3), ({1.0: -2.0, 0.3: -3.0}, 1.0),
])  # fmt: skip
def test_the_best_rate_and_of_equal_ones_the_smallest(trials: dict[float, float], factor: float) -> None:
    assert choose(trials) == factor


def test_a_fit_that_diverges_is_noted_and_not_repeated(
    write_grid: Callable[..., Path], counter: Any, tmp_path: Path
) -> None:
    plan = read_plan(write_grid(lr_factors=[1.0, 30.0], fractions=[1], seeds=[1]), NAMED)
    for _ in range(2):
        results = by_row(evaluate(plan, tmp_path / "out", counter.kinds))
        assert results["ours"].factor == 1.0 and str(results["ours"].trials[30.0]) == "nan"
    assert len(list((tmp_path / "out").rglob("diverged.json"))) == 3
    assert sum(given.settings.lr > 0.2 for given in counter.fits) == 0


def test_a_score_that_is_no_number_is_read_again(write_grid: Callable[..., Path], counter: Any, tmp_path: Path) -> None:
    def run(given: CellInputs, folder: Path) -> TaskResult:
        found = replace(
            counter.run(given, folder), low=float("nan"), extra={"best": None, "curve": [[1, float("nan")]]}
        )
        found.write(folder)
        return found

    kinds = {name: replace(kind, run=run) for name, kind in counter.kinds.items()}
    for _ in range(2):
        results = by_row(evaluate(read_plan(write_grid(), NAMED), tmp_path / "out", kinds))
        assert results["ours"].factor == 0.1 and len(counter.fits) == TOTAL
        assert all(one and str(one.low) == "nan" for one in results["ours"].results.values())


def test_what_is_done_is_not_done_again(write_grid: Callable[..., Path], counter: Any, tmp_path: Path) -> None:
    told: list[str] = []
    first = evaluate(read_plan(write_grid(), NAMED), tmp_path / "out", counter.kinds, told.append)
    assert len(told) == TOTAL and "auroc" in told[0] and "seed 1" in told[0]
    again = evaluate(read_plan(write_grid(), NAMED), tmp_path / "out", counter.kinds, told.append)
    assert again == first and len(counter.fits) == TOTAL == len(told)
    evaluate(read_plan(write_grid(seeds=[1, 2, 3]), NAMED), tmp_path / "out", counter.kinds)
    more = counter.fits[TOTAL:]
    assert len(more) == 2 * (2 + 1 + 2 + 1 + 1) and {given.settings.seed for given in more} == {3}
    assert not list((tmp_path / "out").rglob("checkpoints"))


def test_a_task_has_seeds_of_its_own(
    write_grid: Callable[..., Path], counter: Any, tmp_path: Path, tiny_set: Path
) -> None:
    task = {"task": "classify", "data": str(tiny_set), "settings": {"lr": 0.1}, "seeds": [5, 6, 7]}
    grid = write_grid(tasks={"nih": task}, fractions=[1], lr_factors=[1.0])
    results = by_row(evaluate(read_plan(grid, NAMED), tmp_path / "out", counter.kinds))
    assert {seed for _, seed in results["ours"].results} == {5, 6, 7} and len(results["ours"].results) == 6


@pytest.mark.parametrize("change", ["weights", "settings", "options", "data"])
def test_what_depends_on_something_else_now_is_computed_anew(
    change: str, write_grid: Callable[..., Path], counter: Any, tmp_path: Path, tiny_set: Path
) -> None:
    task: dict[str, Any] = {"task": "classify", "data": str(tiny_set), "settings": {"lr": 0.1}}
    few: dict[str, Any] = {"fractions": [1], "seeds": [1], "lr_factors": [1.0], "baselines": False}
    evaluate(read_plan(write_grid(tasks={"nih": task}, **few), NAMED), tmp_path / "out", counter.kinds)
    before = len(counter.fits)
    if change == "weights":
        (tmp_path / "good-1" / "weights.safetensors").write_bytes(b"trained on")
        identity.encoder_digest.cache_clear()
    elif change == "data":
        copy = tmp_path / "other"
        shutil.copytree(tiny_set, copy)
        assert identity._data_digest(str(copy)) == identity._data_digest(str(tiny_set))  # a copy is the same set
        task["data"] = str(copy)
    elif change == "settings":
        task["settings"] = {"lr": 0.1, "batch": 5}
    else:
        task["options"] = {"classes": ["Mass"]}
    evaluate(read_plan(write_grid(tasks={"nih": task}, **few), NAMED), tmp_path / "out", counter.kinds)
    assert len(counter.fits) - before == {"weights": 1, "settings": 3, "options": 3, "data": 0}[change]


def test_a_task_that_leaves_no_result_is_no_result(
    write_grid: Callable[..., Path], counter: Any, tmp_path: Path
) -> None:
    plan = read_plan(write_grid(), NAMED)
    kinds = counter.kinds | {"classify": replace(counter.kinds["classify"], run=_nothing)}
    with pytest.raises(DataError, match="left no result"):
        evaluate(plan, tmp_path / "out", kinds)


def _nothing(given: CellInputs, out: Path) -> TaskResult:
    return None  # type: ignore[return-value]


# Kills, and two at once


def in_a_process(work: Callable[[], object]) -> int:
    """Fork, work, and leave; returns how it ended: an exit code, or a signal as a negative number."""
    process = os.fork()
    if process == 0:
        try:
            work()
            os._exit(0)
        except StorageError as error:
            os._exit(error.exit_code)
        finally:
            os._exit(70)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.parametrize(("limit", "when"), [(0, "before"), (7, "within"), (39, "after")])
def test_a_kill_costs_one_fit_at_most(
    limit: int, when: str, write_grid: Callable[..., Path], counter: Any, tmp_path: Path
) -> None:
    plan, log = read_plan(write_grid(), NAMED), tmp_path / "log"
    log.touch()
    inner = counter.run

    def kill(at: str) -> None:
        if len(counter.fits) == limit and at == when:
            os.kill(os.getpid(), signal.SIGKILL)

    def run(given: CellInputs, folder: Path) -> TaskResult:
        kill("before")
        with log.open("a") as file:
            file.write(f"{folder}\n")
        kill("within")
        number = len(counter.fits)
        result: TaskResult = inner(given, folder)
        if number == limit and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    kinds = {name: replace(kind, run=run) for name, kind in counter.kinds.items()}
    assert in_a_process(lambda: evaluate(plan, tmp_path / "out", kinds)) == -signal.SIGKILL
    computed = log.read_text().splitlines()
    assert len(computed) == len(set(computed)) == limit + (when != "before")
    results = evaluate(plan, tmp_path / "out", counter.kinds)
    assert TOTAL <= len(computed) + len(counter.fits) <= TOTAL + 1
    assert results == evaluate(plan, tmp_path / "afresh", counter.kinds)


def test_a_second_process_is_refused(write_grid: Callable[..., Path], counter: Any, tmp_path: Path) -> None:
    plan, out, codes = read_plan(write_grid(), NAMED), tmp_path / "out", list[int]()
    counter.before = lambda given, folder: (
        codes or codes.append(in_a_process(lambda: evaluate(plan, out, counter.kinds)))
    )
    evaluate(plan, out, counter.kinds)
    assert codes == [StorageError.exit_code] and len(counter.fits) == TOTAL


def test_two_in_one_process_are_refused_too(tmp_path: Path) -> None:
    with only_one(tmp_path, "works"), pytest.raises(StorageError, match="another process"), only_one(tmp_path, ""):
        raise AssertionError
    with only_one(tmp_path, "works"):
        assert os.listdir(tmp_path) == ["LOCK"]
