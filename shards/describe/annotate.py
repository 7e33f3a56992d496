"""Reports read without their images: what sections they have, which entities they mention, deny and doubt."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from ecamp_fast.shards.describe.imbalance import Imbalance
from ecamp_fast.shards.sources.base import Listing, Source
from ecamp_fast.text.language import refuse_spanish
from ecamp_fast.text.reading.annotate import Description, describe
from ecamp_fast.text.reading.doubt import Doubts
from ecamp_fast.text.reading.entities import DEFAULT, EntityList, Mention
from ecamp_fast.text.reading.plain import plain
from ecamp_fast.text.reading.rules import distill
from ecamp_fast.text.reading.sentences import sentence_spans
from ecamp_fast.text.reading.version import RULES_DIGEST

_SOURCE = ("kind", "file", "studies")  # of a source's description, to tell results of two sources apart


@runtime_checkable
class TextSource(Protocol):
    """A source that lists its reports where there are no images: one record each, whose place is ''."""

    def texts(self) -> Listing:
        """All reports that say something, in the source's own order.  Raises DataError."""


def annotate(source: Source, entities: EntityList = DEFAULT) -> dict[str, Any]:
    """Read every report of a source once, open no image. Views of a study share a report; two that differ are two.
    Raises DataError as the listing, and where the reports are Spanish.

    entities: what they are read for

    returns
    rules_digest         the rules that read them
    source               its kind, and its own name
    reports              how many were read
    dropped_empty        reports that say nothing
    sections             where the source cuts reports: what they lack
    left_out             by heading, what of them is not learned from (see ``Tally.left_out``)
    sentences            in all reports
    without_entity       reports that mention none
    only_denied          reports that deny every entity they mention
    distilled            reports of which the rules write a text
    distilled_sentences  of these texts
    mentions             of all entities
    denied_mentions      of all entities
    doubted_mentions     of all entities: neither denied nor stated for certain
    entities             mentions, denied and doubted ones by entity
    imbalance            negative descriptors against others, see ``Imbalance.table``
    notes                of the source
    faults               of the source, rows without an image among them
    """
    listing = source.texts() if isinstance(source, TextSource) else source.list_records()
    reports = {(record.study_id, record.report) for record in listing.records if record.report}  # views share theirs
    refuse_spanish(str(source.description.get("file", source.kind)), (report for _, report in sorted(reports)))
    return {
        "rules_digest": RULES_DIGEST,
        "source": {name: source.description[name] for name in _SOURCE if name in source.description},
        "reports": len(reports),
        "dropped_empty": listing.dropped_empty,
        "sections": source.description.get("sections", {}),
        "left_out": listing.left_out,
        **_read((report for _, report in reports), entities),
        "notes": listing.notes,
        "faults": [str(fault) for fault in listing.faults + listing.absent],
    }


def _read(reports: Iterable[str], listed: EntityList) -> dict[str, Any]:
    """Of what ``annotate`` returns, from ``sentences`` to ``imbalance``."""
    totals: Counter[str] = Counter()
    mentions: Counter[str] = Counter()
    denied: Counter[str] = Counter()
    doubted: Counter[str] = Counter()
    imbalance = Imbalance(listed)
    for raw in reports:
        report = plain(raw, listed).text
        descriptions, sentences, told = (
            describe(report, listed),
            sentence_spans(report, listed),
            distill(report, listed),
        )
        mentions.update(one.mention.entity for one in descriptions)
        denied.update(one.mention.entity for one in descriptions if one.denied)
        doubted.update(one.entity for one in _doubted(report, sentences, descriptions, listed))
        imbalance.add(descriptions)
        totals["sentences"] += len(sentences)
        totals["without_entity"] += not descriptions
        totals["only_denied"] += bool(descriptions) and all(one.denied for one in descriptions)
        totals["distilled"] += bool(told)
        totals["distilled_sentences"] += len(sentence_spans(told, listed)) if told else 0
    counted = ("sentences", "without_entity", "only_denied", "distilled", "distilled_sentences")
    return {
        **{name: totals[name] for name in counted},
        "mentions": mentions.total(),
        "denied_mentions": denied.total(),
        "doubted_mentions": doubted.total(),
        "entities": {
            name: {"mentions": count, "denied": denied[name], "doubted": doubted[name]}
            for name, count in mentions.most_common()
        },
        "imbalance": imbalance.table(),
    }


def _doubted(
    text: str, sentences: Sequence[tuple[int, int]], descriptions: Sequence[Description], entities: EntityList
) -> list[Mention]:
    """The mentions that are only supposed; what is denied is not."""
    starts = [start for start, _ in sentences]
    cues: dict[int, Doubts] = {}
    found = []
    for one in descriptions:
        if one.denied:
            continue
        index = bisect_right(starts, one.mention.start) - 1
        if index not in cues:
            cues[index] = Doubts(text, sentences[index], entities)
        if cues[index].cover(one.mention):
            found.append(one.mention)
    return found
