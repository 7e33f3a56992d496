"""The training loop, its optimizer step, and what it tells of them."""

from typing import Any

from mutant import mutants

UPDATE = "tests/run/test_update.py"
REFERENCE = "tests/training/test_reference.py::test_a_run_is_the_loop_written_by_hand"


def a_run() -> Any:
    """The lines of metrics of a run of six steps, the last beside its turn to be evaluated, and sums of its weights."""
    import tempfile
    from pathlib import Path

    from ecamp_fast.config import load_recipe
    from ecamp_fast.run.deepspeed_config import find
    from ecamp_fast.run.distributed import init
    from ecamp_fast.run.rundir import read_records
    from ecamp_fast.run.setup import Job
    from ecamp_fast.run.trainer import Trainer
    from ecamp_fast.shards.builder.build import Options, build_phantoms

    settings = [
        "image={high_size: 32, low_size: 16, crop_area: [0.3, 0.9], flip: 0.5}",
        "model.vision={width: 32, depth: 1, heads: 2, patch: 4}",
        "model.decoder={width: 32, depth: 1, heads: 2}",
        "model.text={width: 32, depth: 1, heads: 2, ffn: 32, dropout: 0.3}",
        "text.max_tokens=32",
        "optim={lr: 1e-2, weight_decay: 0.1}",
        "batch={total: 6, micro: 2}",
        "schedule={epochs: 1.6, warmup_epochs: 0.4}",
        "log_every=2",
        "evaluation={samples: 3, every_steps: 4}",  # of four
    ]
    with tempfile.TemporaryDirectory() as folder:
        shards, out = Path(folder) / "shards", Path(folder) / "run"
        build_phantoms(24, shards, size=48, options=Options(holdout=0.25))
        trainer = Trainer(Job(load_recipe("demo", settings), shards, out, find("zero2")), init())
        trainer.train()
        records = read_records(out / "metrics.jsonl")
        left_out = ("time", "images_per_second")
        lines = [{key: value for key, value in record.items() if key not in left_out} for record in records]
        events = [event["event"] for event in read_records(out / "events.jsonl")]
        return lines, events, [float(weight.double().sum()) for weight in trainer.engine.module.parameters()]


def keys() -> Any:
    """Of dropout, by rank and number."""
    import torch

    from ecamp_fast.run.step import start_micro_step

    found = []
    for seed, rank, number in ((1, 0, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0)):
        start_micro_step(seed, rank, number)
        found.append(torch.initial_seed())
    return found


def two_ranks() -> Any:
    """Sums of the meter and norms of the update on one rank of two that see the same."""
    from types import SimpleNamespace
    from unittest.mock import patch

    import torch

    from ecamp_fast.batch import Batch
    from ecamp_fast.config import load_recipe
    from ecamp_fast.objectives import Losses
    from ecamp_fast.run.metrics import LossMeter
    from ecamp_fast.run.update import Update, Votes

    nothing = torch.zeros(2)
    batch = Batch(nothing, nothing, nothing, None, torch.tensor([5, 6]), nothing, nothing)
    found: list[Any] = []
    with (
        patch("torch.distributed.is_initialized", lambda: True),
        patch("torch.distributed.get_world_size", lambda: 2),
        patch("torch.distributed.all_reduce", lambda sums: sums.mul_(2).add_(torch.arange(len(sums)))),
    ):
        meter = LossMeter("cpu", load_recipe("demo"))
        meter.add(Losses(*(torch.tensor(float(n)) for n in (3, 1, 2, 0))), batch, weight=2)
        meter.add(Losses(*(torch.tensor(float(n)) for n in (9, 4, 5, 1))), batch)
        found += [meter.drain(), meter.drain()]
        for zero, most, first in ((False, 0.5, 1.0), (True, 0.5, 1.0), (False, 500.0, 1.0), (False, 0.5, torch.inf)):
            weight = torch.nn.Parameter(torch.ones(3))
            weight.grad = torch.tensor([first, 2.0, 2.0])
            optimizer = SimpleNamespace(averaged_gradients={0: [weight.grad]}) if zero else SimpleNamespace()
            engine: Any = SimpleNamespace(
                device="cpu",
                module=SimpleNamespace(parameters=lambda weight=weight: [weight]),
                optimizer=optimizer,
                basic_optimizer=SimpleNamespace(),
                step=lambda: None,
                zero_optimization=lambda zero=zero: zero,
            )
            result = Update(engine, most).apply(Votes(stop=True, damaged=(1, 2)))
            found.append((result, weight.grad.tolist(), float(engine.basic_optimizer.found_inf)))
    return found


