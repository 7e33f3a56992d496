"""The loop against a loop written by hand, its rates against the formula, and its resume against a run in one go."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from ecamp_fast.downstream.training import words
from ecamp_fast.downstream.training.loop import fit
from ecamp_fast.downstream.training.optimizer import build_optimizer, layer_scales
from ecamp_fast.downstream.training.schedule import factor
from ecamp_fast.downstream.training.settings import Settings, load_settings, row_names
from ecamp_fast.downstream.trunk import open_trunk
from ecamp_fast.errors import ConfigError, DataError, NumericsError
from ecamp_fast.run.checkpoint.saver import Saver

PLAIN = {"precision": "fp32", "batch": 4, "warmup": 3, "evaluate_every": 5}


class Line:
    """A line through points, with noise that the model draws for itself; the score is minus the error."""

    metric = "score"

    def __init__(self, stop_after: int | None = None) -> None:
        torch.manual_seed(1)
        self.model = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.2), nn.BatchNorm1d(1))
        self.steps_per_epoch, self._stop_after, self.scores = 5, stop_after, list[float]()
        self.x = torch.randn(400, 4, 3, generator=torch.Generator().manual_seed(2))
        self.truth = torch.tensor([1.0, -2.0, 0.5])

    def batches(self, start: int, stop: int) -> Iterator[Tensor]:
        for step in range(start, stop):
            if step == self._stop_after:
                raise KeyboardInterrupt
            yield self.x[step]

    def loss(self, batch: Tensor) -> Tensor:
        return ((self.model(batch)[:, 0] - batch @ self.truth) ** 2).mean()

    def validate(self) -> float:
        assert not self.model.training
        self.scores.append(-float(self.loss(self.x[-1])))
        return self.scores[-1]


def settings(**changes: object) -> Settings:
    return Settings(**{**PLAIN, "steps": 20, "lr": 0.05, **changes})


def run(out: Path, task: Line, made_of: Settings, resume: str = "auto", data: str = "d") -> object:
    return fit(task, made_of, out, {"encoder": "e"}, data, resume=resume)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_it_is_the_loop_that_one_writes_by_hand(tmp_path: Path, optimizer: str) -> None:
    task, other = Line(), Line()
    task.model[1].p = other.model[1].p = 0.0
    chosen = settings(optimizer=optimizer, clip=0.5, weight_decay=0.1, steps=9, evaluate_every=100)
    run(tmp_path, task, chosen)
    theirs = (
        torch.optim.SGD(other.model.parameters(), momentum=0.9)
        if optimizer == "sgd"
        else torch.optim.AdamW(other.model.parameters())
    )
    matrices = [one for one in other.model.parameters() if one.ndim > 1]
    theirs.param_groups[0]["params"] = matrices
    theirs.param_groups[0]["weight_decay"] = 0.1
    theirs.add_param_group({"params": [one for one in other.model.parameters() if one.ndim < 2], "weight_decay": 0.0})
    for step in range(1, 10):
        other.model.train()
        for group in theirs.param_groups:
            group["lr"] = 0.05 * (step / 3 if step < 3 else 0.5 * (1 + math.cos(math.pi * (step - 3) / 6)))
        theirs.zero_grad()
        other.loss(other.x[step - 1]).backward()
        torch.nn.utils.clip_grad_norm_(other.model.parameters(), 0.5)
        theirs.step()
    for mine, their in zip(task.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(mine, their, atol=1e-6, rtol=1e-5)


def test_the_rate_ends_at_the_hard_stop() -> None:
    chosen = settings(steps=100, warmup=10)
    assert [factor(chosen, step) for step in (1, 5, 10, 100)] == [0.1, 0.5, 1.0, 0.0]
    assert factor(chosen, 55) == pytest.approx(0.5)


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9}, {"optimizer": "adamw"}, {"save_every": 3}])
def test_a_fit_that_was_cut_off_goes_on_to_the_same_weights_and_curves(tmp_path: Path, changes: dict) -> None:
    whole, cut, rest = Line(), Line(stop_after=13), Line()
    first = run(tmp_path / "whole", whole, settings(**changes))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", cut, settings(**changes))
    second = run(tmp_path / "cut", rest, settings(**changes))
    assert first == second and [step for step, _ in first.curve] == [5, 10, 15, 20]  # type: ignore[attr-defined]
    for name, one in whole.model.state_dict().items():
        assert torch.equal(one, rest.model.state_dict()[name]), name


def test_the_best_weights_are_kept_not_the_last(tmp_path: Path) -> None:
    task = Line()
    scores = iter([-3.0, -1.0, -2.0, math.nan])
    kept = []

    def validate() -> float:
        kept.append(task.model[0].weight.clone())
        return next(scores)

    task.validate = validate  # type: ignore[method-assign]
    fitted = run(tmp_path, task, settings())
    assert fitted.best == (10, -1.0) and torch.equal(task.model[0].weight, kept[1])
    assert not torch.equal(kept[1], kept[3])


def test_what_a_model_draws_follows_the_seed(tmp_path: Path) -> None:
    found = []
    for number, seed in enumerate((42, 42, 43)):
        task = Line()
        run(tmp_path / str(number), task, settings(seed=seed, steps=5))
        found.append(task.model[0].weight.clone())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_averaged_weights_are_the_average_that_one_writes_by_hand(tmp_path: Path) -> None:
    task, other = Line(), Line()
    task.model, other.model = (nn.Sequential(nn.Linear(3, 1)) for _ in range(2))  # type: ignore[assignment]
    other.model.load_state_dict(task.model.state_dict())
    chosen = settings(steps=12, evaluate_every=12, ema=0.9, warmup=0, clip=0.0)
    run(tmp_path, task, chosen)
    theirs = torch.optim.SGD(other.model.parameters(), momentum=0.9)
    average = other.model[0].weight.detach().clone()
    for step in range(1, 13):
        theirs.param_groups[0]["lr"] = 0.05 * factor(chosen, step)
        theirs.zero_grad()
        other.loss(other.x[step - 1]).backward()
        theirs.step()
        decay = min(0.9, step / (step + 9))
        average = decay * average + (1 - decay) * other.model[0].weight.detach()
    torch.testing.assert_close(task.model[0].weight, average, atol=1e-5, rtol=1e-4)
    assert (task.model[0].weight - other.model[0].weight).abs().max() > 1e-4


def test_it_ends_where_nothing_improves(tmp_path: Path) -> None:
    task = Line()
    task.validate = lambda: -1.0  # type: ignore[method-assign]
    fitted = run(tmp_path, task, settings(steps=100, patience=2))
    assert fitted.step == 15
    assert run(tmp_path, task, settings(steps=100, patience=2)).step == 15  # and stays there


def test_micro_batches_are_one_batch(tmp_path: Path) -> None:
    class Whole(Line):
        def batches(self, start: int, stop: int) -> Iterator[Tensor]:
            for step in range(start, stop):
                yield from self.x[step].split(self.parts)

    tasks = []
    for parts in (4, 2):
        task = Whole()
        task.parts, task.model = parts, nn.Sequential(nn.Linear(3, 1))  # type: ignore[assignment]
        run(tmp_path / str(parts), task, settings(micro=parts, clip=0.0))
        tasks.append(task)
    torch.testing.assert_close(tasks[0].model[0].weight, tasks[1].model[0].weight)


def test_gradients_that_are_not_finite_change_nothing_and_end_a_fit(tmp_path: Path) -> None:
    task = Line()
    task.x[7] = torch.inf
    task.model = nn.Sequential(nn.Linear(3, 1))
    run(tmp_path / "one", task, settings())
    assert task.model[0].weight.isfinite().all()
    bad = Line()
    bad.x[:] = torch.inf
    with pytest.raises(NumericsError):
        run(tmp_path / "all", bad, settings(steps=50, evaluate_every=100))


def test_another_fit_is_not_gone_on_with(tmp_path: Path) -> None:
    run(tmp_path, Line(), settings())
    with pytest.raises(ConfigError, match=r"of another fit: settings\.lr was 0\.05, is 0\.01\n"):
        run(tmp_path, Line(), settings(lr=0.01))
    with pytest.raises(DataError, match="another shard set"):
        run(tmp_path, Line(), settings(), data="e")
    run(tmp_path, Line(), settings(lr=0.01), resume="never")


def test_a_fit_that_begins_anew_keeps_nothing_of_the_one_before(tmp_path: Path) -> None:
    class Praised(Line):
        def validate(self) -> float:
            return 1 - super().validate()

    run(tmp_path / "again", Praised(), settings())
    task, alone = Line(), Line()
    fitted = run(tmp_path / "again", task, settings(), resume="never")
    wanted = run(tmp_path / "alone", alone, settings())
    assert fitted.best == wanted.best
    for mine, theirs in zip(task.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_what_the_disk_refuses_after_a_checkpoint_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Saver, "_tidy", lambda saver, path, request: "best could not be noted")
    told: list[str] = []
    fit(Line(), settings(steps=5), tmp_path, {}, "d", say=told.append)
    assert told[1] == "step 5: best could not be noted"


def said(out: Path, task: Line, made_of: Settings, resume: str = "auto") -> list[str]:
    told: list[str] = []
    with contextlib.suppress(KeyboardInterrupt):
        fit(task, made_of, out, {}, "d", say=told.append, resume=resume)
    return told


def test_a_fit_says_what_lies_before_it_its_metric_and_why_it_ended(tmp_path: Path) -> None:
    task = Line()
    values = iter([-4.0, -2.0, -3.0, -3.0])
    task.validate = lambda: next(values)  # type: ignore[method-assign]
    told = said(tmp_path, task, settings())
    assert told[0] == "20 steps at most, 4 images each, 4.0 epochs; val score every 5 steps"
    assert ", val score -4.0000 (best), " in told[1] and told[1].endswith(" left at most")
    assert " s a step: about " in told[2] and told[2].endswith(" to step 20, validations apart")
    assert ", val score -2.0000 (best), " in told[3] and ", val score -3.0000, " in told[4]
    assert told[5].endswith(", val score -3.0000")
    assert told[6:] == ["ended at step 20: all 20 steps are done; kept: step 10, val score -2.0000"]


def test_a_fit_says_that_nothing_improved_or_that_it_was_stopped(tmp_path: Path) -> None:
    task = Line()
    task.validate = lambda: -1.0  # type: ignore[method-assign]
    told = said(tmp_path / "a", task, settings(steps=100, patience=2))
    assert told[0].endswith("; ends earlier after 2 validations without a better one")
    assert told[-1] == "ended at step 15: no better val score in 2 validations; kept: step 5, val score -1.0000"
    assert said(tmp_path / "a", task, settings(steps=100, patience=2)) == told[-1:]  # nothing lies before it
    assert said(tmp_path / "b", Line(3), settings())[-1] == "stopped by an interrupt: nothing was saved yet"
    assert said(tmp_path / "b", Line(13), settings())[-1].endswith("the same command goes on from step 10")
    again = said(tmp_path / "c", Line(13), settings(), "never")
    assert again[-1] == "stopped by an interrupt: --resume auto goes on from step 10"
    assert said(tmp_path / "b", Line(), settings())[0].startswith("goes on from step 10 of 20, ")


def test_the_pace_of_steps_is_without_validations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which each step takes 2 s, and each validation 100 s."""
    now = 0.0

    class Timed(Line):
        def batches(self, start: int, stop: int) -> Iterator[Tensor]:
            nonlocal now
            for one in super().batches(start, stop):
                now += 2
                yield one

        def validate(self) -> float:
            nonlocal now
            now += 100
            return super().validate()

    monkeypatch.setattr(words, "time", SimpleNamespace(perf_counter=lambda: now))
    told = said(tmp_path, Timed(), settings(evaluate_every=2))
    assert "2 s a step: about 28 s to step 20, validations apart" in told, told


