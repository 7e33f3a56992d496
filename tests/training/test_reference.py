"""The trainer's numbers against a loop written by hand, which has no DeepSpeed and nothing of ``run/``.

Every other test of a run compares it with another run of the same code. Here AdamW, the schedule, dropout's keys, the
mean over micro-steps and ranks, clipping and evaluation are written again, from SPEC and the paper's launcher.
"""

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ecamp_fast.batch import Batch
from ecamp_fast.config import RECIPES, Recipe, load_recipe
from ecamp_fast.keyed_random import Stream, sample_keys
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.run.rundir import read_metrics
from ecamp_fast.run.setup import Job
from ecamp_fast.run.trainer import Trainer
from ecamp_fast.shards.builder.build import Options, build_phantoms
from ecamp_fast.shards.load.loader import Loader
from ecamp_fast.shards.load.read import ShardSet

pytestmark = pytest.mark.slow
MICRO, STEPS, WARMUP, MOST_TOKENS = 3, 3, 1.5, 32
LR, BETAS, EPSILON, DECAY, MOST = 1e-2, (0.8, 0.9), 1e-4, 0.5, 0.5  # none is a default; MOST: the norm allowed
TERMS = ("loss", "mim", "sr", "mlm")
SETTINGS = [
    "seed=11",
    "image.high_size=32",
    "image.low_size=16",
    "image.crop_area=[0.3, 0.9]",
    "image.flip=0.5",
    "model.vision={width: 32, depth: 1, heads: 2, patch: 4}",
    "model.decoder={width: 32, depth: 1, heads: 2}",
    "model.text={width: 32, depth: 1, heads: 2, ffn: 32, dropout: 0.2}",
    f"text.max_tokens={MOST_TOKENS}",
    f"optim={{lr: {LR}, betas: [{BETAS[0]}, {BETAS[1]}], eps: {EPSILON}, weight_decay: {DECAY}}}",
    f"batch.micro={MICRO}",
    "evaluation={samples: 1000, every_steps: 2}",
    "checkpoint.every_steps=1000",
]


@dataclass(frozen=True)
class Case:
    """What a run may differ in."""

    stage: int
    accumulation: int
    ranks: int
    precision: str
    clipping: bool

    @property
    def name(self) -> str:
        clipping = "clipped" if self.clipping else "free"
        return f"zero{self.stage}-{self.ranks}x{self.accumulation}-{self.precision}-{clipping}"


# Any two values of different columns meet in one of these.
PAIRWISE = [
    Case(0, 1, 1, "fp32", True),
    Case(0, 4, 2, "bf16", False),
    Case(1, 1, 1, "bf16", False),
    Case(1, 4, 2, "fp32", True),
    Case(2, 1, 2, "fp32", False),
    Case(2, 4, 1, "bf16", True),
]
ALL = [Case(*values) for values in itertools.product((0, 1, 2), (1, 4), (1, 2), ("fp32", "bf16"), (False, True))]
# Relative error of losses, norm and the way the weights went. bf16 keeps 8 bits, and sums them in another order here.
ALLOWED = {"fp32": 1e-5, "bf16": 0.02}
CASES = [pytest.param(case, id=case.name, marks=[] if case in PAIRWISE else pytest.mark.complete) for case in ALL]


