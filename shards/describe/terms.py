"""How often each descriptive term is used: the paper's Fig. S1 as a table and as a plot.

A term is what describes an entity: of its descriptors, up to two words before it within the sentence, those that say
how or where it is, as "small" or "left basilar". Articles, verbs and cues ("is no", "may be", "the") do not.
"""

import io
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ecamp_fast.shards.describe.imbalance import Imbalance
from ecamp_fast.text.reading.annotate import Description, describe
from ecamp_fast.text.reading.cleaning import is_empty
from ecamp_fast.text.reading.entities import DEFAULT, EntityList

SHARE = 10_000 / 227_835  # the paper shows terms used more than 10,000 times in 227,835 reports
FEWEST = 10  # uses, unless asked for: what hardly anybody else writes is one patient's text
_BARS = 40  # in the plot; the rest is drawn as others

# Descriptors that describe nothing; a term does not reach across them.
FUNCTION_WORDS = frozenset(
    """
    a above additional again all along also although among an and any appear appeared appears approximately are as aside
    at be because been behind being below beneath between beyond both but by can cannot cause causes causing demonstrate
    demonstrated demonstrates did do does due during each either except few finding findings following for from given
    had has have having he her here his however identified if in include includes including into is it its like many may
    might more most much near note noted of on only or other otherwise our out over per remain remained remains reveal
    revealed reveals seen she should show showed shown shows since so some such than that the their then there these
    they this those though through to toward towards under unless until upon very visualised visualized was we were when
    where whereas whether which while who will with within would yet
    """.split()  # noqa: SIM905, a table of words
)
CUES = frozenset(
    """
    absence absent clear cleared clearing compatible concern concerning consider considered consistent could denied
    denies deny differential evidence exclude excluded excluding favor favored favoring free indicate indicates
    indicating indicative lack likely negative neither never no none nor not perhaps possible possibly potential
    potentially presumably presumed probable probably question questionable questioned r/o reflect reflecting reflects
    represent representing represents resolution resolved ruled rule sign signs suggest suggested suggesting suggestion
    suggestive suggests suspect suspected suspicion unlikely versus vs w/o without worrisome
    """.split()  # noqa: SIM905
)


class Terms:
    """Counts terms over reports, each report of a study once: views share theirs."""

    def __init__(self, entities: EntityList = DEFAULT) -> None:
        self._entities = entities
        self._imbalance = Imbalance(entities)
        self._used: Counter[str] = Counter()
        self._denied: Counter[str] = Counter()
        self._reports: set[int] = set()  # hashes: the texts of a large set would fill the memory

    def add(self, study: str, report: str) -> None:
        """Count a report, unless the same one of the same study came before."""
        if (one := hash((study, report))) in self._reports:
            return
        self._reports.add(one)
        descriptions = describe(report, self._entities)
        self._imbalance.add(descriptions)
        for description in descriptions:
            if term := _term(report, description):
                self._used[term] += 1
                self._denied[term] += description.denied

    def table(self, threshold: int | None = None) -> dict[str, Any]:
        """Terms used more than ``threshold`` times, by falling frequency.

        threshold: None: the paper's share of the reports, but at least ``FEWEST``

        returns
        descriptor_terms      how many terms differ
        descriptor_threshold  the threshold that was used
        descriptors           {term: {count, denied}}; denied: uses before an entity that is said to be absent
        other_descriptors     uses of all terms below the threshold
        imbalance             negative descriptors against others, see ``Imbalance.table``
        """
        least = max(FEWEST, math.floor(SHARE * len(self._reports))) if threshold is None else threshold
        ranked = sorted(self._used.items(), key=lambda item: (-item[1], item[0]))
        listed = {term: {"count": n, "denied": self._denied[term]} for term, n in ranked if n > least}
        return {
            "descriptor_terms": len(ranked),
            "descriptor_threshold": least,
            "descriptors": listed,
            "other_descriptors": self._used.total() - sum(row["count"] for row in listed.values()),
            "imbalance": self._imbalance.table(),
        }


def _term(report: str, description: Description) -> str:
    """The words that describe an entity, up to it without a word that does not; '' where there is none."""
    words: list[str] = []
    for start, end in description.words:  # nearest first
        word = report[start:end].lower()
        if word in FUNCTION_WORDS or word in CUES or word.isdecimal() or is_empty(report[start:end]):
            break
        words.insert(0, word)
    return " ".join(words)


def plot(table: Mapping[str, Any]) -> bytes:
    """A table of ``Terms`` as horizontal bars, PNG: the 40 most frequent, the rest as others.

    Uses before a denied entity have a colour of their own.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(table["descriptors"].items())
    rest = table["other_descriptors"] + sum(row["count"] for _, row in rows[_BARS:])
    names = [*(term for term, _ in rows[:_BARS]), "others"]
    denied = [*(row["denied"] for _, row in rows[:_BARS]), 0]
    stated = [*(row["count"] - row["denied"] for _, row in rows[:_BARS]), 0]
    others = [0] * (len(names) - 1) + [rest]

    chart = Figure(figsize=(7, 1.4 + 0.24 * len(names)), layout="constrained")
    axes = FigureCanvasAgg(chart).figure.add_subplot()
    axes.barh(names, denied, color="#c44e52", label="entity denied")
    axes.barh(names, stated, left=denied, color="#4c72b0", label="entity stated")
    axes.barh(names, others, color="#b0b0b0")
    for row, total in enumerate(map(sum, zip(denied, stated, others, strict=True))):
        axes.annotate(f"{total:,}", (total, row), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.1, y=0.01)
    axes.set_xlabel("uses in reports")
    axes.set_title(f"Descriptive terms used more than {table['descriptor_threshold']:,} times", loc="left", fontsize=11)
    chart.legend(frameon=False, loc="outside lower right", ncols=2, fontsize=9)
    buffer = io.BytesIO()
    chart.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
