"""What is known of a class in a sample: 1 present, 0 absent, -1 uncertain; a name that is not there is unknown.

Sets store what their owners state. How a task counts what is uncertain, or left blank, is a rule of the task: the
tables here are the ones of the paper's protocol (SPEC 7.1), and ``targets`` applies them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Labels = dict[str, int]

POSITIVE, NEGATIVE, UNCERTAIN = 1, 0, -1
VALUES = (POSITIVE, NEGATIVE, UNCERTAIN)

# What an uncertain class counts as in CheXpert and in sets that its labeller read. The prevalences of the lists that
# the official code ships fit these and no others (SPEC 7.1). Classes without a rule stay unknown.
UNCERTAIN_AS: dict[str, int] = {
    "Atelectasis": POSITIVE,
    "Edema": POSITIVE,
    "Effusion": POSITIVE,
    "Pleural Effusion": POSITIVE,
    "Cardiomegaly": NEGATIVE,
    "Consolidation": NEGATIVE,
}
# Kinds of source whose labeller leaves a class blank that a report does not mention: it counts as absent there.
BLANK_IS_NEGATIVE = frozenset({"chexpert", "mimic-cxr"})


def positives(names: Iterable[str]) -> Labels:
    """The labels of a source that lists what is present, and says nothing of the rest."""
    return dict.fromkeys(names, POSITIVE)


def read_labels(value: Any) -> Labels | None:
    """The labels of a sample's metadata: a dict, or a list of what is present (format 2); None where it is neither."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return positives(value)
    if isinstance(value, dict) and all(type(number) is int and number in VALUES for number in value.values()):
        return value
    return None


def targets(
    labels: Mapping[str, int],
    names: Sequence[str],
    classes: Sequence[str],
    kind: str,
    uncertain: Mapping[str, int] = UNCERTAIN_AS,
) -> list[float]:
    """What a task learns of the classes ``names`` in one sample: 1.0, 0.0, or NaN where it is not known.

    labels     of the sample
    names      classes of the task
    classes    those of the set (``Manifest.labels``); none: the set lists what is present, what it does not is absent
    kind       of the set's source (``Manifest.source["kind"]``)
    uncertain  what an uncertain class counts as; one that is not there stays unknown
    """
    blank = float(NEGATIVE) if not classes or kind in BLANK_IS_NEGATIVE else math.nan
    stated = {POSITIVE: 1.0, NEGATIVE: 0.0}

    def target(name: str) -> float:
        value = labels.get(name)
        if value is None:
            return blank
        if value == UNCERTAIN:
            value = uncertain.get(name, UNCERTAIN)
        return stated.get(value, math.nan)

    return [target(name) for name in names]


def class_order(samples: Iterable[Labels]) -> tuple[str, ...]:
    """The classes of a source that states which are absent or uncertain, in its order; () where it only lists.

    A class that first samples lack comes behind the one that precedes it where it is stated.
    """
    order: list[str] = []
    lists = True
    for labels in samples:
        lists = lists and all(value == POSITIVE for value in labels.values())
        if labels.keys() <= {*order}:
            continue
        at = 0
        for name in labels:
            if name in order:
                at = order.index(name) + 1
            else:
                order.insert(at, name)
                at += 1
    return () if lists else tuple(order)
