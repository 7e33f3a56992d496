"""``ecamp-fast features``: the frozen features of a shard set, for whatever is fitted on them."""

import json
from pathlib import Path

import click

from ecamp_fast.commands.downstream.task_options import open_device
from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import ConfigError
from ecamp_fast.usage import options


@click.command()
@options.run_argument()
@options.shards_argument()
@click.argument("out", type=click.Path(path_type=Path))
@options.splits_option()
@options.pooling_option()
@options.device_option()
@options.overwrite_option()
@options.json_option()
def command(
    run: Path,
    shards: str,
    out: Path,
    splits: tuple[str, ...],
    pooling: int,
    device: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the features that RUN's encoder has of the images of SHARDS into OUT.npz.

    RUN is a run, or the folder `ours` of an export. The file has `features` (N, D) float32, the mean of the patch
    tokens of each image; `keys`, `splits` and `patients` (N); `labels` (N, F) bool by `findings` (F), and
    `values` (N, F): 1 present, 0 absent, -1 uncertain, NaN unknown. It holds names of patients as the set has them, so
    it is for its owner alone.

    \b
    Example:
      ecamp-fast features runs/mine SHARDS features.npz --split test
    """
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists", "choose another name, or --overwrite")
    if out.suffix != ".npz":
        raise ConfigError(f"{out} must end in .npz", f"write {out.with_suffix('.npz')}")
    from ecamp_fast.files import require_file
    from ecamp_fast.shards.load.read import ShardSet
    from ecamp_fast.shards.storage.store import require_set_at

    require_file(out)
    require_set_at(shards)
    from ecamp_fast.downstream.export import write_features
    from ecamp_fast.run.trained import load_trained

    where = open_device(device)
    known = ShardSet(shards)
    count = write_features(load_trained(run, where), known, tuple(dict.fromkeys(splits)) or known.splits, out, pooling)
    if as_json:
        click.echo(json.dumps({"schema": 1, "out": str(out), "samples": count}))
    else:
        tell(f"{out}: features of {count} samples")
