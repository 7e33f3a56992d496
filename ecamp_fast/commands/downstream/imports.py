"""``ecamp-fast import``: released checkpoints into weights for ``init_from``, and runs of versions up to 0.1."""

import json
from pathlib import Path

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError
from ecamp_fast.usage import options


@click.command("import")
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.argument("out", required=False, type=click.Path(path_type=Path))
@options.recipe_option("official", "Gives the sizes to expect.", "recipe")
@options.set_option()
@options.overwrite_option()
@click.option(
    "--checkpoint", "run", metavar="RUN", type=click.Path(path_type=Path), help="Convert a run's former checkpoints."
)
@options.json_option()
def command(
    source: Path | None,
    out: Path | None,
    recipe: str,
    overrides: tuple[str, ...],
    overwrite: bool,
    run: Path | None,
    as_json: bool,
) -> None:
    """Convert SOURCE (.pth or .safetensors; ECAMP, MAE, MRM, a ViT of timm or transformers) into OUT.safetensors.

    SOURCE may be a folder that `ecamp-fast export` wrote. Of MRM the image side is taken.

    Use the result with `--set init_from=OUT.safetensors`. With --checkpoint, the checkpoints of a run that was started
    with a version up to 0.1 are converted, so that the run goes on; the former ones stay beside them. Nothing that is
    read is executed.

    \b
    Example:
      ecamp-fast import released.pth weights.safetensors
    """
    if run is not None:
        if source or overrides or overwrite:
            raise click.UsageError("--checkpoint RUN takes no SOURCE, OUT, --set or --overwrite.")
        _convert(run, as_json)
    elif source is None or out is None:
        raise click.UsageError(f"Missing argument '{'OUT' if source else 'SOURCE'}'.")
    else:
        _import(source, out, recipe, overrides, overwrite, as_json)


def _import(source: Path, out: Path, recipe: str, overrides: tuple[str, ...], overwrite: bool, as_json: bool) -> None:
    from ecamp_fast.files import require_file

    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists", "choose another name, or --overwrite")
    if out.suffix != ".safetensors":
        raise ConfigError(f"{out} must end in .safetensors", f"write {out.with_suffix('.safetensors')}")
    require_file(out)
    from ecamp_fast.config import load_recipe
    from ecamp_fast.weights.file import import_weights

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
        tell(f"{out}: {report}")


def _convert(run: Path, as_json: bool) -> None:
    from ecamp_fast.config.changes import settings_of
    from ecamp_fast.config.deepspeed_json import read_json
    from ecamp_fast.run.checkpoint.former import convert
    from ecamp_fast.run.rundir import RunDir
    from ecamp_fast.run.trained import read_recipe

    recipe, files = read_recipe(run), RunDir(run)
    settings = settings_of(recipe, read_json(run / "ds_config.json"))
    found = convert(
        files.checkpoints,
        recipe,
        settings,
        lambda new, former: files.event("converted", checkpoint=new.name, former=former.name),
    )
    if as_json:
        converted = [{"checkpoint": str(new), "former": str(former)} for new, former in found.converted.items()]
        refused = {str(path): why for path, why in found.refused.items()}
        click.echo(json.dumps({"schema": 1, "converted": converted, "refused": refused}))
        return
    for new, former in found.converted.items():
        tell(f"{new}: converted; the former one is {former.name} beside it, which nothing needs any more")
    for why in found.refused.values():
        tell(f"not converted: {why}")
    if not found.converted:
        tell(f"{files.checkpoints}: no checkpoint is of a version up to 0.1")
