"""Journey: every code block of README, CONTRIBUTING, docs/ and bench/ runs, on the small things of `fixtures.yaml`.

A line of bash runs as it stands, unless the table says what runs instead of it, or why it is read only; every line is
read: that its command and its options exist. Python runs in one process a page; YAML goes to what reads it.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from journeys.command_lines import faults_of
from journeys.harness import ROOT, Broken, Walk, check, program, tell, with_tiny
from journeys.language_server import served
from journeys.prefab import read_table

SHELL = ("bash", "console", "sh", "shell")
STANDINS = [one for one in sorted(Path(__file__).with_name("standins").iterdir()) if one.name != "rank"]
NEEDS = {"gpu", "slurm", "kubernetes", "network", "hosts", "hours", "container"}
ENTRY = {"instead", "short", "place", "first", "parse", "needs", "code", "says"}
PAGE = {"place", "empty", "lines", "python", "readers", "parse", "quick"}


@dataclass(frozen=True)
class Block:
    """A code block of a page.  number: of its first line   indented: by four spaces, without a fence"""

    page: str
    number: int
    language: str
    text: str
    indented: bool = False

    @property
    def where(self) -> str:
        return f"{self.page}:{self.number}"


def pages() -> list[str]:
    """All pages that a user reads, README first."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found += [*sorted((ROOT / "bench").glob("*.md")), *sorted((ROOT / "shards").glob("*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in (*found, *sorted((ROOT / "kernels").glob("*.md")))]


def blocks_of(page: str) -> list[Block]:
    return list(find_blocks(page, (ROOT / page).read_text(encoding="utf-8")))


def find_blocks(page: str, text: str) -> Iterator[Block]:
    """Fenced blocks, and indented ones that follow an empty line."""
    lines, at = text.splitlines(), 0
    while at < len(lines):
        fence = re.match(r"^( *)(```+|~~~+) *([\w+-]*)", lines[at])
        if fence:
            end = next((n for n in range(at + 1, len(lines)) if lines[n].strip() == fence[2]), len(lines))
            body = [line.removeprefix(fence[1]) for line in lines[at + 1 : end]]
            yield Block(page, at + 2, fence[3], "\n".join(body))
            at = end + 1
        elif lines[at].startswith("    ") and lines[at].strip() and (at == 0 or not lines[at - 1].strip()):
            end = next((n for n in range(at, len(lines)) if not lines[n].startswith("    ")), len(lines))
            yield Block(page, at + 1, "bash", "\n".join(line[4:] for line in lines[at:end]), indented=True)
            at = end
        else:
            at += 1


