"""Labels without anybody's labelling: the entities that the rules read in the reports."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ecamp_fast.shards.format.manifest import REPORT
from ecamp_fast.shards.load.read import ShardSet
from ecamp_fast.text.reading.annotate import describe
from ecamp_fast.text.reading.entities import DEFAULT, EntityList

LEAST = 10  # patients with an entity, and without it


@dataclass(frozen=True)
class StatedLabels:
    """What reports state, of the samples that have one.

    entities  F names
    rows      (M,) int64, which samples
    labels    (M, F) bool: stated at least once and not denied there
    patients  M names
    """

    entities: list[str]
    rows: Tensor
    labels: Tensor
    patients: list[str]


def stated(shards: ShardSet, split: str, patients: Sequence[str], least: int) -> StatedLabels:
    """Read the reports of the first samples of a split; ``patients`` of each of them.

    Entities that ``least`` patients have and as many have not; organs, which everybody has, are none of them.
    """
    entities, texts = shards.manifest.entities, _reports(shards, split, len(patients))
    known = {number: read_entities(text, entities) for number, text in texts.items() if text}
    owners = [patients[number] for number in known]
    kept = []
    for entity in sorted({*entities.names} - entities.organs):
        having = {owner for owner, names in zip(owners, known.values(), strict=True) if entity in names}
        if least <= len(having) <= len(set(owners)) - least:
            kept.append(entity)
    labels = torch.tensor([[entity in names for entity in kept] for names in known.values()], dtype=torch.bool)
    return StatedLabels(kept, torch.tensor(list(known), dtype=torch.int64), labels, owners)


def read_entities(report: str, entities: EntityList = DEFAULT) -> set[str]:
    """The entities that a report states."""
    return {one.mention.entity for one in describe(report, entities) if not one.denied}


def _reports(shards: ShardSet, split: str, count: int) -> dict[int, str]:
    read = (shards.read(split, sample, (REPORT,)).get(REPORT, b"") for sample in shards.first(split, count).tolist())
    return {number: text.decode() for number, text in enumerate(read)}
