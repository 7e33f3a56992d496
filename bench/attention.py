"""Attention by every backend that is installed, for what the parts of the model ask of it: right first, then fast.

With ``--tune`` the order of a GPU's backends goes into ecamp_fast/model/attention.json, which the model follows.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.bench.options import SPREAD, TOKENS, recipe_options, tokens_option
from ecamp_fast.usage.options import json_option

if TYPE_CHECKING:
    from torch import Tensor

    from ecamp_fast.config import Recipe
    from ecamp_fast.model.attention_backends import AttentionCase
    from ecamp_fast.model.sequences import SequenceLayout

AGAIN = 4  # runs whose bits are compared
DRIFT = 0.02  # of the mean of the weights' sum under dropout
# Largest error over the largest number that passes, by dtype: what products of that precision cost, with room
TOLERANCES = {"bfloat16": 2e-2, "float16": 4e-3, "float32": 1e-5}


@click.command()
@recipe_options("Sizes and dropout.")
@click.option("--batch", type=click.IntRange(1), help="Samples of a micro-batch. Default: 4; on a GPU the recipe's.")
@tokens_option()
@click.option("--repeats", default=15, show_default=True, type=click.IntRange(2), help="Runs of each.")
@click.option("--tune", is_flag=True, help="Write the order into the table that the model follows.")
@json_option()
def command(
    name: str,
    overrides: tuple[str, ...],
    batch: int | None,
    tokens: float,
    repeats: int,
    tune: bool,
    as_json: bool,
) -> None:
    """Errors and times of every attention backend, forward and backward, for encoder, decoder, text and fusion.

    Exit code 1: the backend that the model would use is wrong, or gives other bits from run to run.

    \b
    Example:
      ecamp-fast bench attention --repeats 5
    """
    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.errors import EnvironmentFault
    from ecamp_fast.model.attention import MEASURED

    if tune and not torch.cuda.is_available():
        raise EnvironmentFault("--tune: no GPU here", "run it on the GPU that the table is for")
    result = measure(load_recipe(name, overrides), batch, tokens, repeats)
    if tune:
        save(result, MEASURED)
    click.echo(json.dumps(result) if as_json else describe(result))
    if not all(row["passed"] and row["repeats"] for row in result["rows"] if row["chosen"]):
        click.get_current_context().exit(1)


def measure(recipe: "Recipe", batch: int | None = None, tokens: float = TOKENS, repeats: int = 15) -> dict[str, Any]:
    """Rows of part, shape, backend; error, passed, repeats and seconds where it can do the case, else ``note``."""
    import torch

    from ecamp_fast.bench.data.synthetic import text_lengths
    from ecamp_fast.bench.timing import environment
    from ecamp_fast.kernels.tuning import chip
    from ecamp_fast.model.ecamp import attention_cases

    cuda = torch.cuda.is_available()
    count = batch or (recipe.micro if cuda and recipe.batch.micro != "auto" else 4)
    lengths = text_lengths(count, tokens, SPREAD, recipe.text.max_tokens)
    rows = []
    for part, case in attention_cases(recipe, cuda).items():
        rows += [{"part": part, **row} for row in _case(case, count, lengths, _rate(recipe, case), repeats)]
    return {
        "schema": 1,
        "recipe": recipe.name,
        "batch": count,
        "tokens": sum(lengths) / count,
        "chip": chip(torch.device("cuda")) if cuda else None,
        "rows": rows,
        "environment": environment(),
    }


def _rate(recipe: "Recipe", case: "AttentionCase") -> float:
    return recipe.model.text.dropout if case.dropout else 0.0


def _case(case: "AttentionCase", batch: int, texts: list[int], dropout: float, repeats: int) -> list[dict[str, Any]]:
    """One part: every backend on the same numbers."""
    from ecamp_fast.model.attention import BACKENDS, choose

    queries, keys = _layouts(case, batch, texts)
    inputs, truth = _inputs(case, queries, keys)
    chosen = choose(*case.key)
    rows: dict[str, dict[str, Any]] = {}
    actions: dict[str, Callable[[], object]] = {}
    for name, backend in BACKENDS.items():
        row: dict[str, Any] = {"shape": case.shape, "backend": name, "chosen": name == chosen, "passed": False}
        reason = backend.lacks(case)
        if reason:
            rows[name] = row | {"note": reason}
            continue
        try:
            rows[name] = row | _judge(name, inputs, queries, keys, dropout, truth)
        except Exception as fault:  # ends this backend's row only
            rows[name] = row | {"note": f"{type(fault).__name__}: {str(fault)[:200]}"}
        if rows[name]["passed"]:
            actions[name] = partial(_run, name, inputs, queries, keys, dropout)
    for name, seconds in _times(actions, case.cuda, repeats).items():
        rows[name]["seconds"] = seconds
    return list(rows.values())


def _judge(
    name: str,
    inputs: list["Tensor"],
    queries: "SequenceLayout",
    keys: "SequenceLayout",
    dropout: float,
    truth: list["Tensor"],
) -> dict[str, Any]:
    """error, whether it is within what is allowed, and whether the same call gives the same bits again."""
    from ecamp_fast.bench.ops.same_bits import same_bits

    found = [_run(name, inputs, queries, keys, 0.0) for _ in range(AGAIN)]
    repeats = all(same_bits(one, other) for run in found[1:] for one, other in zip(found[0], run, strict=True))
    error = _error(found[0], truth)
    passed = error <= TOLERANCES[str(inputs[0].dtype).removeprefix("torch.")]
    passed = passed and (not dropout or _drops(name, inputs, queries, keys, dropout))
    return {"error": error, "passed": passed, "repeats": repeats}


def _layouts(case: "AttentionCase", batch: int, texts: list[int]) -> tuple["SequenceLayout", "SequenceLayout"]:
    import torch

    from ecamp_fast.model.sequences import SequenceLayout

    device = torch.device("cuda" if case.cuda else "cpu")
    if case.layout == "equal":
        return SequenceLayout.equal(batch, case.queries), SequenceLayout.equal(batch, case.keys)
    if case.layout == "padded":
        counts = torch.tensor(texts, device=device)
        return SequenceLayout.equal(batch, case.queries), SequenceLayout.padded(counts, case.keys)
    lengths = [*texts, min(texts), 0]  # filler: a sequence that sees no picture, and an empty one
    packed = SequenceLayout.packed(torch.tensor([0, *lengths], device=device).cumsum(0), sum(lengths), case.queries)
    if case.layout == "packed":
        return packed, packed
    cu_seqlens = torch.arange(len(lengths) + 1, device=device).clamp(max=batch) * case.keys
    return packed, SequenceLayout.packed(cu_seqlens, batch * case.keys, case.keys)


def _inputs(
    case: "AttentionCase", queries: "SequenceLayout", keys: "SequenceLayout"
) -> tuple[list["Tensor"], list["Tensor"]]:
    """q, k, v and the cotangent; what attention makes of them without dropout, and its gradients, in float64."""
    import torch

    draw = torch.Generator().manual_seed(0)
    shapes = [(layout.total, case.heads, case.channels) for layout in (queries, keys, keys, queries)]
    numbers = [torch.randn(shape, generator=draw).to(case.dtype) for shape in shapes]
    inputs = [number.to("cuda" if case.cuda else "cpu") for number in numbers]
    truth = _run("sdpa", [tensor.double() for tensor in inputs], queries, keys, 0.0)
    return inputs, truth


def _run(
    name: str, inputs: list["Tensor"], queries: "SequenceLayout", keys: "SequenceLayout", dropout: float
) -> list["Tensor"]:
    """Output and the three gradients."""
    import torch

    from ecamp_fast.model.attention import attention

    *tensors, cotangent = inputs
    q, k, v = (tensor.detach().requires_grad_() for tensor in tensors)
    out = attention(q, k, v, q_layout=queries, kv_layout=keys, dropout=dropout, backend=name)
    return [out, *torch.autograd.grad(out, (q, k, v), cotangent)]


def _drops(
    name: str, inputs: list["Tensor"], queries: "SequenceLayout", keys: "SequenceLayout", dropout: float
) -> bool:
    """Dropout keeps the mean, does something, and follows the seed. Of the weights' sum, which values of one show."""
    import torch

    q, k, v, cotangent = inputs
    outs = []
    for _ in range(2):
        torch.manual_seed(0)
        outs.append(_run(name, [q, k, torch.ones_like(v), cotangent], queries, keys, dropout)[0].detach().float())
    seeing = outs[0][outs[0].flatten(1).any(1)]  # rows of a sequence without keys are zero
    kept = abs(float(seeing.mean()) - 1) < DRIFT and float(seeing.std()) > 0
    return kept and torch.equal(*outs)


