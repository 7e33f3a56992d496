"""The page of maps: what words look at, whether that is where the findings are, and reconstructions beside."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from ecamp_fast import __version__
from ecamp_fast.downstream.visualize.claims import PRIOR, Peaks, Pointing
from ecamp_fast.downstream.visualize.measure import SENTENCE, Claims
from ecamp_fast.evidence.check import Check, told
from ecamp_fast.report.gallery import figure, gallery
from ecamp_fast.report.html import CONFIDENTIAL, document
from ecamp_fast.report.looks import Looked, draw_boxes, draw_map
from ecamp_fast.report.pictures import Pictures, glow
from ecamp_fast.report.sections import checklist
from ecamp_fast.scores import Estimate

PAGE = "index.html"
_STORED = "stored attention maps point at the boxes"  # a claim about the set, not about the model
_HOW = {
    "paper": "Drawn as in the paper's figure: values to the power 0.25, stretched from the least to the greatest, so "
    "that a flat map is as colourful as a sharp one. The peak beneath each map says how sharp it is.",
    "plain": "Drawn as they are: no colour where a map is zero, the strongest at its peak.",
}


@dataclass(frozen=True)
class LookPage:
    """What the page shows.

    name      of the run
    style     of the maps
    looks     samples with their maps
    pictures  what the model made of samples with hidden patches
    claims    None: there was nothing to measure them by
    why_none  why there is no picture, in words; '' where there are some
    source    what was read, in a line
    """

    name: str
    style: str
    looks: Sequence[Looked] = ()
    pictures: Sequence[Pictures] = ()
    claims: Claims | None = None
    why_none: str = ""
    source: str = ""


def checks(claims: Claims) -> list[Check]:
    """The two claims of the paper's figure, and that the stored maps lie where the boxes are."""
    found = [
        *_pointing_checks(f'"{SENTENCE.format("X")}" looks at X', claims.sentence),
        *_pointing_checks("the words of a report look at what they state", claims.own_report),
    ]
    if claims.peaks:
        found.append(_peaks_check(claims.peaks))
    return found + _pointing_checks(_STORED, claims.guidance)[:1]


def write_looks(page: LookPage, folder: Path) -> list[str]:
    """The page and each picture of a map as PNG.  returns the names of the files"""
    names = []
    for number, one in enumerate(page.looks, 1):
        drawn = {f"{number:02d}-original": one.image}
        for place, (query, heads) in enumerate(one.maps, 1):
            start = f"{number:02d}-{place}-{_file_name(query.name)}"
            drawn[f"{start}-max"] = draw_map(one, heads.max(0), page.style)
            drawn |= {f"{start}-head-{n}": draw_map(one, head, page.style) for n, head in enumerate(heads, 1)}
        for name, picture in drawn.items():
            (folder / f"{name}.png").write_bytes(_png(picture))
            names.append(f"{name}.png")
    (folder / PAGE).write_text(html(page), encoding="utf-8")
    return [PAGE, *names]


def html(page: LookPage) -> str:
    """The whole document as text."""
    notice = CONFIDENTIAL.replace(" A report without them is made with --no-pictures.", "")
    shown = bool(page.looks or page.pictures)
    body = [
        f'<header><h1>What words look at: {escape(page.name)}</h1><p class="under">{escape(page.source)}</p></header>',
        f'<p class="notice">{notice}</p>' if shown else "",
        f'<p class="notice">{escape(page.why_none)}</p>' if page.why_none else "",
        _claims(page.claims) if page.claims else "",
        _maps(page),
        f"<h2>Reconstructions</h2>{gallery(page.pictures)}" if page.pictures else "",
        f"<footer>Made by ecamp-fast {escape(__version__)}. Attention is where a model reads from, not why it answers; "
        "nothing here is a medical result, and nothing measured on phantoms is one.</footer>",
    ]
    return document(f"{page.name}: what words look at", body)


