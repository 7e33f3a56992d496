"""Writes docs/faults.md: what is expected of every fault, which tests prove it, and what the soak measured.

``make fault-docs``. All but the numbers of cases and seconds is read from sources; those are kept in counts.json beside
this file, since counting cases means collecting them. ``test_docs.py`` holds both current.
"""

import ast
import contextlib
import datetime
import importlib.util
import json
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).absolute().parent
ROOT = HERE.parents[1]
PAGE, COUNTS, SOAK = ROOT / "docs" / "faults.md", HERE / "counts.json", ROOT / "tests" / "soak" / "results.json"
SECONDS = ROOT / "build" / "faults-seconds"  # that `make faults` took
PRODUCT = ("ecamp_fast", "kernels", "shards", "bench")
KINDS = {
    "D": "Shards",
    "I": "Images and DICOM files",
    "T": "Text",
    "L": "Distillation",
    "C": "Checkpoints, processes, resumed runs",
    "N": "Numbers",
    "E": "Configuration and machine",
    "S": "Attacks",
    "P": "Privacy",
}
FURTHER = "CNESP"  # kinds beside those of data


def catalogue() -> ModuleType:
    """``test_catalogue.py``: ``CATALOGUE`` and ``claims``."""
    spec = importlib.util.spec_from_file_location("fault_catalogue", HERE / "test_catalogue.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expectations(source: str) -> dict[str, str]:
    """{line: the comment above its entry}."""
    found, comment = dict[str, str](), list[str]()
    for text in map(str.strip, source.splitlines()):
        if text.startswith("# "):
            comment.append(text[2:])
            continue
        if comment and (entry := re.match(r'"([A-Z]\d+[a-z]?)": ', text)):
            found[entry[1]] = " ".join(comment)
        comment = []
    return found


# The tests


@dataclass(frozen=True)
class Proof:
    """A test: its file from the root, its name, clauses that it proves by line, and whether it runs on a GPU alone."""

    file: str
    name: str
    clauses: dict[str, list[str]]
    needs_gpu: bool


def proofs(claims: Any) -> list[Proof]:
    """Every test that bears a clause, by file and name.  claims: of ``catalogue``"""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        source = path.read_text(encoding="utf-8")
        if "mark.fault" not in source:
            continue
        by_test: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for clause, tests in claims(source).items():
            line, _, word = clause.partition(".")
            for test in tests:
                by_test[test][line].append(word)
        gpu, file = tests_for_gpu(source), path.relative_to(ROOT).as_posix()
        found += [Proof(file, name, dict(by_test[name]), name in gpu) for name in sorted(by_test)]
    return found


def tests_for_gpu(source: str) -> set[str]:
    """Names of tests marked ``gpu`` as a whole; one of whose cases alone is marked does without."""
    tree = ast.parse(source)
    whole = any("pytest.mark.gpu" in ast.unparse(node) for node in tree.body if _sets_pytestmark(node))
    tests = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    marked = {test.name for test in tests if "pytest.mark.gpu" in map(ast.unparse, test.decorator_list)}
    return {test.name for test in tests} if whole else marked


def _sets_pytestmark(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"


class Collector:
    """Counts the cases of every kind and line, and those that need a GPU."""

    def __init__(self) -> None:
        self.cases, self.gpu = Counter[str](), Counter[str]()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            lines = {clause.partition(".")[0] for mark in item.iter_markers("fault") for clause in mark.args}
            kinds = {line[0] for line in lines}
            for name in {*lines, *kinds, "all", *([FURTHER] if kinds & {*FURTHER} else [])}:
                self.cases[name] += 1
                self.gpu[name] += item.get_closest_marker("gpu") is not None


def collected() -> dict[str, dict[str, int]]:
    """Cases by line, by kind and of all, with --complete; ``gpu``: of them those that need one."""
    counter = Collector()
    options = ["--collect-only", "-qq", "--complete", "-m", "fault", "-p", "no:cacheprovider", str(ROOT / "tests")]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        code = pytest.main(options, plugins=[counter])
    assert code == 0, f"pytest left with {code}"
    return {"cases": dict(sorted(counter.cases.items())), "gpu": dict(sorted((+counter.gpu).items()))}


# The points


@dataclass(frozen=True)
class Point:
    """Where the code calls ``reach``.  facts: that a fault may ask for   word: whether it follows words of its own"""

    name: str
    facts: tuple[str, ...]
    file: str
    word: bool


def points(source: str, file: str) -> Iterator[Point]:
    tree = ast.parse(source)
    plain = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "reach":
            facts = tuple(keyword.arg for keyword in node.keywords if keyword.arg)
            yield Point(ast.literal_eval(node.args[0]), facts, file, id(node) not in plain)


def every_point() -> list[Point]:
    paths = [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))]
    found = [one for path in paths for one in points(path.read_text("utf-8"), path.relative_to(ROOT).as_posix())]
    return sorted(found, key=lambda point: (point.name, point.file))


