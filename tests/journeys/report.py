"""Journey: the report of a run opens, has its curves, and without pictures holds nothing of a patient."""

import json
import re
import sys
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

from journeys.harness import Walk, check, check_file, program

CURVES = ("loss", "mim", "sr", "mlm")
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def journey(walk: Walk) -> None:
    walk.need("SHARDS", "RUN:runs/first")
    page = walk.here / "runs" / "first" / "report.html"
    check_page(page)
    check("data:image/" in page.read_text(), "it has pictures of held-out samples")
    walk.type("ecamp-fast report runs/first --no-pictures", says=["report.html"])
    check_page(page)
    check_private(page, private_words(walk.here / "SHARDS"))


def check_page(path: Path) -> None:
    """Well-formed, whole by itself, with curves."""
    check_file(path, 5000)
    text = path.read_text(encoding="utf-8")
    check(not (wrong := malformed(text)), f"it is well-formed HTML: {wrong[:3]}")
    addresses = re.findall(r"""(?:src|href)=["']?(\w+://[^"'\s>]+)""", text)
    check(not addresses, f"it loads nothing from elsewhere: {addresses[:3]}")
    drawn = text.count("<polyline") + text.count("<path")
    check(drawn >= 4, f"it has curves: {drawn}")
    missing = [name for name in CURVES if name not in text]
    check(not missing, f"they are named: {missing}")


class _Tags(HTMLParser):
    """Whether what is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open[-1] != tag:
            self.wrong.append(f"</{tag}> at line {self.getpos()[0]} closes {self.open[-1:] or 'nothing'}")
        if tag in self.open:
            del self.open[len(self.open) - 1 - self.open[::-1].index(tag) :]

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """``<path/>``: nothing is opened."""


def malformed(text: str) -> list[str]:
    """What is wrong with a page, in words."""
    tags = _Tags()
    tags.feed(text)
    tags.close()
    wrong = tags.wrong + [f"<{tag}> is never closed" for tag in tags.open]
    return wrong + [f"no <{tag}>" for tag in ("title", "h1") if f"<{tag}" not in text]


def private_words(shards: Path) -> set[str]:
    """Whatever names or describes a patient of a set: keys, patients, studies, images, sentences of reports."""
    from ecamp_fast.shards.load.read import ShardSet

    opened, found = ShardSet(shards), set()
    for split in opened.splits:
        for index in range(opened.count(split)):
            sample = opened.read(split, index)
            about = json.loads(sample["json"])
            found |= {str(about[name]) for name in ("patient_id", "study_id", "image") if about.get(name)}
            found |= {one.strip() for one in sample["txt"].decode().split(".") if len(one.strip()) > 12}
    return {word for word in found if len(word) > 5}


def check_private(path: Path, words: Iterable[str]) -> None:
    """No picture, and no word of a patient."""
    text, words = path.read_text(encoding="utf-8"), set(words)
    check(words, "there are words to look for")
    check("data:image/" not in text, "no picture is in it")
    found = [word for word in words if word in text]
    check(not found, f"of {len(words)} names and sentences of patients none is in it: {len(found)} are")


def main() -> int:
    return program(journey)


if __name__ == "__main__":
    sys.exit(main())
