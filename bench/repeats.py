"""Does a step repeat to the bit? The same batch, weights and dropout several times, every gradient compared."""

import json
import time
from typing import TYPE_CHECKING, Any

import click

from ecamp_fast.bench.options import recipe_options, text_options
from ecamp_fast.usage.options import json_option

if TYPE_CHECKING:
    from torch import Tensor

    from ecamp_fast.config import Recipe

SEED = 5  # of dropout
SLOW = "which takes minutes where it is a large one: --recipe demo, or --set batch.micro=2"


@click.command()
@recipe_options()
@text_options()
@click.option("--times", default=4, show_default=True, type=click.IntRange(2), help="Steps to compare.")
@json_option()
def command(
    name: str, overrides: tuple[str, ...], tokens: float, spread: float, vocabulary: int, times: int, as_json: bool
) -> None:
    """Take the same forward and backward several times and compare loss and gradients bit for bit.

    Exit code 1: two of them differ.

    \b
    Example:
      ecamp-fast bench repeats --times 2
    """
    from ecamp_fast.config import load_recipe

    result = measure(load_recipe(name, overrides), tokens, spread, vocabulary, times)
    click.echo(json.dumps(result) if as_json else describe(result))
    if not result["passed"]:
        click.get_current_context().exit(1)


def measure(recipe: "Recipe", tokens: float, spread: float, vocab_size: int, times: int) -> dict[str, Any]:
    """All that the command prints.  tokens, spread: see ``synthetic.text_lengths``

    returns passed, differing (parameter -> steps whose gradient was not that of the first), losses (of each step),
    parameters (their number), and what was run where.
    """
    import torch

    from ecamp_fast.bench.data.synthetic import one_shape, text_lengths
    from ecamp_fast.bench.ops.same_bits import same_bits
    from ecamp_fast.bench.report.result_files import origin, versions
    from ecamp_fast.bench.step.timed_step import Step

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        click.echo(f"no GPU: {times} steps of recipe {recipe.name} on the CPU, {SLOW}", err=True)
    lengths = text_lengths(recipe.micro, tokens, spread, recipe.text.max_tokens)
    (batch,) = (host.to(device) for host in one_shape(recipe, vocab_size, lengths, [recipe.seed]))
    model = Step(recipe, vocab_size, recipe.precision, device).model
    losses: list[Tensor] = []
    first: dict[str, Tensor] = {}
    differing: dict[str, list[int]] = {}
    for turn in range(times):
        began = time.perf_counter()
        torch.manual_seed(SEED)
        model.zero_grad()
        loss = model(batch).total
        loss.backward()
        losses.append(loss.detach())
        click.echo(f"step {turn + 1} of {times}: {time.perf_counter() - began:.1f} s", err=True)
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        first = first or {name: gradient.clone() for name, gradient in gradients.items()}
        for name in [name for name, gradient in gradients.items() if not same_bits(gradient, first[name])]:
            differing.setdefault(name, []).append(turn)
    return origin("repeats") | {
        "recipe": recipe.name,
        "on": device.type,
        "precision": recipe.precision,
        "batch": recipe.micro,
        "tokens": sum(lengths) / len(lengths),
        "times": times,
        "parameters": len(first),
        "losses": [float(loss) for loss in losses],
        "differing": differing,
        "passed": not differing and all(same_bits(loss, losses[0]) for loss in losses),
        "environment": versions(),
    }


def describe(result: dict[str, Any]) -> str:
    """The result as text."""
    where = result["environment"]
    lines = [
        f"{where['device']}, torch {where['torch']}, commit {where['commit']}; recipe {result['recipe']} in"
        f" {result['precision']}, micro-batch {result['batch']}, {result['times']} times the same step"
    ]
    if result["passed"]:
        lines.append(f"loss and {result['parameters']} gradients are the same to the bit")
    else:
        lines.append(f"FAILED: losses {result['losses']}; of {result['parameters']} gradients differ:")
        lines += [f"  {name} in step {', '.join(map(str, turns))}" for name, turns in result["differing"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    command()