# The page


HEAD = """# Faults

What this software expects of every fault it knows, and the tests that prove it. Made by `make fault-docs` from
`tests/faults/test_catalogue.py`, the marks of the tests and `tests/soak/results.json`.
"""
SOAKED = """## Soak

`make soak`, which no suite waits for. """
MACHINE = """Of {date}, {device}, {cores} cores, torch {torch}, DeepSpeed {deepspeed}, commit {commit},
seed {seed}, {seconds:.0f} s.

"""
KILLED = """- {kills:,} SIGKILLs of writers of checkpoints, {at_a_point:,} of them at {points} named points,
  {in_background:,} while saving in the background: {corrupt_accepted} corrupt ones accepted, nothing to clean by hand.
"""
ASKED = """- {drills} SIGTERMs in one training of two ranks: {seconds_median} s from the request to the end of all
  ranks in the median, {seconds_worst} s at worst; {steps_lost_worst} steps lost at most, {orphans} processes left;
  {steps_compared} steps are {same} those of an uninterrupted run.
"""
DAMAGED = """- {mutations:,} damages of {kinds} kinds to a shard set: {not_found} were not found by `shard verify`,
  {changed_samples_read} changed samples were delivered by the reader.
"""
POINTS = """## Points

`ECAMP_FAULT=POINT[:KEY=VALUE]...:ACTION` makes something go wrong where the code reaches a point: kills, stops,
signals, hangs, delays, or fails with an errno (`ecamp_fast/fault_points.py`). `write:file=metrics.jsonl:nth=3:ENOSPC`
fails the third write of that file in each process, `fsync:rank=1:from=2:EIO` all syncs of rank 1 but its first, and
`rename` likewise. `rank`, `nth` and `from` fit everywhere; * knows words of its own.

"""


def page(counts: dict[str, Any], soak: dict[str, Any] | None) -> str:
    """The text of docs/faults.md.  counts: of counts.json   soak: the figures of ``make soak``, None without any"""
    module = catalogue()
    told = expectations((HERE / "test_catalogue.py").read_text(encoding="utf-8"))
    lines = {line: [*dict.fromkeys(clauses.split())] for line, clauses in module.CATALOGUE.items()}
    every = proofs(module.claims)
    parts = [HEAD, _numbers(lines, every, counts), soaked(soak)]
    for kind, title in KINDS.items():
        parts.append(f"## {kind}: {title}\n")
        for line in (line for line in lines if line[0] == kind):
            parts.append(_of_line(line, lines[line], told[line], every, counts))
    return "\n".join([*parts, _of_points(every_point())])


