"""Several shard sets of one run: what an epoch has of each, and whether a patient is on both sides of the split."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ecamp_fast.doctor.finding import Finding, ok, warn
from ecamp_fast.doctor.run_setup import RunSetup

if TYPE_CHECKING:
    from ecamp_fast.shards.load.read import ShardSet

LOOKED_THROUGH = 20_000  # samples whose metadata is read, at most: some seconds


def sets(setup: RunSetup) -> Iterator[Finding]:
    """Samples of an epoch, by set; that they fit together was found when they were opened."""
    from ecamp_fast.shards.load.mix import ShardMix

    if not isinstance(setup.shards, ShardMix):
        return
    mix = setup.shards
    for part, share in zip(mix.parts, mix.shares("train"), strict=True):
        count = part.shards.manifest.count("train")
        yield ok("set", f"{part.shards.path}: {share:,} samples an epoch, of {count:,} (weight {part.weight:g})")


def patients(setup: RunSetup) -> Iterator[Finding]:
    """Patients that one set trains on and another holds out, by their names."""
    from ecamp_fast.shards.load.alike import shared_patients
    from ecamp_fast.shards.load.mix import ShardMix

    if not isinstance(setup.shards, ShardMix):
        return
    sets = [part.shards for part in setup.shards.parts]
    if sum(one.manifest.counts["samples"] for one in sets) > LOOKED_THROUGH or not _local(sets):
        yield ok("patients of sets", "not compared, the sets are large or far away; `ecamp-fast shard merge` does")
    elif shared := shared_patients(sets):
        found = f"{shared:,} are in train of one set and held out in another, by their names"
        hint = "if they are the same people, build one set of all; names of two sources may be alike by chance"
        yield warn("patients of sets", found, hint)
    else:
        yield ok("patients of sets", "none is in train of one set and held out in another")


def _local(sets: "list[ShardSet]") -> bool:
    return all(isinstance(one.path, Path) for one in sets)
