"""``batch.micro: auto``: what is measured, what follows from it, and that a run keeps its choice."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ecamp_fast.config import Recipe, dump_recipe, load_recipe, parse_recipe, parse_yaml
from ecamp_fast.errors import ConfigError, EnvironmentFault
from ecamp_fast.run import auto_batch
from ecamp_fast.run.auto_batch import Memory, candidates, choose_micro, measure, probes, state_bytes
from ecamp_fast.run.distributed import DistContext
from ecamp_fast.run.rundir import read_records
from ecamp_fast.run.trainer import Job, Trainer

PAPER = load_recipe("paper", ["batch.micro=auto"])


class Line(torch.nn.Module):
    """Saves one tensor of 1,000 floats per sample for the backward, and its weight, which does not count."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1000))

    def forward(self, batch: torch.Tensor) -> "Line":
        self.total = (batch * self.weight).exp().sum()
        return self


def test_auto_is_written_as_it_is_read() -> None:
    assert PAPER.batch.micro == "auto"
    text = dump_recipe(PAPER)
    assert "micro: auto" in text
    assert parse_recipe(parse_yaml(text, "here"), "here") == PAPER
    assert PAPER.with_micro(256) == load_recipe("paper")
    assert PAPER.with_micro(256).digest == load_recipe("paper").digest == PAPER.digest


@pytest.mark.parametrize("value", ["0", "-1", "most", "1.5", "true", "[]"])
def test_no_other_word_is_taken(value: str) -> None:
    with pytest.raises(ConfigError, match=r"batch\.micro"):
        load_recipe("paper", [f"batch.micro={value}"])


def test_candidates_divide_the_batch_of_a_rank() -> None:
    assert candidates(PAPER, 4)[-3:] == [512, 1024, 2048]
    assert candidates(PAPER, 8192) == [1]
    assert probes(PAPER, 4) == (8, 16)
    assert probes(PAPER, 8192) == (1, 1)
    with pytest.raises(ConfigError, match="3 ranks"):
        candidates(PAPER, 3)


@pytest.mark.parametrize(("free", "micro"), [(100, 8), (55, 4), (25, 1)])
def test_the_largest_that_fits_is_taken(
    context: DistContext, tiny: Callable[..., Recipe], free: int, micro: int
) -> None:
    recipe = tiny("batch.total=8", "batch.micro=auto")
    assert choose_micro(recipe, context, lambda: Memory(free=free, states=10, sample=9))[0] == micro


def test_a_model_that_does_not_fit_is_told_before_it_fails(context: DistContext) -> None:
    with pytest.raises(EnvironmentFault, match="not even 1 sample"):
        choose_micro(PAPER, context, lambda: Memory(free=10**9, states=10**9, sample=1))


def test_the_cpu_is_not_flooded(context: DistContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_batch, "LARGEST_ON_CPU", 4)
    at_home = DistContext(0, 1, torch.device("cpu"))
    assert choose_micro(PAPER, at_home, lambda: Memory(free=10**12, states=1, sample=1))[0] == 4


def test_a_sample_weighs_what_it_saves_for_the_backward() -> None:
    recipe, home = load_recipe("paper", ["batch.micro=auto", "precision=fp32"]), DistContext(0, 1, torch.device("cpu"))
    memory = measure(Line(), lambda samples: torch.zeros(samples, 1000), recipe, home, stage=2)  # type: ignore[arg-type]
    assert memory.sample == 2 * 4000  # the input, and the result of exp
    assert memory.states == state_bytes(1000, "fp32", 2, 1)


def test_states_shrink_with_stage_and_ranks() -> None:
    sizes = [state_bytes(8, "bf16", *case) for case in ((0, 8), (1, 8), (2, 8), (2, 1))]
    assert sizes == [160, 48, 52, 192]
    assert state_bytes(8, "fp32", 0, 1) == 160


def test_a_run_stores_its_choice_and_keeps_it(
    tiny: Callable[..., Recipe], phantoms: Path, context: DistContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = tiny("batch.total=8", "batch.micro=auto", "schedule.epochs=0.3"), tmp_path / "run"
    first = Trainer(Job(recipe, phantoms, out), context)
    assert first.recipe.batch.micro == 8 and first.optimizer_step.accumulation == 1
    assert first.train() == "complete"
    (event,) = [event for event in read_records(out / "events.jsonl") if event["event"] == "micro"]
    assert event["chosen"] == 8 and event["sample"] > 0

    monkeypatch.setattr("ecamp_fast.run.setup.choose_micro", None)  # not asked again, whatever is free by then
    longer = tiny("batch.total=8", "batch.micro=auto", "schedule.epochs=0.6")
    second = Trainer(Job(longer, phantoms, out), context)
    second.start()
    assert second.step == first.step and second.recipe.batch.micro == 8
    third = Trainer(Job(tiny("batch.total=8", "batch.micro=4", "schedule.epochs=0.6"), phantoms, out), context)
    assert third.recipe.batch.micro == 4 and third.optimizer_step.accumulation == 2