def _numbers(lines: dict[str, list[str]], every: list[Proof], counts: dict[str, Any]) -> str:
    rows = ["| | lines | clauses | tests | cases | clauses that need a GPU |", "|---|---:|---:|---:|---:|---:|"]
    named = [(kind, kind, f"{kind}: {title}") for kind, title in KINDS.items()]
    named += [(FURTHER, FURTHER, "C, N, E, S and P together"), ("all", "".join(KINDS), "all")]
    for name, kinds, title in named:
        inside = [line for line in lines if line[0] in kinds]
        clauses = {(line, clause) for line in inside for clause in lines[line]}
        tests = [proof for proof in every if any(line in inside for line in proof.clauses)]
        without = [proof.clauses.items() for proof in tests if not proof.needs_gpu]
        on_cpu = {(line, clause) for items in without for line, words in items for clause in words}
        row = (len(inside), len(clauses), len(tests), counts["cases"].get(name, 0), len(clauses - on_cpu))
        rows.append(f"| {title} | {' | '.join(f'{number:,}' for number in row)} |")
    gpu, cases = counts["gpu"].get("all", 0), counts["cases"].get("all", 0)
    text = f"\nA case is a test with one set of parameters. {gpu} of {cases:,} cases need a GPU."
    if made := counts.get("make_faults"):
        text += f"\n`make faults` took {made['seconds']} s on {made['cores']} cores ({made['date']})."
    return "\n".join([*rows, text, ""])


def soaked(soak: dict[str, Any] | None) -> str:
    """What ``make soak`` found, in words."""
    if soak is None:
        return f"{SOAKED}Not recorded yet.\n"
    text = SOAKED + MACHINE.format(**soak, **soak["machine"])
    if kills := soak.get("kills"):
        text += KILLED.format(**kills)
    if drills := soak.get("drills"):
        same = "the same to the bit as" if drills["same_as_uninterrupted"] else "not"
        text += ASKED.format(**drills, same=same)
    if mutations := soak.get("mutations"):
        text += DAMAGED.format(**mutations)
    return text


def _of_line(line: str, clauses: list[str], told: str, every: list[Proof], counts: dict[str, Any]) -> str:
    by_file: dict[str, list[str]] = defaultdict(list)
    for proof in every:
        if proven := [clause for clause in clauses if clause in proof.clauses.get(line, ())]:
            needs = ", needs a GPU" if proof.needs_gpu else ""
            by_file[proof.file].append(f"`{proof.name}` ({', '.join(proven)}{needs})")
    head = f"### {line}\n\n{told}\n\n{len(clauses)} clauses, {counts['cases'].get(line, 0):,} cases:\n\n"
    return head + "".join(f"- `{file}`: {'; '.join(tests)}\n" for file, tests in by_file.items())


def _of_points(every: list[Point]) -> str:
    rows = ["| point | facts | in |", "|---|---|---|"]
    by_name: dict[str, list[Point]] = defaultdict(list)
    for point in every:
        by_name[point.name].append(point)
    for name, same in by_name.items():
        facts = ", ".join(dict.fromkeys(fact for point in same for fact in point.facts if fact != "rank"))
        files = ", ".join(f"`{file}`" for file in dict.fromkeys(point.file for point in same))
        rows.append(f"| `{name}`{' *' * any(point.word for point in same)} | {facts} | {files} |")
    return POINTS + "\n".join(rows) + "\n"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def main() -> None:
    """With ``--check`` nothing is written, and the exit code is 1 where something is not current."""
    counts = collected()
    made = (read(COUNTS) or {}).get("make_faults")
    check = sys.argv[1:] == ["--check"]
    if SECONDS.exists() and not check:
        day = datetime.date.fromtimestamp(SECONDS.stat().st_mtime).isoformat()
        made = {"seconds": int(SECONDS.read_text()), "cores": os.cpu_count(), "date": day}
    counts |= {"make_faults": made} if made else {}
    texts = {COUNTS: json.dumps(counts, indent=1) + "\n", PAGE: page(counts, read(SOAK))}
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(
            f"{path.relative_to(ROOT)} {'is not current: make fault-docs' if check else 'is written'}", file=sys.stderr
        )
        if not check:
            path.write_text(texts[path], encoding="utf-8")
    sys.exit(check and bool(stale))


if __name__ == "__main__":
    main()
