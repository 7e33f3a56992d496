"""The site of README and docs/: built strictly, nothing in it from elsewhere, and pages as the repository has them."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}
QUIET = os.environ | {"NO_MKDOCS_2_WARNING": "1"}


def build(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", out]
    return subprocess.run(command, cwd=root, env=QUIET, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = build(ROOT, out)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return out


class Loaded(HTMLParser):
    """What a browser fetches for a page without being asked, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.files: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in LOADING and values.get(LOADING[tag]):
            self.files.append(values[LOADING[tag]])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])


def remote(text: str) -> list[str]:
    return [file for file in Loaded(text).files if re.match(r"([a-z]+:)?//", file)]


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert len(pages) > 15
    assert {page.name: found for page, text in pages.items() if (found := remote(text))} == {}
    for sheet in site.rglob("*.css"):
        assert not re.search(r"""(url\(["']?|@import\s+["'])(https?:)?//""", sheet.read_text(encoding="utf-8")), sheet
    assert "gstatic" not in "".join(pages.values()) and "googletagmanager" not in "".join(pages.values())


def test_what_is_loaded_from_elsewhere_is_seen() -> None:
    own = '<script src="a.js"></script><a href="https://x.org">x</a><link href="../b.css"><img src="data:,">'
    assert remote(own) == []
    assert remote('<link href="https://x.org/a.css"><script src="//x.org/b"></script>') == [
        "https://x.org/a.css",
        "//x.org/b",
    ]


def test_every_file_and_link_of_a_page_is_there(site: Path) -> None:
    """What mkdocs does not check: links of the theme, of raw HTML, and to copies of files outside docs/."""
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # its links are those of a server's root
            continue
        loaded = Loaded(page.read_text(encoding="utf-8"))
        for target in (*loaded.files, *loaded.links):
            path = target.partition("#")[0]
            if path and not re.match(r"([a-z]+:|//)", path):
                assert (page.parent / path).exists(), f"{page.name}: {target}"


def test_links_of_the_repository_lead_to_pages(site: Path) -> None:
    first = Loaded((site / "index.html").read_text(encoding="utf-8"))
    assert "clusters.html" in first.links and not [link for link in first.links if link.startswith("docs/")]
    assert "files/bench/results/step-cpu.svg" in Loaded((site / "performance.html").read_text(encoding="utf-8")).files
    picture = (ROOT / "bench/results/step-cpu.svg").read_bytes()
    assert (site / "files/bench/results/step-cpu.svg").read_bytes() == picture
    script = ROOT / "docs/clusters/ecamp-fast.sbatch"
    assert (site / "clusters/ecamp-fast.sbatch").read_bytes() == script.read_bytes()


def test_code_is_shown_as_code(site: Path) -> None:
    """A fence that was not understood would stand in the text, and so would a row of a table."""
    for page in site.rglob("*.html"):
        text = re.sub(r"<(pre|code|script)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert "```" not in text and not re.search(r"<p>\s*[|] ", text) and "<p>- " not in text, page


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / ".ci/site.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lists_and_tables_need_no_blank_line_before_them(hook: ModuleType) -> None:
    text = "one:\n- a\n  b\n- c\n\nt\n| x |\n| - |\n```bash\nx\n- no\n| no\n```\nend"
    spaced = "one:\n\n- a\n  b\n- c\n\nt\n\n| x |\n| - |\n```bash\nx\n- no\n| no\n```\nend"
    assert "\n".join(line for line, _ in hook.spaced(text)) == spaced
    assert [line for line, code in hook.spaced(text) if code] == ["```bash", "x", "- no", "| no", "```"]
    nested = [(line, True) for line in ("````markdown", "a", "- b", "```text", "| c", "```", "- d", "````")]
    assert list(hook.spaced("\n".join(line for line, _ in nested))) == nested


# A fault, and what the build says of it.
PLANTED = {
    ("docs/data.md", "[x](nowhere.md)"): "docs/data.md links to nowhere.md",
    ("docs/data.md", "[x](method.md#nowhere)"): "does not contain an anchor '#nowhere'",
    ("docs/data.md", "[x](../bench/nothing.py)"): "docs/data.md links to ../bench/nothing.py",
    ("docs/data.md", "[x](../bench)"): "docs/data.md links to ../bench,",
    ("README.md", "[x](docs/nowhere.md)"): "README.md links to docs/nowhere.md",
    ("docs/forgotten.md", "# Not in the navigation"): "forgotten.md",
}


def test_what_leads_nowhere_ends_the_build(tmp_path: Path) -> None:
    for name in ("docs", ".ci"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("mkdocs.yml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("kernels", "shards", "bench"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for file, text in PLANTED:
        with (tmp_path / file).open("a", encoding="utf-8") as page:
            page.write(f"\n{text}\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert [message for message in PLANTED.values() if message not in done.stderr] == []
