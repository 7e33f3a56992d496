"""Journey: the notebook's ten cells, one after the other in a fresh process, from shards to features."""

import json
import re
import shlex
import sys
from typing import Any

from journeys.harness import ROOT, Typed, Walk, check, program

NOTEBOOK = ROOT / "docs" / "notebooks" / "first_features.ipynb"
CELLS = 10
# Numbers of the notebook that the suite has no time for
SHORTER = {"--from phantom 320": "--from phantom 60", "--holdout 0.3": "--holdout 0.4", "epochs: 5": "epochs: 1"}
# A cell's last expression is shown as a kernel shows it. Written without exec: the cells are lines of this program.
HEAD = "import matplotlib\n\nmatplotlib.use('Agg')\n"
KINDS = {"code", "markdown", "raw"}


def journey(walk: Walk) -> None:
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    check(not (wrong := notebook_faults(found)), f"it is a notebook: {wrong}")
    walk.here = walk.folder / "notebooks"  # no checkout lies beside a notebook
    walk.here.mkdir()
    (walk.here / "cells.py").write_text(as_program(code_cells(found), SHORTER if walk.short else {}), encoding="utf-8")
    check_cells(walk.type("python cells.py"))
    pictures = sorted(walk.here.glob("figure-*.png"))
    check(len(pictures) == 3 and all(one.stat().st_size > 3000 for one in pictures), "three cells draw something")


def check_cells(typed: Typed) -> None:
    """Every cell ran, and the probe said something."""
    ran = re.findall(r"^# cell (\d+)$", typed.out, re.MULTILINE)
    check(ran == [str(number) for number in range(1, CELLS + 1)], f"{CELLS} cells ran in order: {ran}")
    told = re.search(r"mean AUROC (\d\.\d+) \((\d\.\d+) to (\d\.\d+)\)", typed.out)
    check(told and 0 < float(told[1]) <= 1, f"an AUROC is told: {told and told[0]}")


def code_cells(notebook: dict[str, Any]) -> list[str]:
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def wanted(notebook: dict[str, Any]) -> list[str]:
    """What the cells import from the package itself."""
    text = "\n".join(code_cells(notebook))
    return [name.strip() for found in re.findall(r"from ecamp_fast import (.+)", text) for name in found.split(",")]


def as_program(cells: list[str], changes: dict[str, str]) -> str:
    """One program that says which cell it is in; ``!`` lines are typed, last expressions printed, figures saved."""
    lines = [HEAD]
    for number, cell in enumerate(cells, 1):
        for long, short in changes.items():
            cell = cell.replace(long, short)
        lines += [f"print('# cell {number}', flush=True)", with_shown_end(typed_lines(cell)), save_figures(number)]
    return "import subprocess\n" + "\n".join(lines)


def typed_lines(cell: str) -> str:
    """``!command`` as a kernel has it."""
    found = []
    for line in cell.splitlines():
        command = shlex.split(line[1:]) if line.startswith("!") else []
        found.append(f"_ = subprocess.run({command!r}, check=True)" if command else line)
    return "\n".join(found)


def with_shown_end(cell: str) -> str:
    """The cell, and what it ends with printed where that is an expression and no ``;`` follows."""
    import ast

    body = ast.parse(cell).body
    if not body or not isinstance(body[-1], ast.Expr) or cell.rstrip().endswith(";"):
        return cell
    last = ast.unparse(body[-1])
    before = "\n".join(cell.splitlines()[: body[-1].lineno - 1])
    return f"{before}\nshown = {last}\nif shown is not None:\n    print(shown, flush=True)"


def save_figures(number: int) -> str:
    """What a kernel does with open figures when a cell has ended."""
    return (
        f"if 'plt' in globals() and plt.get_fignums():\n    plt.savefig('figure-{number:02}.png')\n    plt.close('all')"
    )


def notebook_faults(found: dict[str, Any]) -> list[str]:
    """What of nbformat 4.5 does not hold, and what a committed notebook may not have."""
    wrong = [] if (found.get("nbformat"), found.get("nbformat_minor")) == (4, 5) else ["not nbformat 4.5"]
    wrong += [] if found.get("metadata", {}).get("kernelspec", {}).get("name") == "python3" else ["no kernel python3"]
    cells = found.get("cells", [])
    names = [cell.get("id", "") for cell in cells]
    wrong += [
        f"cell id {name!r}"
        for name in sorted(set(names))
        if not re.fullmatch(r"[\w-]{1,64}", name) or names.count(name) > 1
    ]
    for number, cell in enumerate(cells):
        if cell.get("cell_type") not in KINDS or not isinstance(cell.get("metadata"), dict):
            wrong.append(f"cell {number} is of no kind, or has no metadata")
        if not isinstance(cell.get("source"), list) or not all(isinstance(line, str) for line in cell["source"]):
            wrong.append(f"cell {number} has no lines")
        if cell.get("cell_type") == "code" and not {"outputs", "execution_count"} <= cell.keys():
            wrong.append(f"cell {number} lacks outputs or execution_count")
        if cell.get("outputs") or cell.get("execution_count") is not None:
            wrong.append(f"cell {number} has been run: clear its outputs")
    count = sum(cell.get("cell_type") == "code" for cell in cells)
    wrong += [] if count == CELLS else [f"{count} cells of code, not {CELLS}"]
    return wrong + [f"a path: {one}" for one in re.findall(r"/(?:home|tmp|root|work|Users)/\S*", json.dumps(found))]


def main() -> int:
    return program(journey)


if __name__ == "__main__":
    sys.exit(main())
