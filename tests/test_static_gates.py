"""What must not stand in our sources, nor in what is packaged or made of them: ways to run code from data, to lose data
silently, or to call home."""

import ast
import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ecamp_fast.config import dump_recipe, load_recipe, parse_yaml
from ecamp_fast.report.html import write_report
from ecamp_fast.run.rundir import RunDir

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("ecamp_fast", "kernels", "shards", "bench", "tests", ".ci")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PRODUCT = [p for p in SOURCES if p.relative_to(ROOT).parts[0] != "tests"]

SAFE_YAML = {"SafeLoader", "CSafeLoader", "_Yaml"}  # tests/config/test_yaml.py holds that _Yaml is a SafeLoader
UNPICKLES = {ROOT / "ecamp_fast/weights/torch_archive.py"}  # it knows a short list of names, calls nothing
CONNECTS = {ROOT / "ecamp_fast/distill/endpoint.py"}  # to addresses that it has judged, by aiohttp alone
TRACKS = {ROOT / "ecamp_fast/run/tracking/libraries.py"}  # for --track; in a process beside the run, never in one
TRACKERS = {"trackio", "wandb"}
CALLS_HOME = {
    *("aiohttp", "ftplib", "http", "httpx", "huggingface_hub", "requests", "smtplib", "urllib3"),
    *("comet_ml", "mlflow", "sentry_sdk", *TRACKERS),
}
PICKLES = {"cloudpickle", "dill", "joblib", "pickle"}