MUTANTS = [
    *mutants(
        "ecamp_fast/run/step.py",
        f"{REFERENCE}[zero2-1x4-bf16-clipped]",
        a_run,
        {
            "gradients are not divided by the accumulation": (
                "self._engine.backward(losses.total)",
                "self._engine.backward(losses.total * self.accumulation)",
            ),
            "the learning rate is never set": (
                "        set_learning_rate(self._engine, spoiled_rate(rate, step + 1))\n",
                "",
            ),
            "the first micro-batch does not count in the losses told": (
                "self.meter.add(losses, batch)",
                "self.meter.add(losses, batch, float(micro > 0))",
            ),
            "one micro-batch a step": ("enumerate(self._passes):", "enumerate(self._passes[:1]):"),
            "dropout is that of the optimizer step": (
                "self._step * self._per_rank + micro)",
                "self._step * self._per_rank)",
            ),
            "the image loss alone is trained": (
                "self._engine.backward(losses.total)",
                "self._engine.backward(losses.mim)",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/run/step.py",
        "tests/run/test_step.py",
        keys,
        {
            "dropout does not know its rank": ("sample_keys(rank, 0, [number])", "sample_keys(0, 0, [number])"),
            "dropout does not know its step": ("sample_keys(rank, 0, [number])", "sample_keys(rank, 0, [0])"),
            "dropout does not know the seed": (
                "sample_keys(seed, int(Stream.DROPOUT)",
                "sample_keys(0, int(Stream.DROPOUT)",
            ),
            "dropout is that of the masks": ("int(Stream.DROPOUT)", "int(Stream.WORDS)"),
        },
    ),
    *mutants(
        "ecamp_fast/run/engine.py",
        f"{REFERENCE}[zero0-1x1-fp32-clipped]",
        a_run,
        {
            "other betas": ("betas=recipe.optim.betas", "betas=(0.9, 0.999)"),
            "no weight decay": ("recipe.optim.weight_decay)", "0.0)"),
            "another epsilon": ("eps=recipe.optim.eps", "eps=1e-6"),
            "the rate of the first group alone is set": (
                "for group in engine.optimizer.param_groups:",
                "for group in engine.optimizer.param_groups[:1]:",
            ),
            "the rate is doubled": ('group["lr"] = rate', 'group["lr"] = 2 * rate'),
        },
    ),
    *mutants(
        "ecamp_fast/run/trainer.py",
        f"{REFERENCE}[zero0-1x1-fp32-clipped]",
        a_run,
        {
            "evaluation takes random views": ('train=split == "train"', "train=True"),
            "evaluation is of the training split": (
                'loader, watched = self._loader("val")',
                'loader, watched = self._loader("train")',
            ),
            "the rate is that of the step to come": (
                "learning_rate(self.recipe, self.step, self.samples)",
                "learning_rate(self.recipe, self.step + 1, self.samples)",
            ),
            "nothing is evaluated before the first step": (
                "if self.step == 0 or self._lacks_evaluation():",
                "if False:",
            ),
            "the end is not evaluated": (
                "due = self._is_due(self.recipe.evaluation.every_steps)",
                "due = self.step % (self.recipe.evaluation.every_steps or 1) == 0",
            ),
            "evaluation comes a step late": ("self.step % every == 0", "self.step % every == 1"),
            "the batches begin at the next step": (
                "loader.batches(self.step, self.total)",
                "loader.batches(self.step + 1, self.total + 1)",
            ),
            "dropout is that of the first step": (
                "self.optimizer_step.backward(self.step, rate",
                "self.optimizer_step.backward(0, rate",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/run/log.py",
        f"{REFERENCE}[zero0-1x1-fp32-clipped]",
        a_run,
        {
            "the rate told is that of the next step": (
                "learning_rate(self._recipe, step - 1",
                "learning_rate(self._recipe, step",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/run/metrics.py",
        "tests/run/test_metrics.py",
        two_ranks,
        {
            "losses are not reduced over the ranks": ("if dist.is_initialized():", "if False:"),
            "micro-batches weigh alike": ("+= means * weight", "+= means"),
            "the weights are not counted": ("self._sums[-1] += weight", "self._sums[-1] += 1"),
            "sums go on after they were read": ("        self._sums.zero_()\n", ""),
            "tokens are averaged over the samples": ("batch.lengths.sum()", "batch.lengths.double().mean()"),
        },
    ),
    *mutants(
        "ecamp_fast/run/update.py",
        f"{UPDATE}::test_the_norm_is_that_of_one_copy {UPDATE}::test_clipping_leaves_small_gradients_alone "
        f"{UPDATE}::test_a_request_to_stop_is_passed_on "
        f"{UPDATE}::test_gradients_that_are_not_finite_leave_no_trace[plain-fp32] "
        f"{UPDATE}::test_clipping_shortens_the_gradient_but_not_the_norm_that_is_told[plain-fp32]",
        two_ranks,
        {
            "the norm counts every copy": ("_squared_norm(parts) / _copies(self._engine)", "_squared_norm(parts)"),
            "copies are counted in ZeRO too": (
                "1 if engine.zero_optimization() else dist.get_world_size()",
                "dist.get_world_size()",
            ),
            "the norm is that of this rank": ("        dist.all_reduce(self._vector)\n", ""),
            "clipping lengthens small gradients": (".clamp(max=1.0)", ""),
            "clipping forgets to clip": ("torch._foreach_mul_(parts,", "torch._foreach_mul(parts,"),
            "the norm told is squared": ("math.sqrt(squared) if", "squared if"),
            "bad gradients are applied": (
                "(~sound).float()",
                "self._vector[0].isnan().logical_not().float() * 0",
            ),
            "stop is asked by all ranks or none": ("Votes(stop > 0,", "Votes(stop > 1e9,"),
        },
    ),
    *mutants(
        "ecamp_fast/run/evaluate.py",
        "tests/run/test_evaluate.py",
        a_run,
        {
            "evaluation drops out": ("    engine.eval()\n", ""),
            "batches weigh alike": ("weight=len(batch)", "weight=1.0"),
            "the model stays as it is evaluated": ("    engine.train()\n", ""),
            "the limit is one too few": ("loader.evaluation(limit)", "loader.evaluation(limit and limit - 1)"),
        },
    ),
    *mutants(
        "ecamp_fast/run/setup.py",
        f"{REFERENCE}[zero0-1x1-fp32-clipped]",
        a_run,
        {"the seed is the same for every recipe": ("torch.manual_seed(recipe.seed)", "torch.manual_seed(0)")},
    ),
]
