"""docs/faults.md tells what catalogue, tests, code and soak say, and nothing that they do not."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("write_docs.py")


@pytest.fixture(scope="module")
def docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fault_docs", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["fault_docs"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(docs: ModuleType) -> str:
    return docs.page(docs.read(docs.COUNTS), docs.read(docs.SOAK))


@pytest.fixture(scope="module")
def proofs(docs: ModuleType) -> list[Any]:
    return docs.proofs(docs.catalogue().claims)


def test_the_page_is_current(docs: ModuleType, page: str) -> None:
    assert docs.PAGE.read_text(encoding="utf-8") == page, "make fault-docs"


@pytest.mark.slow
@pytest.mark.complete
def test_the_numbers_of_cases_are_current() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout


def test_every_line_every_clause_and_every_proof_is_told(docs: ModuleType, page: str, proofs: list[Any]) -> None:
    catalogue = docs.catalogue()
    assert docs.expectations((SCRIPT.parent / "test_catalogue.py").read_text()).keys() == catalogue.CATALOGUE.keys()
    for line, clauses in catalogue.CATALOGUE.items():
        told = page.split(f"\n### {line}\n")[1].split("\n### ")[0]
        assert all(clause in told for clause in clauses.split()), line
    assert all(f"`{proof.name}`" in page for proof in proofs)


def test_most_further_faults_need_no_gpu(docs: ModuleType, proofs: list[Any]) -> None:
    further = {clause for clause in docs.catalogue().CLAUSES if clause[0] in docs.FURTHER}
    proven = [proof.clauses for proof in proofs if not proof.needs_gpu]
    on_cpu = {f"{line}.{word}" for clauses in proven for line, words in clauses.items() for word in words}
    assert len(further) >= 100 and len(further & on_cpu) >= 0.95 * len(further)


def test_a_comment_belongs_to_the_entry_below_it(docs: ModuleType) -> None:
    source = '# One\n    # thing.\n    "C5b": (\n "a"\n),\n # Lost.\n x = 1\n "N1": "b",\n # Two.\n "N2": "c",'
    assert docs.expectations(source) == {"C5b": "One thing.", "N2": "Two."}


def test_a_test_for_a_gpu_is_seen(docs: ModuleType) -> None:
    whole = "@pytest.mark.gpu\ndef test_a(): ...\ndef test_b(): ...\n"
    case = '@pytest.mark.parametrize("d", [pytest.param(1, marks=pytest.mark.gpu)])\ndef test_c(d): ...\n'
    assert docs.tests_for_gpu(whole + case) == {"test_a"}
    assert docs.tests_for_gpu(f"pytestmark = pytest.mark.gpu\n{whole}") == {"test_a", "test_b"}


def test_points_are_found_in_the_code(docs: ModuleType, page: str) -> None:
    source = 'def f():\n    reach("a.b", file=1, rank=2)\n    if reach("c") == 1:\n        other("d")'
    assert [(one.name, one.facts, one.word) for one in docs.points(source, "x.py")] == [
        ("a.b", ("file", "rank"), False),
        ("c", (), True),
    ]
    assert {"write", "fsync", "rename", "phase", "rate"} <= {one.name for one in docs.every_point()}
    assert all(f"| `{one.name}`" in page for one in docs.every_point())


def test_what_the_soak_found_is_told(docs: ModuleType) -> None:
    kills = {"kills": 3000, "at_a_point": 1200, "points": 22, "in_background": 1500, "corrupt_accepted": 0}
    drills: dict[str, Any] = {"drills": 50, "seconds_median": 2.1, "seconds_worst": 3.5, "steps_lost_worst": 1}
    drills |= {"orphans": 0, "steps_compared": 256, "same_as_uninterrupted": True}
    machine = {"device": "X", "cores": 2, "torch": "2", "deepspeed": "0", "commit": "abc"}
    soak = {"date": "2026-01-01", "seed": 4, "seconds": 900.0, "machine": machine}
    told = docs.soaked(soak | {"kills": kills, "drills": drills})
    assert "3,000 SIGKILLs" in told and "50 SIGTERMs" in told and "2.1 s from" in told and "to the bit" in told
    mutations = {"mutations": 100000, "kinds": 34, "not_found": 0, "changed_samples_read": 0}
    assert "100,000 damages of 34 kinds" in docs.soaked(soak | {"mutations": mutations})
    assert "SIGKILLs" not in docs.soaked(soak) and "Not recorded" in docs.soaked(None)
