"""The report of a run: one HTML file that needs nothing else, and may load nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ecamp_fast import __version__
from ecamp_fast.files import write_atomically
from ecamp_fast.report import run_curves, sections
from ecamp_fast.report.facts import Facts, gather
from ecamp_fast.report.gallery import gallery
from ecamp_fast.report.pictures import Pictures
from ecamp_fast.run.rundir import RunDir

HERE = Path(__file__).resolve().parent
CONFIDENTIAL = (
    "This file contains images and text of the training data: handle it as such. "
    "A report without them is made with --no-pictures."
)


def write_report(run: Path, pictures: Sequence[Pictures] = (), heading: str = "Held-out samples") -> Path:
    """Write RUN/report.html from what the run directory holds. Returns its path.

    pictures: samples to show; none: numbers and curves alone, which may be shared   heading: over them
    Raises ConfigError where ``run`` is no run directory, StorageError where the disk refuses.
    """
    path = RunDir(run, writes=False).report
    write_atomically(path, page(gather(run), pictures, heading).encode())
    return path


def page(facts: Facts, pictures: Sequence[Pictures], heading: str = "") -> str:
    """The whole document as text."""
    notice = f'<p class="notice">{CONFIDENTIAL}</p>' if pictures else ""
    samples = f"<h2>{escape(heading)}</h2>{gallery(pictures)}" if pictures else ""
    body = [
        sections.header(facts),
        notice,
        sections.tiles(facts),
        sections.verdicts(facts),
        samples,
        run_curves.curves(facts),
        sections.held_out(facts),
        sections.events(facts),
        sections.about(facts),
        f"<footer>Made by ecamp-fast {escape(__version__)}. Pre-training losses and phantoms are no medical results."
        "</footer>",
    ]
    return document(f"{facts.name}: ECAMP pre-training", body)


def document(title: str, body: Sequence[str]) -> str:
    """A whole page of its parts, in our style; it loads nothing and runs no script but ours."""
    style, script = (HERE / "page.css").read_text(), (HERE / "page.js").read_text()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{chr(10).join(part for part in body if part)}\n</main>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _policy(script: str) -> str:
    """The browser itself keeps the page from loading anything, and from running any script but ours."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
