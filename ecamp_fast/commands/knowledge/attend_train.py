"""``ecamp-fast attend train``: a GLoRIA on a shard set, on the engine of pre-training."""

import sys
from pathlib import Path

import click

from ecamp_fast.commands.train import train
from ecamp_fast.errors import ConfigError
from ecamp_fast.usage import options
from ecamp_fast.usage.complete import RECIPES

FOLDER = RECIPES / "attend"
DEFAULT = "gloria"


@click.command()
@options.shards_argument()
@click.argument("out", type=click.Path(path_type=Path))
@options.ds_config_option("zero2 with clipped gradients")
@options.recipe_option(DEFAULT, "gloria, phantom, or a YAML file.", "recipe")
@options.set_option()
@options.resume_option()
@options.allow_option()
@options.ranks_option()
@options.json_option()
def command(
    shards: str,
    out: Path,
    recipe: str,
    overrides: tuple[str, ...],
    ds_config: str,
    resume: str,
    allow: tuple[str, ...],
    ranks: int | None,
    as_json: bool,
) -> None:
    """Train a GLoRIA on the images of SHARDS and the sentences of their texts; OUT is its run directory.

    An interrupt saves and stops, a second one stops at once; the same command goes on to the same weights.

    \b
    Example:
      ecamp-fast attend train SHARDS runs/gloria --recipe gloria
    """
    from ecamp_fast.config import load_recipe

    source = find_recipe(recipe)
    if not load_recipe(source, overrides).losses.gloria:
        raise ConfigError(f"{source} trains no GLoRIA", "losses.gloria must be true; `ecamp-fast train` is for others")
    sys.exit(
        train(
            ranks,
            as_json,
            recipe_name=str(source),
            data=shards,
            out=out,
            overrides=overrides,
            ds_config=ds_config or str(FOLDER / "clipped.json"),
            resume=resume,
            allow=allow,
            reporting=False,
            profile="",
        )
    )


def find_recipe(name: str) -> Path:
    """The file of a recipe of ``recipes/attend``, or the file itself.  Raises ConfigError where there is none."""
    file = FOLDER / f"{name}.yaml"
    if file.is_file():
        return file
    if Path(name).is_file():
        return Path(name)
    known = ", ".join(sorted(one.stem for one in FOLDER.glob("*.yaml")))
    raise ConfigError(f"no recipe '{name}' of attend", f"name one of {known}, or a YAML file")
