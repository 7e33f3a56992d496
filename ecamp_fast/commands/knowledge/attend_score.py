"""``ecamp-fast attend score``: whether the maps of ``attend apply`` lie where a set's boxes are."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecamp_fast.commands.terminal import tell
from ecamp_fast.errors import DataError
from ecamp_fast.usage import options

if TYPE_CHECKING:
    from ecamp_fast.attend.map_scores import ComparedScore, MapScores
    from ecamp_fast.attend.stored_maps import BoxedMaps
    from ecamp_fast.scores import Estimate

TITLES = {
    "pointing": "pointing: the highest place of the map lies in a box",
    "iou": "iou: overlap of the boxes with as many of the highest places",
    "share": "share of the map that lies in the boxes",
    "lift": "lift: that share, as a multiple of a flat map's",
    "side": "side: more of the map lies in the half where the boxes are; asked of one-sided findings",
}
COLUMNS = {
    "uniform": "flat",
    "centre": "centre",
    "usual": "usual",
    "other": "other",
}
MEANING = """own: the map, with its 95 % interval over patients. Beside it, maps that know nothing of the image:
flat: by chance. centre: a hill in the middle. usual: where the finding is in other patients, summed.
other: the map of the same finding in another patient's image. above other: own - other, pair by pair; what is surely
above 0 was seen in this image. (1): one-sided, in a quarter of its images or more all boxes lie in one half."""


@click.command()
@click.argument("maps", type=click.Path(path_type=Path))
@options.shards_argument()
@options.split_option("Of SHARDS.", "val")
@options.json_option()
def command(maps: Path, shards: str, split: str, as_json: bool) -> None:
    """Judge MAPS, OUT of `attend apply`, by the boxes of SHARDS: per finding, over all and over one-sided findings.

    Told are pointing game, overlap with the boxes, share of the map inside, and the side; each beside a flat map, the
    centre, the usual place of the finding, and another patient's map of the same finding.

    \b
    Example:
      ecamp-fast attend score maps SHARDS --split val
    """
    from ecamp_fast.attend.map_scores import score_maps
    from ecamp_fast.attend.stored_maps import read_boxed
    from ecamp_fast.shards.load.read import ShardSet
    from ecamp_fast.shards.storage.store import require_set_at

    require_set_at(shards)
    boxed = read_boxed(maps, ShardSet(shards), split)
    if not boxed.pairs:
        what = f"no map of split '{split}' has a box of its finding in {shards}"
        raise DataError(what, f"{boxed.unboxed} maps have none; name a set with boxes")
    found = score_maps(boxed.pairs)
    if as_json:
        counts = {"split": split, "samples": boxed.samples, "pairs": len(boxed.pairs)}
        counts |= {"unmapped": boxed.unmapped, "unboxed": boxed.unboxed}
        click.echo(json.dumps({"schema": 1, **counts, **found.as_dict()}))
        return
    tell(*_table(found, boxed))


def _table(found: "MapScores", boxed: "BoxedMaps") -> list[str]:
    rows = [("mean", found.mean)]
    if found.one_sided is not None:
        rows.append(("mean of (1)", found.one_sided))
    rows += [(f"{name[:15]}{' (1)' * one.one_sided}", one.scores) for name, one in found.findings.items()]
    lines = [
        f"{len(boxed.pairs):,} maps with boxes in {boxed.samples:,} samples; without a map {boxed.unmapped:,} boxed "
        f"findings, without a box {boxed.unboxed:,} maps",
        *MEANING.splitlines(),
    ]
    for metric, title in TITLES.items():
        head = "".join(f"{name:9}" for name in COLUMNS.values())
        lines += ["", title, f"{'':20}{'own':23}{head}above other"]
        lines += [f"{name:20}{_line(scores[metric])}" for name, scores in rows if scores[metric].own]
    pairs = ", ".join(f"{name} {one.pairs:,}" for name, one in found.findings.items())
    return [*lines, "", f"maps: {pairs}"]


def _line(scores: "ComparedScore") -> str:
    values = (f"{one.value:.3f}" if one else "-" for one in map(scores.opponents.get, COLUMNS))
    beside = "".join(f"{value:9}" for value in values)
    return f"{_told(scores.own):23}{beside}{_told(scores.above['other'], '+')}"


def _told(found: "Estimate | None", sign: str = "") -> str:
    return f"{found.value:{sign}.3f} ({found.low:{sign}.3f} {found.high:{sign}.3f})" if found else "-"
