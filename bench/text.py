"""The text path at step time: assembling, masking and weighing the text of a micro-batch, per sample and core."""

import json
from typing import Any

import click

from ecamp_fast.usage.options import json_option, recipe_option

VOCABULARY = 3000
LIMIT_MS = 0.1  # per sample and core; the released implementation takes 4.2


@click.command()
@recipe_option("paper", "Of the texts.")
@click.option("--batch", default=256, show_default=True, type=click.IntRange(1), help="Samples of a micro-batch.")
@json_option()
def command(recipe_name: str, batch: int, as_json: bool) -> None:
    """Milliseconds per sample on one core, for phantom reports.

    \b
    Example:
      ecamp-fast bench text --batch 64
    """
    result = measure_text(recipe_name, batch)
    if as_json:
        click.echo(json.dumps(result))
        return
    for part in ("assemble", "mask", "total"):
        times = result["ms_per_sample"][part]
        click.echo(f"{part:9} {times['median']:.4f} ms/sample  (p20 {times['p20']:.4f}, p80 {times['p80']:.4f})")
    where = result["environment"]
    click.echo(
        f"recipe {recipe_name}, {batch} samples of {result['tokens']:.0f} tokens on average, one core of"
        f" {where['device']}, torch {where['torch']}, commit {where['commit']}"
    )


def measure_text(recipe_name: str, batch: int) -> dict[str, Any]:
    """Time ``assemble`` and ``mask_text`` on one thread. batch: samples."""
    import numpy as np
    import torch

    from ecamp_fast.bench.timing import environment, measure
    from ecamp_fast.config import load_recipe
    from ecamp_fast.keyed_random import sample_keys
    from ecamp_fast.phantom import describe
    from ecamp_fast.text.packing.assemble import assemble
    from ecamp_fast.text.packing.masking import mask_text
    from ecamp_fast.text.reading.annotate import Annotator
    from ecamp_fast.text.reading.rules import distill
    from ecamp_fast.text.wordpiece import train_wordpiece

    recipe = load_recipe(recipe_name)
    texts = [describe(0, index).report for index in range(batch)]
    wordpiece = train_wordpiece(texts, VOCABULARY)
    annotator = Annotator(wordpiece)
    reports, distilled = [annotator.codes(t) for t in texts], [annotator.codes(distill(t)) for t in texts]
    keys = sample_keys(0, 0, np.arange(batch))

    def put_together() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return assemble(reports, distilled, keys, recipe.text, padded=recipe.padded_text)

    def mask() -> None:
        mask_text(codes, offsets, lengths, row_keys, recipe)

    def both() -> None:
        fresh = [torch.from_numpy(part) for part in put_together()]
        mask_text(fresh[0], fresh[1], fresh[2], row_keys, recipe)

    arrays = put_together()
    codes, offsets, lengths, row_keys = (torch.from_numpy(part) for part in (*arrays, keys))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = {"assemble": measure(put_together), "mask": measure(mask), "total": measure(both)}
    finally:
        torch.set_num_threads(threads)
    return {
        "schema": 1,
        "recipe": recipe_name,
        "batch": batch,
        "tokens": float(arrays[2].mean()),
        "ms_per_sample": {part: {k: v / batch * 1e3 for k, v in found.items()} for part, found in times.items()},
        "environment": environment(),
    }


if __name__ == "__main__":
    command()
