"""Reports read without their images: what sections they have, which entities they mention and deny."""

from collections import Counter
from typing import Any, Protocol, runtime_checkable

from ecamp_fast.shards.sources.base import Listing, Source
from ecamp_fast.text.language import refuse_spanish
from ecamp_fast.text.reading.annotate import describe
from ecamp_fast.text.reading.rules import distill
from ecamp_fast.text.reading.sentences import sentence_spans


@runtime_checkable
class TextSource(Protocol):
    """A source that lists its reports where there are no images: one record each, whose place is ''."""

    def texts(self) -> Listing:
        """All reports that say something, in the source's own order.  Raises DataError."""


def annotate(source: Source) -> dict[str, Any]:
    """Read every report of a source once, open no image. Views of a study share a report; two that differ are two.
    Raises DataError as the listing, and where the reports are Spanish.

    returns
    reports          how many were read
    dropped_empty    reports that say nothing
    sections         where the source cuts reports: what they lack
    sentences        in all reports
    without_entity   reports that mention none
    only_denied      reports that deny every entity they mention
    distilled        reports of which the rules write a text
    mentions         of all entities
    denied_mentions  of all entities
    entities         mentions and denied ones by entity
    notes            of the source
    faults           of the source, rows without an image among them
    """
    listing = source.texts() if isinstance(source, TextSource) else source.list_records()
    reports = {(record.study_id, record.report) for record in listing.records if record.report}  # views share theirs
    refuse_spanish(str(source.description.get("file", source.kind)), (report for _, report in sorted(reports)))
    totals: Counter[str] = Counter()
    mentions: Counter[str] = Counter()
    denied: Counter[str] = Counter()
    for _, report in reports:
        descriptions = describe(report)
        mentions.update(one.mention.entity for one in descriptions)
        denied.update(one.mention.entity for one in descriptions if one.denied)
        totals["sentences"] += len(sentence_spans(report))
        totals["without_entity"] += not descriptions
        totals["only_denied"] += bool(descriptions) and all(one.denied for one in descriptions)
        totals["distilled"] += bool(distill(report))
    return {
        "reports": len(reports),
        "dropped_empty": listing.dropped_empty,
        "sections": source.description.get("sections", {}),
        **{name: totals[name] for name in ("sentences", "without_entity", "only_denied", "distilled")},
        "mentions": mentions.total(),
        "denied_mentions": denied.total(),
        "entities": {name: {"mentions": count, "denied": denied[name]} for name, count in mentions.most_common()},
        "notes": listing.notes,
        "faults": [str(fault) for fault in listing.faults + listing.absent],
    }
