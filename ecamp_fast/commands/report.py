"""``ecamp-fast report``: write the HTML report of a run anew."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError
from ecamp_fast.usage import options


@click.command()
@options.run_argument()
@options.sets_option("Shard set. Default: the run's own.")
@click.option("--samples", default=4, show_default=True, type=click.IntRange(0, 16), help="Held-out samples to show.")
@click.option("--pictures/--no-pictures", default=True, help="Without: numbers and curves alone, which may be shared.")
@options.json_option()
def command(run: Path, data: tuple[str, ...], samples: int, pictures: bool, as_json: bool) -> None:
    """Write RUN/report.html from the run's metrics, its newest checkpoint and its shard set.

    With pictures the file contains images and text of the training data: handle it as such.

    \b
    Example:
      ecamp-fast report runs/mine --no-pictures
    """
    from ecamp_fast.run.rundir import require_run
    from ecamp_fast.shards.storage.weighted import require_sets_at

    require_run(run)  # before anything heavy is loaded
    require_sets_at(data)
    from ecamp_fast.report.facts import gather, read_results
    from ecamp_fast.report.html import write_report

    facts = gather(run)
    path = (
        _with_pictures(run, data or own_data(facts.state, run), samples) if pictures and samples else write_report(run)
    )
    if as_json:
        result = {"schema": 1, "report": str(path), "bytes": path.stat().st_size, "results": read_results(run)}
        click.echo(json.dumps(result))
    else:
        tell(path)


def _with_pictures(run: Path, data: str | Sequence[str], samples: int) -> Path:
    import torch

    from ecamp_fast.report.build import report_run
    from ecamp_fast.run.trained import load_trained
    from ecamp_fast.shards.load.mix import open_data

    model = load_trained(run, "cuda" if torch.cuda.is_available() else "cpu")
    loader = model.recipe.loader
    shards = open_data(data, spare=loader.quarantine, cache_gb=loader.cache_gb)
    return report_run(run, model, shards, model.recipe, samples)


def own_data(state: dict[str, Any], run: Path) -> str | list[str]:
    """What the run was trained on, for ``open_data``.  Raises ConfigError where a set is not where it was."""
    from ecamp_fast.shards.storage.address import parse_address
    from ecamp_fast.shards.storage.weighted import as_recorded, parse_data

    found = as_recorded(state.get("data") or "")
    places = [source.place for source in parse_data(found)]
    if gone := [place for place in places if not place or not (parse_address(place) or Path(place).exists())]:
        raise ConfigError(f"the shard set of {run} is not where it was ({gone[0]})", "name it: --data SHARDS")
    return found