@dataclass
class Reference:
    """What the run must have done: its weights before and after, its lines of metrics, its evaluations by step."""

    before: dict[str, Tensor]
    after: dict[str, Tensor]
    lines: list[dict[str, float]]
    held_out: dict[int, dict[str, float]]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms, of which the held-out ones do not fill their last batch on any number of ranks."""
    out = tmp_path_factory.mktemp("reference") / "phantoms"
    build_phantoms(64, out, size=48, options=Options(holdout=0.25))
    count = ShardSet(out).count("val")
    assert count % MICRO and count > 2 * MICRO
    return out


def settings(case: Case, samples: int) -> list[str]:
    """The recipe of a case, on a training split of so many samples: three steps, the first half of them warm-up."""
    total = MICRO * case.ranks * case.accumulation
    epoch = total / samples
    return [
        *SETTINGS,
        f"batch.total={total}",
        f"precision={case.precision}",
        f"log_every={2 if case.accumulation == 4 else 1}",
        f"schedule={{epochs: {STEPS * epoch}, warmup_epochs: {WARMUP * epoch}, horizon_epochs: {2 * STEPS * epoch}}}",
    ]


def rate(step: int) -> float:
    """Linear over the first 1.5 steps, then half a cosine up to step 6."""
    if step < WARMUP:
        return LR * step / WARMUP
    return LR / 2 * (1 + math.cos(math.pi * (step - WARMUP) / (2 * STEPS - WARMUP)))


def losses(model: Ecamp, batch: Batch) -> list[Tensor]:
    found = model(batch)
    return [found.total, found.mim, found.sr, found.mlm]


def micro_steps(recipe: Recipe, shards: ShardSet, case: Case) -> Iterator[list[tuple[int, int, Batch]]]:
    """Rank, number and micro-batch of all that one step takes in, step by step."""
    loaders = [Loader(shards, "train", recipe, rank=rank, world=case.ranks) for rank in range(case.ranks)]
    streams = [loader.batches(0, STEPS) for loader in loaders]
    for step in range(STEPS):
        numbers = range(step * case.accumulation, (step + 1) * case.accumulation)
        yield [(rank, number, next(stream)) for number in numbers for rank, stream in enumerate(streams)]


def evaluate(model: Ecamp, recipe: Recipe, shards: ShardSet) -> dict[str, float]:
    """Every held-out sample by itself, in a batch of one."""
    alone = recipe.with_micro(1)
    model.eval()
    with torch.no_grad():
        found = [losses(model, batch) for batch in Loader(shards, "val", alone, train=False).evaluation()]
    model.train()
    sums = torch.tensor([[float(term) for term in terms] for terms in found], dtype=torch.float64)
    return dict(zip(TERMS, sums.mean(0).tolist(), strict=True)) | {"samples": len(found)}


def train(case: Case, recipe: Recipe, shards: ShardSet) -> Reference:
    """Three steps of AdamW by its formula, on float32 masters."""
    dtype = torch.bfloat16 if case.precision == "bf16" else torch.float32
    torch.manual_seed(recipe.seed)
    model = Ecamp(recipe, shards.manifest.vocab_size).to(dtype)
    weights = dict(model.named_parameters())
    masters = {name: weight.detach().float().clone() for name, weight in weights.items()}
    first, second = ({name: torch.zeros_like(master) for name, master in masters.items()} for _ in range(2))
    reference = Reference({name: master.clone() for name, master in masters.items()}, masters, [], {})
    reference.held_out[0] = evaluate(model, recipe, shards)
    since: list[list[float]] = []
    tokens, nats, worth = 0, 0.0, 0.0
    for step, parts in enumerate(micro_steps(recipe, shards, case)):
        gradient = {name: torch.zeros_like(master) for name, master in masters.items()}
        for rank, number, batch in parts:
            key = sample_keys(recipe.seed, int(Stream.DROPOUT), sample_keys(rank, 0, [number]))
            torch.manual_seed(int(key[0]))
            found = losses(model, batch)
            found[0].backward()
            since.append([float(term.detach()) for term in found])
            tokens += int(batch.lengths.sum())
            nats += float(found[3].detach()) * len(batch) * MOST_TOKENS
            worth += float(batch.text.weights.sum())
            for name, weight in weights.items():
                if weight.grad is not None:
                    gradient[name] += weight.grad.float() / len(parts)
                    weight.grad = None
        norm = math.sqrt(sum(float(part.double().square().sum()) for part in gradient.values()))
        shorter = min(1.0, MOST / (norm + 1e-6)) if case.clipping else 1.0
        for name, master in masters.items():
            update(master, gradient[name] * shorter, first[name], second[name], step, name)
            weights[name].data.copy_(master)
        if (step + 1) % recipe.log_every == 0 or step + 1 == STEPS:
            means = torch.tensor(since, dtype=torch.float64).mean(0).tolist()
            told = {"step": step + 1, "lr": rate(step), "grad_norm": norm, "tokens": tokens}
            told["mlm_per_token"] = nats / worth
            reference.lines.append(dict(zip(TERMS, means, strict=True)) | told)
            since, tokens, nats, worth = [], 0, 0.0, 0.0
        if (step + 1) % 2 == 0 or step + 1 == STEPS:
            reference.held_out[step + 1] = evaluate(model, recipe, shards)
    return reference


def update(master: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: int, name: str) -> None:
    """AdamW (Loshchilov and Hutter 2019, Algorithm 2); vectors and biases are not decayed."""
    first.mul_(BETAS[0]).add_((1 - BETAS[0]) * gradient)
    second.mul_(BETAS[1]).add_((1 - BETAS[1]) * gradient.square())
    if master.ndim > 1 and not name.endswith("bias"):
        master.mul_(1 - rate(step) * DECAY)
    mean, square = first / (1 - BETAS[0] ** (step + 1)), second / (1 - BETAS[1] ** (step + 1))
    master.sub_(rate(step) * mean / (square.sqrt() + EPSILON))


def deepspeed_json(case: Case, out: Path) -> Path:
    """The shipped file of the stage, with clipping if asked for."""
    config = json.loads((RECIPES / f"zero{case.stage}.json").read_text())
    out.write_text(json.dumps(config | ({"gradient_clipping": MOST} if case.clipping else {})))
    return out


def cases_of_two_ranks(request: pytest.FixtureRequest, shards: Path, out: Path) -> dict[str, dict[str, Any]]:
    """What ``trainers_on_rank`` is to run, of the cases that were collected."""
    samples = ShardSet(shards).count("train")
    collected = [item.callspec.params["case"] for item in request.session.items if item.module is request.module]
    return {
        case.name: {
            "settings": settings(case, samples),
            "ds_config": str(deepspeed_json(case, out / f"{case.name}.json")),
            "threads": 1,
        }
        for case in collected
        if case.ranks == 2
    }


@pytest.fixture(scope="module")
def on_two_ranks(
    shards: Path, trainers: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """Where all runs of two ranks are, trained one after the other by one pair of processes."""
    out = tmp_path_factory.mktemp("runs")
    trainers(2, shards, out, cases_of_two_ranks(request, shards, out))
    return out


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The order of sums is that of ``trainers_on_rank``."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def judged(name: str, weight: Tensor, precision: str) -> Tensor:
    """What of a parameter tells anything: not, in bf16, the biases of the keys.

    A softmax does not change with them, so their gradient is what rounding leaves of zero; Adam brings it to full size.
    """
    parts = {"qkv.bias": (0, 2), "key_value.bias": (1,)}.get(".".join(name.split(".")[-2:]))
    if parts is None or precision == "fp32":
        return weight
    return torch.cat([weight.chunk(1 + len(parts))[part] for part in parts])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.skipif(torch.cuda.is_available(), reason="compares the CPU with itself")
def test_a_run_is_the_loop_written_by_hand(
    case: Case, shards: Path, tmp_path: Path, one_thread: None, request: pytest.FixtureRequest
) -> None:
    recipe = load_recipe("demo", settings(case, ShardSet(shards).count("train")))
    if case.ranks == 1:
        out, ds_config = tmp_path / "run", deepspeed_json(case, tmp_path / "ds.json")
        Trainer(Job(recipe, shards, out, ds_config), request.getfixturevalue("context")).train()
    else:
        out = request.getfixturevalue("on_two_ranks") / case.name
    reference = train(case, recipe, ShardSet(shards))
    allowed = ALLOWED[case.precision]
    lines, held_out = read_metrics(out), read_metrics(out, "val")
    assert [line["step"] for line in lines] == [line["step"] for line in reference.lines]
    for line, wanted in zip(lines, reference.lines, strict=True):
        assert {key: line[key] for key in wanted} == pytest.approx(wanted, rel=allowed), wanted["step"]
        assert line["lr"] == pytest.approx(wanted["lr"], rel=1e-12) and line["tokens"] == wanted["tokens"]
    assert {line["step"] for line in held_out} == set(reference.held_out)
    for line in held_out:
        wanted = reference.held_out[line["step"]]
        assert {key: line[key] for key in wanted} == pytest.approx(wanted, rel=allowed), line["step"]
    after = load_file(out / "weights.safetensors")
    for name, weight in reference.after.items():
        now, wanted, before = (judged(name, t, case.precision) for t in (after[name], weight, reference.before[name]))
        assert torch.dist(now, wanted) <= allowed * torch.dist(wanted, before), name
        if case.precision == "fp32":
            assert torch.allclose(after[name], weight, rtol=0, atol=1e-5), name
