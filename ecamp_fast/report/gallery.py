"""Pictures and filled-in reports of samples as HTML; images travel inside the page."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from ecamp_fast.report.pictures import HIDDEN, Pictures
from ecamp_fast.report.words import Word

QUALITY = 88  # of JPEG


def gallery(samples: Sequence[Pictures]) -> str:
    """One card per sample: a row of pictures, and beneath it the report as the model filled it in."""
    return _legend(samples) + "".join(_card(sample) for sample in samples)


def report_words(words: Sequence[Word]) -> str:
    """The report as a paragraph; a masked word shows the model's answer, a wrong one the true word beneath."""
    parts: list[str] = []
    for word in words:
        answer, true = escape(word.shown), escape(word.true)
        if word.entity:
            answer, true = (f"<b>{answer}</b>" if word.right else answer), f"<b>{true}</b>"
        if word.masked and word.right:
            answer = f'<span class="word right" title="masked, and right">{answer}</span>'
        elif word.masked:
            wrong = f'<span class="word wrong" title="masked, and wrong">{answer}</span>'
            answer = f"<ruby>{wrong}<rt>{true}</rt></ruby>"
        parts.append(answer if word.glued or not parts else " " + answer)
    return f'<p class="report">{"".join(parts)}</p>'


def image_tag(image: np.ndarray, alt: str, exact: bool = False) -> str:
    """An ``<img>`` with its data inside, JPEG, or PNG where ``exact``.  image: (H, W) or (H, W, 3) uint8."""
    buffer = io.BytesIO()
    if exact:
        Image.fromarray(image).save(buffer, "PNG", optimize=True)
    else:
        Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY)
    kind, data = "png" if exact else "jpeg", base64.b64encode(buffer.getvalue()).decode()
    size = f'width="{image.shape[1]}" height="{image.shape[0]}"'
    return f'<img src="data:image/{kind};base64,{data}" {size} alt="{escape(alt, quote=True)}">'


def _card(sample: Pictures) -> str:
    note = "" if sample.correlation is None else f": r = {sample.correlation:.2f} over the hidden pixels"
    panels = [
        figure(sample.target, "Target"),
        figure(sample.masked, "What the model saw", exact=True),
        figure(sample.reconstruction, f"Reconstruction{note}", "no image term in this recipe"),
        figure(sample.super_resolution, "Super-resolution", "no super-resolution in this recipe"),
        figure(sample.attention, "Attention map", "no map, or no positive entity: all pixels weigh alike"),
    ]
    words = sample.words
    told = ""
    if masked := [word for word in words if word.masked]:
        right = sum(word.right for word in masked)
        told = f'<span class="soft">{right} of {len(masked)} masked words right</span>'
    report = report_words(words) if words else ""
    head = f"<h3>{escape(sample.key)} {told}</h3>"
    return f'<article class="card sample">{head}<div class="strip">{"".join(panels)}</div>{report}</article>'


def figure(image: np.ndarray | None, caption: str, missing: str = "", exact: bool = False) -> str:
    """An image with its caption; ``missing`` where there is none."""
    drawn = f'<div class="none">{escape(missing)}</div>' if image is None else image_tag(image, caption, exact)
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"


def _legend(samples: Sequence[Pictures]) -> str:
    parts = [f'<span><span class="patch" style="background:rgb{HIDDEN}"></span> patch hidden from the encoder</span>']
    if any(sample.words for sample in samples):
        parts += [
            '<span><span class="word right">word</span> masked, filled in right</span>',
            '<span><ruby><span class="word wrong">word</span><rt>true</rt></ruby> masked, filled in wrong</span>',
            "<span><b>word</b> entity</span>",
            "<span>other words were visible</span>",
        ]
    return f'<div class="legend">{"".join(parts)}</div>'
