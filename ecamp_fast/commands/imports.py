"""``ecamp-fast import``: released ECAMP and MAE checkpoints into weights for ``init_from``."""

import json
from pathlib import Path

import click

from ecamp_fast.config import load_recipe
from ecamp_fast.errors import ConfigError


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--recipe", default="official", show_default=True, metavar="NAME|FILE", help="Gives the sizes to expect.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the recipe.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(source: Path, out: Path, recipe: str, overrides: tuple[str, ...], overwrite: bool, as_json: bool) -> None:
    """Convert SOURCE (.pth or .safetensors; ECAMP, MAE encoder, whole MAE) into OUT.safetensors.

    Nothing in SOURCE is executed. Use the result with `--set init_from=OUT.safetensors`.
    """
    from ecamp_fast.files import require_file
    from ecamp_fast.weights.file import import_weights

    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists", "choose another name, or --overwrite")
    if out.suffix != ".safetensors":
        raise ConfigError(f"{out} must end in .safetensors", f"write {out.with_suffix('.safetensors')}")
    require_file(out)
    report = import_weights(source, out, load_recipe(recipe, overrides))
    if as_json:
        facts = {
            "schema": 1,
            "out": str(out),
            "loaded": report.loaded,
            "missing": report.missing,
            "ignored": report.ignored,
        }
        click.echo(json.dumps(facts))
    else:
        click.echo(f"{out}: {report}")