def inline_commands(text: str) -> list[str]:
    """Command lines that stand in the flow of a page, between backticks."""
    prose = re.sub(r"^( *)(```+).*?^\1\2 *$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [one for one in re.findall(r"`([^`\n]+)`", prose) if one.split()[0] in ("ecamp-fast", "make", "deepspeed")]


def logical_lines(text: str) -> list[str]:
    """Commands of a bash block without their comments, each whole: continued lines and loops in one."""
    found, held = [], ""
    for line in text.splitlines():
        line = line.removeprefix("$ ") if not held else line
        held = f"{held}\n{line}" if held else line
        if held.endswith("\\") or not is_whole(held):
            continue
        if bare := without_comment(held):
            found.append(bare)
        held = ""
    return [*found, *([held] if held else [])]


@cache
def is_whole(text: str) -> bool:
    return not subprocess.run(["bash", "-n", "-c", text], capture_output=True).returncode


def without_comment(line: str) -> str:
    """One space between words, no comment: as a line is named in the table."""
    line = re.sub(r"\\\n\s*", "", line)
    line = re.sub(r"(^|\s)#.*$", "", line, flags=re.MULTILINE)
    return re.sub(r" +", " ", line).strip()


@cache
def table() -> Mapping[str, Any]:
    return read_table()


def entry_of(page: str, line: str) -> Mapping[str, Any]:
    """What the table says of a line: its own entry, that of its page, or nothing."""
    told = table()["pages"].get(page) or {}
    if found := (told.get("lines") or {}).get(line):
        return dict(found)
    return {"parse": told["parse"]} if "parse" in told else {}


def table_faults(found: Mapping[str, Any], blocks: Sequence[Block]) -> list[str]:
    """Entries that no page has, and that say nothing that can be meant."""
    present = {(block.page, line) for block in blocks if block.language in SHELL for line in logical_lines(block.text)}
    wrong = []
    for page, told in found["pages"].items():
        wrong += [f"{page}: {name}?" for name in (told or {}).keys() - PAGE]
        for line, entry in ((told or {}).get("lines") or {}).items():
            if (page, line) not in present:
                wrong.append(f"{page} has no line: {line}")
            wrong += [f"{page}: {line}: {name}?" for name in entry.keys() - ENTRY]
            if entry.get("needs") and not entry.keys() & {"instead", "parse"}:
                wrong.append(f"{page}: {line}: needs {entry['needs']}, and nothing stands in")
            wrong += [f"{page}: {line}: needs {entry['needs']}?"] if entry.get("needs", "gpu") not in NEEDS else []
    return wrong


def read_faults(block: Block) -> list[str]:
    """What of a block cannot be, without running it."""
    try:
        if block.language in SHELL:
            return [f"{block.where}: {fault}" for line in logical_lines(block.text) for fault in line_faults(line)]
        if block.language == "python":
            compile(block.text, block.where, "exec")
        elif block.language in ("yaml", "json"):
            yaml.safe_load(block.text)
        elif block.language not in ("", "text", "mermaid", "dockerfile", "bibtex", "csv", "diff", "markdown"):
            return [f"{block.where}: what is a block of {block.language}?"]
    except (SyntaxError, yaml.YAMLError) as fault:
        return [f"{block.where}: {fault}"]
    return []


def line_faults(line: str) -> list[str]:
    whole = re.sub(r" \[[^\]]*\]", "", line)  # a synopsis's options; they are read by themselves
    if not is_whole(whole):
        return [f"bash does not read: {line}"]
    options = re.findall(r"\[(--[\w-]+)", line)
    return faults_of(whole, options)


def journey(walk: Walk) -> None:
    run_pages(walk, [page for page in pages() if page != "README.md"])


def run_pages(walk: Walk, names: Sequence[str]) -> None:
    """Every block of these pages, each page in a folder of its own."""
    wrong = [fault for page in names for block in blocks_of(page) for fault in read_faults(block)]
    check(not wrong, f"all lines of {len(names)} pages can be read: {wrong[:3]}")
    broken = []
    for page in names:
        if blocks_of(page):
            tell(f"\n--- {page}")
            try:
                run_page(walk, page)
            except Broken as fault:
                tell(f"BROKEN: {fault}")
                broken.append(f"{page}: {str(fault).splitlines()[0]}")
    check(not broken, f"all blocks run: {broken}")


def run_page(walk: Walk, page: str) -> None:
    told = table()["pages"].get(page) or {}
    place = walk.folder / "pages" / re.sub(r"\W", "-", page)
    with walk.at(place, bare=told.get("empty", False)), served() as address:
        for standin in STANDINS:
            walk.tool(standin.name, standin.read_text(encoding="utf-8"))
        walk.env |= {"SLURM_NOTES": str(place / "slurm-notes"), "SLURM_TASKS": str(place / "slurm-tasks")}
        walk.need(*told.get("place", ()))
        python = []
        for block in blocks_of(page):
            if block.language in SHELL:
                for line in logical_lines(block.text):
                    run_line(walk, page, line, address)
            elif block.language == "python":
                python.append(block)
            elif reader := (told.get("readers") or {}).get(first_word(block)):
                readers[reader](block.text, walk.here)
                tell(f"  ok    {block.where}: {reader} reads it")
        if python:
            run_python(walk, python, told.get("python", ""))


def first_word(block: Block) -> str:
    return block.text.split()[0] if block.text.split() else ""


def run_line(walk: Walk, page: str, line: str, address: str) -> None:
    entry = entry_of(page, line)
    if "parse" in entry:
        tell(f"read only: {line}\n  {entry['parse']}")
        return
    short = _listed(entry.get("short")) if walk.short else []
    walk.need(*entry.get("place", ()) if not short else ())
    for command in _listed(entry.get("first")):
        walk.type(filled(command, address))
    instead = short or _listed(entry.get("instead")) or [line]
    if instead != [line]:
        tell(f"for: {line}" + (f"  (needs {entry['needs']})" if "needs" in entry else ""))
    for command in instead:
        walk.type(filled(command, address), code=entry.get("code", 0), says=_listed(entry.get("says")))


def _listed(given: Any) -> list[str]:
    return [] if given is None else [given] if isinstance(given, str) else list(given)


def filled(command: str, address: str) -> str:
    """The substitutions that hold everywhere."""
    for word, text in table()["everywhere"].items():
        command = re.sub(rf"{re.escape(word)}(?![\w-])", lambda _, text=text: text, command)
    return with_tiny(command).replace("LLM", address)


def run_python(walk: Walk, blocks: Sequence[Block], before: str) -> None:
    """All of a page in one process, as in a notebook."""
    parts = [before, *(f"print({block.where!r})\n{block.text}" for block in blocks)]
    (walk.here / "page.py").write_text("\n\n".join(parts), encoding="utf-8")
    done = walk.type("python page.py")
    check(all(block.where in done.out for block in blocks), f"{len(blocks)} blocks of Python ran")


def read_grid(text: str, folder: Path) -> None:
    from ecamp_fast.downstream.tables.grid import read_plan
    from ecamp_fast.downstream.tables.registry import TASKS, named

    file = folder / "GRID-of-the-page.yaml"
    file.write_text(text, encoding="utf-8")
    read_plan(file, named(TASKS))


def read_hostfile(text: str, folder: Path) -> None:
    from deepspeed.launcher.runner import fetch_hostfile

    (folder / "hosts-of-the-page").write_text(text + "\n", encoding="utf-8")
    found = fetch_hostfile(str(folder / "hosts-of-the-page"))
    check(found and all(slots > 0 for slots in found.values()), f"deepspeed reads the hosts: {dict(found)}")


readers = {"grid": read_grid, "hostfile": read_hostfile}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", choices=[[], *pages()], help="default: all but README.md")
    parser.add_argument("--scratch", type=Path)
    chosen = parser.parse_args()

    def some(walk: Walk) -> None:
        run_pages(walk, chosen.pages)

    some.__module__ = __name__
    scratch = ["--scratch", str(chosen.scratch)] if chosen.scratch else []
    return program(some if chosen.pages else journey, scratch)


if __name__ == "__main__":
    sys.exit(main())