def test_scores_that_are_no_numbers_are_gone_on_from(tmp_path: Path) -> None:
    curves = []
    for name, stop in (("whole", None), ("cut", 13)):
        for task in (Line(stop), Line())[stop is None :]:
            task.validate = lambda: math.nan  # type: ignore[method-assign]
            with contextlib.suppress(KeyboardInterrupt):
                curves.append(run(tmp_path / name, task, settings()).curve)  # type: ignore[attr-defined]
    assert [[step for step, _ in curve] for curve in curves] == [[5, 10, 15, 20]] * 2
    assert all(math.isnan(score) for curve in curves for _, score in curve)


def test_layers_have_their_share_of_the_rate(tiny_run: Path) -> None:
    model = nn.ModuleDict({"trunk": open_trunk(tiny_run), "head": nn.Linear(16, 2)})
    scales = layer_scales(model, 0.5)
    assert scales["trunk.net.blocks.1.attn.qkv.weight"] == 0.5
    assert scales["trunk.net.blocks.0.attn.qkv.weight"] == 0.25
    assert scales["trunk.net.patch_embed.proj.weight"] == scales["trunk.net.pos_embed"] == 0.125
    groups = build_optimizer(model, settings(layer_decay=0.5)).param_groups
    assert sorted({group["lr_scale"] for group in groups}) == [0.125, 0.25, 0.5, 1.0]
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    assert sum(one.numel() for group in groups for one in group["params"]) == trained


def test_settings_have_names_and_say_what_is_wrong() -> None:
    chosen = load_settings("classify", "nih-10")
    assert (chosen.steps, chosen.batch, chosen.lr, chosen.warmup) == (3000, 768, 2.4e-2, 50)
    assert (chosen.optimizer, chosen.drop_path, chosen.patience, chosen.clip) == ("sgd", 0.1, 20, 1.0)
    assert load_settings("probe", "rsna-100", ["lr=0.5"]).lr == 0.5 and load_settings("probe").frozen
    for task in ("classify", "probe"):
        for name in row_names(task):
            load_settings(task, name)
    with pytest.raises(ConfigError, match="did you mean 'nih-10'"):
        load_settings("classify", "nih10")
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        load_settings("classify", None, ["step=3"])
    with pytest.raises(ConfigError, match="micro-batches"):
        load_settings("classify", None, ["batch=10", "micro=4"])
    for key in ("crop_area=[1, 0.5]", "crop_area=[0, 1]", "betas=[0.9, 1]"):
        with pytest.raises(ConfigError, match=key.partition("=")[0]):
            load_settings("classify", None, [key])