FORBIDDEN_ARGUMENTS = {
    "weights_only": False,  # torch.load that unpickles
    "allow_pickle": True,
    "shell": True,
    "trust_remote_code": True,
    "verify": False,  # TLS
    "pretrained": True,  # timm and torchvision download
}
FORBIDDEN_CALLS = {
    *("eval", "exec", "os.system", "os.popen", "marshal.loads", "shelve.open", "torch.hub.load"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all"),
    *("urllib.request.urlopen", "urllib.request.urlretrieve"),
    *(f"{library}.{load}" for library in PICKLES for load in ("load", "loads")),
}
FORBIDDEN_METHODS = {"extractall"}
FORBIDDEN_SETTINGS = {"LOAD_TRUNCATED_IMAGES", "MAX_IMAGE_PIXELS"}  # damaged and giant pictures must be refused


def faults(tree: ast.AST, *, unpickles: bool = False, connects: bool = False, tracks: bool = False) -> Iterator[str]:
    """Each forbidden thing in a syntax tree, as ``line: what``.

    unpickles: may import what unpickles   connects: may import aiohttp   tracks: may import trackers
    """
    allowed = ({"aiohttp"} if connects else set()) | (TRACKERS if tracks else set())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found = _of_call(node, unpickles)
        elif isinstance(node, ast.Import):
            found = [f"import {a.name}" for a in node.names if _banned(a.name, unpickles, allowed)]
        elif isinstance(node, ast.ImportFrom):
            banned = node.level == 0 and _banned(node.module or "", unpickles, allowed)
            found = [f"from {node.module} import"] if banned else []
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr in FORBIDDEN_SETTINGS:
            found = [f"{node.attr} ="]
        else:
            continue
        yield from (f"{node.lineno}: {what}" for what in found)


def _of_call(node: ast.Call, unpickles: bool) -> list[str]:
    name = ast.unparse(node.func)
    if unpickles and name.split(".")[0] in PICKLES:
        return []
    keywords = {k.arg: k.value for k in node.keywords if k.arg}
    found = [name] if name in FORBIDDEN_CALLS or name.rsplit(".", 1)[-1] in FORBIDDEN_METHODS else []
    for argument, value in FORBIDDEN_ARGUMENTS.items():
        given = keywords.get(argument)
        if isinstance(given, ast.Constant) and given.value is value and not _is_local(argument, node):
            found.append(f"{argument}={value}")
    if name == "torch.load" and not _is_true(keywords.get("weights_only")):
        found.append("torch.load without weights_only=True")
    if name == "yaml.load" and ast.unparse(keywords.get("Loader", ast.Constant(None))).split(".")[-1] not in SAFE_YAML:
        found.append("yaml.load without a safe loader")
    return found


def _is_local(argument: str, node: ast.Call) -> bool:
    """Whether timm is given a folder of this machine."""
    first = ast.unparse(node.args[0]) if node.args else ""
    return argument == "pretrained" and first.lstrip("f").startswith(("'local-dir:", '"local-dir:'))


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _banned(module: str, unpickles: bool, allowed: set[str]) -> bool:
    top = module.split(".")[0]
    if top in allowed:
        return False
    return top in CALLS_HOME or module == "urllib.request" or (top in PICKLES and not unpickles)


def test_there_are_sources_to_look_at() -> None:
    assert len(PRODUCT) > 50
    assert all(path.is_file() for path in UNPICKLES | CONNECTS | TRACKS)


def test_one_file_may_connect_and_by_one_library() -> None:
    assert not list(faults(ast.parse("import aiohttp"), connects=True))
    for source in ("import requests", "import http.client", "import pickle", "import urllib.request"):
        assert list(faults(ast.parse(source), connects=True))


def test_one_file_may_import_trackers_and_nothing_else_that_connects() -> None:
    assert not list(faults(ast.parse("import wandb, trackio"), tracks=True))
    for source in ("import aiohttp", "import mlflow", "from requests import get", "import pickle", "wandb = eval('1')"):
        assert list(faults(ast.parse(source), tracks=True))
    (file,) = TRACKS  # in functions: importing the file is no use of them
    assert not [
        node
        for node in ast.parse(file.read_text()).body
        if set(re.findall("trackio|wandb", ast.unparse(node))) & TRACKERS
        and isinstance(node, ast.Import | ast.ImportFrom)
    ]


def test_no_source_file_has_any_of_it() -> None:
    found = []
    for path in SOURCES:
        may_pickle = path in UNPICKLES or path not in PRODUCT  # tests write the hostile pickles that must be refused
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [
            f"{path.relative_to(ROOT)}:{fault}"
            for fault in faults(tree, unpickles=may_pickle, connects=path in CONNECTS, tracks=path in TRACKS)
        ]
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, weights_only=False)",
        "torch.load(path)",
        "import pickle",
        "from pickle import loads",
        "pickle.load(file)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.FullLoader)",
        "yaml.load(text, yaml.Loader)",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "exec(text)",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "archive.extractall(folder)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "timm.create_model(name, pretrained=True)",
        "timm.create_model(f'hf-hub:local-dir:{name}', pretrained=True)",
        "requests.get(url, verify=False)",
        "import requests",
        "import aiohttp",
        "from aiohttp.abc import AbstractResolver",
        "from urllib.request import urlopen",
        "import urllib.request",
        "import wandb",
        "from trackio import log",
        "from huggingface_hub import hf_hub_download",
        "ImageFile.LOAD_TRUNCATED_IMAGES = True",
        "Image.MAX_IMAGE_PIXELS = None",
    ],
)
def test_the_gate_sees(source: str) -> None:
    assert list(faults(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path, weights_only=True)",
        "model.eval()",
        "np.load(path)",
        "np.load(path, allow_pickle=False)",
        "yaml.load(text, Loader=_Yaml)",
        "yaml.safe_load(text)",
        "re.compile(text)",
        "subprocess.run([program], check=True)",
        "limit = Image.MAX_IMAGE_PIXELS",
        "import urllib.parse",
        "timm.create_model(f'local-dir:{folder}', pretrained=True)",
    ],
)
def test_the_gate_lets_pass(source: str) -> None:
    assert not list(faults(ast.parse(source)))


# Files that are no Python: packaged, or run by people and machines

