"""What mkdocs is told beside mkdocs.yml: pages of files outside docs/, and links that hold in both places.

A link is written as the repository has it, relative to its own file. Here it is turned to the page that the file
became, or to a copy of the file on the site. One that leads nowhere is a warning, which ends `mkdocs build --strict`.
"""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
log = logging.getLogger("mkdocs.plugins.site")

# Files outside docs/ that are pages.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "kernels/README.md": "kernels.md",
    "shards/README.md": "shards.md",
    "bench/README.md": "bench.md",
    "bench/RUNBOOK.md": "runbook.md",
    "bench/results/report.md": "charts.md",
}
NAMED = re.compile(r"(?<!\[)`([\w./-]+\.md)`(?!\])")  # `docs/data.md` in a text
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
ITEM = re.compile(r"\s*([-*+]|\d+\.)\s")
FENCE = re.compile(r"\s*(`{3,}|~{3,})")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the pages of files outside docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links turned, and with the blank lines that GitHub does without."""
    lines = []
    for line, code in spaced(markdown):
        if not code:
            line = NAMED.sub(lambda name: linked(name[1], page), line)
            line = LINK.sub(lambda link: turned(link[1], page, config, files), line)
        lines.append(line)
    return "\n".join(lines)


def spaced(markdown: str) -> Iterator[tuple[str, bool]]:
    """Lines, and whether each is code. A blank one stands before a list or table that follows a line of text."""
    opened, in_list, before = "", False, ""
    for line in markdown.split("\n"):
        found = FENCE.match(line)
        fence = bool(found and (not opened or found[1].startswith(opened)))  # a longer one may hold shorter ones
        if not (opened or fence) and before.strip():
            begins_list = ITEM.match(line) and not in_list
            begins_table = line.startswith("|") and not before.startswith("|")
            if begins_list or begins_table:
                yield "", False
        in_list = not opened and bool(ITEM.match(line) or (in_list and line.strip()))
        yield line, bool(opened) or fence
        if fence and found:
            opened = "" if opened else found[1]
        before = line


def linked(name: str, page: Page) -> str:
    """The name of a file in a text, as a link where a page was made of it."""
    if name not in PAGES and not (name.startswith("docs/") and (ROOT / name).is_file()):
        return f"`{name}`"
    return f"[`{name}`]({os.path.relpath(name, PurePosixPath(source_of(page.file.src_uri)).parent)})"


def turned(target: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link of a file in the repository as a link of its page."""
    path, hash_sign, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return target
    found = (ROOT / source_of(page.file.src_uri)).parent.joinpath(path).resolve()
    if not (found.is_file() and found.is_relative_to(ROOT)):
        log.warning("%s links to %s, which is no file of the repository", source_of(page.file.src_uri), target)
        return target
    place = place_of(found.relative_to(ROOT).as_posix())
    if files.get_file_from_path(place) is None:
        files.append(File.generated(config, place, abs_src_path=str(found)))
    return os.path.relpath(place, PurePosixPath(page.file.src_uri).parent) + hash_sign + anchor


def source_of(page: str) -> str:
    """The file in the repository that a page comes from."""
    return next((source for source, name in PAGES.items() if name == page), f"docs/{page}")


def place_of(source: str) -> str:
    """Where the site has a file of the repository: as a page, or as a copy."""
    if source in PAGES:
        return PAGES[source]
    return source.removeprefix("docs/") if source.startswith("docs/") else f"files/{source}"
