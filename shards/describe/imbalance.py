"""How much of what reports describe is denied, and the ``lambda_neg`` of the paper's Eq. 3 that makes up for it."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from ecamp_fast.text.reading.annotate import Description
from ecamp_fast.text.reading.entities import DEFAULT, EntityList


class Imbalance:
    """Counts descriptors, in words, over reports. A word that describes two entities counts once, and is negative as
    soon as one of them is denied: as Eq. 3 counts."""

    def __init__(self, entities: EntityList = DEFAULT) -> None:
        self._organs = entities.organs
        self._all: Counter[bool] = Counter()  # by whether they are negative
        self._of_findings: Counter[bool] = Counter()

    def add(self, descriptions: Iterable[Description]) -> None:
        """Count what is said in one report."""
        words: dict[tuple[int, int], bool] = {}
        of_findings: set[tuple[int, int]] = set()
        for one in descriptions:
            words |= {span: one.denied or words.get(span, False) for span in one.words}
            if one.mention.entity not in self._organs:
                of_findings.update(one.words)
        self._all.update(words.values())
        self._of_findings.update(words[span] for span in of_findings)

    def table(self) -> dict[str, dict[str, Any]]:
        """
        descriptors  all: N_neg and N_oth of Eq. 3
        findings     those of entities that can be absent: what the paper calls negative against positive

        of each
        negative     words before a denied entity
        other        all others
        ratio        negative words to one other (the paper's corpus: 20); None where there is no other
        lambda_neg   what Eq. 3 wants for it, 1 / ratio (20 : 1 gives the paper's 0.05), at most 1; None without a ratio
        """
        return {"descriptors": _ratio(self._all), "findings": _ratio(self._of_findings)}


def _ratio(words: Counter[bool]) -> dict[str, Any]:
    negative, other = words[True], words[False]
    return {
        "negative": negative,
        "other": other,
        "ratio": round(negative / other, 2) if other else None,
        "lambda_neg": float(f"{min(1.0, other / max(negative, 1)):.2g}") if other else None,
    }
