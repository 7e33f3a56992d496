"""CITATION.cff: the fields that Citation File Format 1.2.0 demands, and that package and README say the same."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import ecamp_fast

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
TITLE = "ECAMP: Entity-centered Context-aware Medical Vision Language Pre-training"

# Of the format's schema, what is used here. Another key is a slip of the pen.
TOP = {"cff-version", "message", "title", "authors", "type", "abstract", "version", "license", "keywords"}
TOP |= {"preferred-citation", "references"}
REFERENCE = {"type", "title", "authors", "journal", "volume", "start", "year", "doi", "identifiers", "license"}
REFERENCE |= {"repository-code", "notes"}


def faults(citation: dict[str, Any]) -> list[str]:
    found = [f"unknown {key}" for key in citation.keys() - TOP]
    found += [f"no {key}" for key in ("cff-version", "message", "title", "authors") if not citation.get(key)]
    found += people("software", citation["authors"])
    for reference in (citation["preferred-citation"], *citation["references"]):
        found += [f"unknown {key}" for key in reference.keys() - REFERENCE]
        found += [f"reference without {key}" for key in ("type", "title", "authors") if not reference.get(key)]
        found += people(reference["title"], reference["authors"])
        if not re.fullmatch(r"10\.\d{4,9}/\S+", reference.get("doi", "10.1000/x")):
            found.append(f"{reference['doi']} is no DOI")
    if not isinstance(citation["version"], str):
        found.append("the version is no string")
    return found


def people(of: str, authors: list[dict[str, str]]) -> list[str]:
    """An author is a person or an entity with a name."""
    return [f"{of}: {one}" for one in authors if set(one) not in ({"name"}, {"family-names", "given-names"})]


def test_the_citation_has_what_the_format_demands() -> None:
    citation = yaml.safe_load(TEXT)
    assert faults(citation) == []
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert not re.search(r"[:\s][&*]\w", TEXT), "anchors are not read by all who read this format"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("message:", "mesage:", "no message"),
        ("family-names: Tao, given-names", "family-name: Tao, given-names", "family-name"),
        ("10.1016/", "doi.org/", "no DOI"),
        ("version: 0.1.0", "version: 0.1", "no string"),
        ("  journal: arXiv", "  jurnal: arXiv", "unknown jurnal"),
    ],
)
def test_a_slip_of_the_pen_is_seen(old: str, new: str, fault: str) -> None:
    assert old in TEXT
    assert any(fault in found for found in faults(yaml.safe_load(TEXT.replace(old, new, 1))))


def test_the_citation_is_of_this_version_and_of_the_paper() -> None:
    citation = yaml.safe_load(TEXT)
    assert citation["version"] == ecamp_fast.__version__
    assert f'license = "{citation["license"]}"' in (ROOT / "pyproject.toml").read_text()
    paper = citation["preferred-citation"]
    assert paper["title"] == TITLE and len(paper["authors"]) == 7 and paper["authors"][0]["family-names"] == "Wang"
    assert {len(reference["authors"]) for reference in citation["references"]} == {7}


def test_bibtex_of_the_readme_is_the_same_paper() -> None:
    found = re.search(r"```bibtex\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    if not found:
        pytest.skip("README has no BibTeX")
    paper = yaml.safe_load(TEXT)["preferred-citation"]
    fields = dict(re.findall(r"(\w+)\s*=\s*\{(.*)\}", found[1]))
    assert fields["title"].replace("{", "").replace("}", "") == paper["title"]
    assert fields["author"].split(" and ") == [
        f"{one['family-names']}, {one['given-names']}" for one in paper["authors"]
    ]
    for key, name in {"journal": "journal", "volume": "volume", "pages": "start", "year": "year", "doi": "doi"}.items():
        assert fields[key] == str(paper[name])
