"""``ecamp-fast attend apply``: where a trained GLoRIA looks, as maps that go into a shard set."""

import json
from pathlib import Path

import click

from ecamp_fast.commands.downstream.task_options import open_device
from ecamp_fast.commands.progress import BuildProgress
from ecamp_fast.commands.terminal import tell
from ecamp_fast.usage import options


@click.command()
@options.run_argument()
@options.shards_argument()
@click.argument("out", type=click.Path(path_type=Path))
@options.splits_option()
@click.option(
    "--sentences",
    type=click.Choice(["own", "bare"]),
    default="own",
    show_default=True,
    help='Ask by the sentence that states X, or for "There is X.".',
)
@click.option(
    "--words",
    type=click.Choice(["all", "entity"]),
    default="all",
    show_default=True,
    help="Mean over all words of the sentence, or over those that name X.",
)
@click.option(
    "--values",
    type=click.Choice(["product", "attention"]),
    default="product",
    show_default=True,
    help="Of regions and words; attention: what the losses weigh regions by, for which words compete.",
)
@click.option(
    "--combine",
    type=click.Choice(["max", "mean"]),
    default="max",
    show_default=True,
    help="Of an image's entities; mean: each brought to 0 to 1 first.",
)
@options.tokenizer_option("Of the shard set that RUN was trained on. Default: that of SHARDS.")
@options.device_option()
@options.json_option()
def command(
    run: Path,
    shards: str,
    out: Path,
    splits: tuple[str, ...],
    sentences: str,
    words: str,
    values: str,
    combine: str,
    tokenizer: Path | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Write a map of every image of SHARDS: where RUN, a GLoRIA, looks for what the image's own text states.

    OUT is for `shard put SHARDS NEW --maps OUT`. Beside the maps it holds one for each image and entity (maps-*.npz),
    and the window with most attention (windows.csv). After a kill the same command goes on.

    \b
    Example:
      ecamp-fast attend apply runs/gloria SHARDS maps
    """
    from ecamp_fast.shards.load.read import ShardSet
    from ecamp_fast.shards.storage.store import require_set_at

    require_set_at(shards)
    from ecamp_fast.attend.apply import Choices, apply
    from ecamp_fast.attend.trained import load_gloria, reader_of

    where = open_device(device)
    known = ShardSet(shards)
    model = load_gloria(run, where)
    recipe = model.recipe
    if recipe.precision == "bf16" and where.type == "cuda":
        model = model.bfloat16()
    choices = Choices(sentences, words, values, combine)
    encode = reader_of(run, recipe, known, tokenizer)
    with BuildProgress("images") as progress:
        done = apply(model, known, out, encode, choices, splits, progress.tick)
    if as_json:
        told = {"samples": done.samples, "mapped": done.mapped, "maps": done.maps, "resumed": done.resumed}
        click.echo(json.dumps({"schema": 1, "out": str(out), **told, "seconds": round(done.seconds, 3)}))
    else:
        of = f"{sum(done.maps.values()):,} of {len(done.maps)} entities"
        tell(f"{out}: maps of {done.mapped:,} of {done.samples:,} images, {of}, {done.seconds:.1f} s")