def _pointing_checks(name: str, found: Pointing | None) -> list[Check]:
    """That maps point better than what learned nothing; and better than the place where the finding usually is."""
    if found is None:
        return []
    blind = {other: one for other, one in found.above.items() if other != PRIOR}
    nearest = min(blind, key=lambda other: blind[other].value)
    rest = ", ".join(f"{other} {found.opponents[other].value:.3f}" for other in blind)
    text = (
        f"peak in a box of the finding in {_spread(found.hit)} of {found.pairs} cases; {rest}. "
        f"Against the best of them, {nearest}: {told(blind[nearest])}"
    )
    usual = f"{PRIOR}, in other patients: {found.opponents[PRIOR].value:.3f}; above it by {told(found.above[PRIOR])}"
    beyond = Check(f"{name}, better than its usual place", usual, found.beyond_prior)
    return [Check(name, text, found.holds), beyond]


def _peaks_check(found: Peaks) -> Check:
    text = (
        f"AUROC of the peak, ill against healthy, {_spread(found.auroc)}; random weights {found.random.value:.3f}, "
        f"above them by {told(found.above)}. Mean peak {found.ill:.1f} times a flat map on ill images, "
        f"{found.healthy:.1f} on healthy ones"
    )
    return Check("maps are sharper where there is a finding", text, found.holds)


def _claims(claims: Claims) -> str:
    found = checks(claims)
    if not found:
        return '<h2>Checks</h2><p class="soft">The set has no boxes: it cannot show whether maps point at findings.</p>'
    failed = [check.name for check in found if not check.passed and check.name != _STORED]
    plain = (
        f'<p class="soft">On these {claims.samples:,} images the model lacks what the paper\'s figure claims: '
        f"{escape('; '.join(failed))}. A map of it is no evidence of where a finding is.</p>"
        if failed
        else ""
    )
    rows = [(check.passed, check.name[:1].upper() + check.name[1:], check.found) for check in found]
    return checklist(rows) + plain + _by_finding(claims)


def _by_finding(claims: Claims) -> str:
    if claims.sentence is None:
        return ""
    rows = []
    for finding, one in claims.sentence.by_finding.items():
        peak = claims.peaks.by_finding.get(finding) if claims.peaks else None
        cells = [f"{one['pairs']:.0f}", f"{one['hit']:.2f}", "" if peak is None else f"{peak:.2f}"]
        rows.append(f"<tr><th>{escape(finding)}</th>{''.join(f'<td class=n>{cell}</td>' for cell in cells)}</tr>")
    heads = ", ".join(f"{value:.2f}" for value in claims.heads)
    columns = ("images", "peak in a box", "AUROC of the peak")
    head = f"<tr><th></th>{''.join(f'<th class=n>{column}</th>' for column in columns)}</tr>"
    return (
        f'<h2>By finding</h2><div class="card wide"><table>{head}{"".join(rows)}</table>'
        f'<p class="under">Head by head: {heads} of peaks in a box.</p></div>'
    )


def _maps(page: LookPage) -> str:
    if not page.looks:
        return ""
    cards = "".join(_card(one, page.style) for one in page.looks)
    return f'<h2>What words look at</h2><p class="soft">{_HOW[page.style]}</p>{cards}'


def _card(one: Looked, style: str) -> str:
    panels = [figure(draw_boxes(one, one.image), f"Image{', boxes of findings' if one.boxes else ''}")]
    if one.guidance is not None:
        panels.append(figure(draw_boxes(one, glow(one.image, one.guidance)), "Stored attention map"))
    heads = []
    for query, maps in one.maps:
        name = f"{query.name} (denied)" if query.denied else query.name
        panels.append(figure(draw_map(one, maps.max(0), style), f"{name}: highest of all heads, {_peak(maps.max(0))}"))
        heads += [figure(draw_map(one, m, style), f"{name}: head {n}, {_peak(m)}") for n, m in enumerate(maps, 1)]
    each = f'<details><summary>Head by head</summary><div class="strip">{"".join(heads)}</div></details>'
    return (
        f'<article class="card sample"><h3>{escape(one.key)}</h3><div class="strip">{"".join(panels)}</div>'
        f'<p class="report">{escape(one.text)}</p>{each}</article>'
    )


def _peak(values: np.ndarray) -> str:
    return f"peak {values.max() * len(values):.1f} times a flat map"


def _spread(number: Estimate) -> str:
    return f"{number.value:.3f} (95 % {number.low:.3f} to {number.high:.3f})"


def _png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _file_name(name: str) -> str:
    """What a file may be called: of any words, letters and digits alone."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "words"