SHELL = [ROOT / "Makefile", ROOT / ".ci" / "run", *sorted((ROOT / "bench").glob("*.sh"))]
TEXTS = sorted(
    path
    for folder in (*FOLDERS, "docs")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".sh", ".md", ".yaml", ".json", ".css", ".js", ".tsv"} and "__pycache__" not in path.parts
) + [ROOT / name for name in ("Makefile", "pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".ci/run")]
FORBIDDEN_TEXT = {
    "shell": {
        r"(?<![\w-])eval\b": "eval",
        r"\b(?:curl|wget)\b[^\n;&]*\|\s*(?:sudo\s+)?(?:ba|z|da)?sh\b": "a download that is run",
        r"\bbase64\b[^\n]*\|\s*(?:ba)?sh\b": "a hidden program",
        r"--trusted-host|--no-check-certificate|--insecure\b|\bcurl\b[^\n]*\s-k\b": "no TLS",
        r"\bsudo\b": "sudo",
        r"\bchmod\s+(?:-R\s+)?(?:0?777|a\+w|o\+w)": "a file that all may write",
        r"--(?:extra-)?index-url\s+http:": "an index without TLS",
    },
    "css": {r"@import": "@import", r"url\(\s*['\"]?(?!data:)": "a url", r"expression\(|behavior:": "a program"},
    "js": {
        r"\beval\b|\bFunction\s*\(|set(?:Timeout|Interval)\s*\(\s*['\"`]": "eval",
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write": "text as markup",
        r"\bfetch\b|XMLHttpRequest|WebSocket|EventSource|sendBeacon|\bimport\b|\.src\s*=|\.href\s*=": "a way out",
        r"localStorage|sessionStorage|indexedDB|document\.cookie": "a memory",
        r"https?:": "an address",
    },
    "every": {
        "[\u202a-\u202e\u2066-\u2069\u200b-\u200f\u2028\u2029\ufeff]": "an invisible character",
        "[\x00-\x08\x0b-\x1f\x7f-\x9f]": "a control character",
        r"drive\.google\.com/\w": "data of others that nobody may hand on",
        r"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY|hf_[A-Za-z]{30,}|ghp_\w{30,}": "a secret",
    },
}
EXECUTES = {".pkl", ".pickle", ".pt", ".pth", ".npy", ".npz", ".so", ".whl", ".exe", ".dll", ".pyc", ".joblib"}


def text_faults(text: str, kind: str) -> list[str]:
    """Each forbidden thing in a file of a kind, as ``line: what``."""
    rules = FORBIDDEN_TEXT[kind]
    return [
        f"{text.count(chr(10), 0, found.start()) + 1}: {what}"
        for pattern, what in rules.items()
        for found in re.finditer(pattern, text)
    ]


def unpinned(text: str) -> list[str]:
    """Commands of pip that install without hashes, and not from this disk alone either."""
    joined = text.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if re.search(r"\bpip\b[^#]*\binstall\b", line) and "echo" not in line]
    return [line.strip() for line in lines if "--require-hashes" not in line and "--no-index" not in line]


def test_no_text_file_hides_anything() -> None:
    assert len(TEXTS) > 400
    found = {path: text_faults(path.read_text(encoding="utf-8"), "every") for path in TEXTS}
    assert {str(path): faults for path, faults in found.items() if faults} == {}


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_runs_nothing_that_it_fetched(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text_faults(text, "shell") == [] and unpinned(text) == []
    assert re.search(r"^(?:set|\.SHELLFLAGS :=) -e?uo? ?pipefail", text, re.MULTILINE)


def test_style_and_script_of_the_report_load_nothing() -> None:
    for kind in ("css", "js"):
        (path,) = (ROOT / "ecamp_fast").rglob(f"*.{kind}")
        assert text_faults(path.read_text(encoding="utf-8"), kind) == []


def refused(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def test_packaged_tables_and_recipes_hold_plain_values() -> None:
    tables = [path for folder in FOLDERS[:4] for path in (ROOT / folder).rglob("*.json")]
    recipes = sorted((ROOT / "ecamp_fast" / "recipes").glob("*.yaml"))
    assert len(tables) > 4 and len(recipes) > 5
    for path in tables:
        json.loads(path.read_text(encoding="utf-8"), parse_constant=refused)
    for path in recipes:
        text = path.read_text(encoding="utf-8")
        assert parse_yaml(text, str(path)) and not re.search(r"(?<!\S)(?:!\S|&\w|\*\w)", re.sub("#.*", "", text))


def test_no_file_of_the_repository_can_be_run_by_loading_it() -> None:
    found = [path for folder in (*FOLDERS, "docs") for path in (ROOT / folder).rglob("*") if path.suffix in EXECUTES]
    assert [path for path in found if "__pycache__" not in path.parts] == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(("shell", text) for text in ('eval "$x"', "curl -s https://a/b | sh", "wget -qO- a | sudo bash")),
        *(("shell", text) for text in ("echo aGk= | base64 -d | sh", "curl -k https://a", "sudo make", "chmod 777 x")),
        *(("shell", text) for text in ("pip install --trusted-host a b", "pip install --index-url http://a b")),
        *(("css", text) for text in ("@import 'a.css';", "a { background: url(https://a/b) }", "a { b: url('//c') }")),
        *(("js", text) for text in ("eval(x)", "new Function('x')", "a.innerHTML = b", "fetch('/x')", "img.src = x")),
        *(
            ("js", text)
            for text in ("new WebSocket(x)", "setTimeout('x')", "import('x')", "localStorage.x", "'http://a'")
        ),
        *(
            ("every", text)
            for text in ("a\u202eb", "a\u200bb", "\x1b[2J", "https://drive.google" + ".com/file", "AKIA" + "A" * 16)
        ),
    ],
)
def test_the_gate_sees_it_in_other_files(kind: str, text: str) -> None:
    assert text_faults(text, kind)


def test_an_installation_without_hashes_is_seen() -> None:
    assert unpinned("python -m pip install -q x\n") and unpinned("pip install \\\n  x")
    assert not unpinned("pip install --require-hashes -r x\npip install --no-index x\necho pip install x")


# Generated: the report of a run


class Page(HTMLParser):
    """Tags of a page, and whatever in it could load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.faults: list[str] = []
        self.scripts: list[str] = []
        self.policy = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._inside = tag
        given = dict(attrs)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(given["content"])
        for name, value in attrs:
            leads = name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href")
            if name.startswith("on") or (leads and not str(value).startswith(("data:image/", "#"))):
                self.faults.append(f"<{tag} {name}={value}>")

    def handle_data(self, data: str) -> None:
        if self._inside == "script" and data.strip():
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


HARMLESS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "footer", "script", "h1", "h2", "p", "div"),
    *("span", "b", "i", "table", "tr", "th", "td", "details", "summary", "pre", "svg", "path", "text", "g", "line"),
    *("circle", "rect", "polyline", "figure", "figcaption", "img", "mark", "ul", "li", "br", "code", "small", "tspan"),
}


def test_the_report_of_a_run_loads_nothing_and_runs_what_is_ours(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "<img src=x onerror=y>")
    run.create()
    (run.path / "recipe.yaml").write_text(
        dump_recipe(load_recipe("demo")).replace("name: demo", 'name: "<script>x</script>"')
    )
    hostile = "</td></script><script src=https://a/b onload=c>x</script>"
    run.set_state(status="failed", fault=hostile, step=1, total_steps=2, device=hostile, versions={hostile: hostile})
    for step in (1, 2):
        losses = {"loss": 1.0, "mim": 0.5, "sr": 0.2, "mlm": 0.3, "lr": 1e-4, "images_per_second": 3.0, "time": 1e9}
        run.metric({"step": step, "epoch": 0.5, "samples": 8, **losses})
        run.metric({"split": "val", "step": step, "samples": 8, **losses})
    run.event(hostile, reason=hostile)
    page = Page()
    page.feed(write_report(run.path).read_text(encoding="utf-8"))
    assert page.faults == [] and page.tags <= HARMLESS and "svg" in page.tags
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert page.policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


@pytest.mark.parametrize("text", ["<img src=https://a/b>", "<p onclick=x>", "<a href=javascript:x>", "<object data=x>"])
def test_what_a_page_would_load_or_run_is_seen(text: str) -> None:
    page = Page()
    page.feed(text)
    assert page.faults