def _error(found: list["Tensor"], truth: list["Tensor"]) -> float:
    """Largest over output and gradients: largest difference over the largest number."""
    pairs = zip(found, truth, strict=True)
    return max(float(((ours.detach().double() - true).abs().max() / true.abs().max()).detach()) for ours, true in pairs)


def _times(actions: dict[str, Callable[[], object]], cuda: bool, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of forward and backward by backend, in turns; of the device on a GPU, of all cores on a CPU."""
    if cuda:
        from ecamp_fast.bench.ops.gpu_times import interleaved

        return interleaved(actions, repeats)
    from ecamp_fast.bench.timing import measure as time_cores

    return {name: time_cores(action, repeats) for name, action in actions.items()}


def save(result: dict[str, Any], path: Path) -> None:
    """For every shape of the chip, the backends that passed and repeat to the bit, fastest first; the rest stays."""
    table = json.loads(path.read_text())
    shapes = table.setdefault(result["chip"], {})
    for shape in {row["shape"] for row in result["rows"]}:
        timed = [row for row in result["rows"] if row["shape"] == shape and "seconds" in row and row["repeats"]]
        shapes[shape] = [row["backend"] for row in sorted(timed, key=lambda row: row["seconds"]["median"])]
    path.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n")


def describe(result: dict[str, Any]) -> str:
    """The result as text."""
    where = result["environment"]
    lines = [
        f"attention, forward and backward; recipe {result['recipe']}, {result['batch']} samples,"
        f" {result['tokens']:.0f} tokens a text; {where['device']}, torch {where['torch']}, commit {where['commit']}",
        f"{'':9} {'shape':28} {'backend':13} {'error':>9} {'ms':>9}",
    ]
    for row in result["rows"]:
        head = f"{row['part']:9} {row['shape']:28} {row['backend']:13}"
        if "note" in row:
            lines.append(f"{head} {row['note']}")
            continue
        time = f"{row['seconds']['median'] * 1e3:9.3f}" if "seconds" in row else "  WRONG"
        unsteady = "" if row["repeats"] else "  differs from run to run"
        lines.append(f"{head} {row['error']:9.1e} {time}{'  used' if row['chosen'] else ''}{unsteady}")
    return "\n".join(lines)


if __name__ == "__main__":
    command()
