"""What must not stand in our sources: ways to run code from data, to lose data silently, or to call home."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(p for d in ("ecamp_fast", "kernels", "shards", "bench", "tests") for p in (ROOT / d).rglob("*.py"))
PRODUCT = [p for p in SOURCES if p.relative_to(ROOT).parts[0] != "tests"]

SAFE_YAML = {"SafeLoader", "CSafeLoader", "_Yaml"}  # tests/config/test_yaml.py holds that _Yaml is a SafeLoader
UNPICKLES = {ROOT / "ecamp_fast/weights/torch_archive.py"}  # it knows a short list of names, calls nothing
CALLS_HOME = {
    *("aiohttp", "ftplib", "http", "httpx", "huggingface_hub", "requests", "smtplib", "urllib3"),
    *("comet_ml", "mlflow", "sentry_sdk", "wandb"),
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


def faults(tree: ast.AST, *, unpickles: bool = False) -> Iterator[str]:
    """Each forbidden thing in a syntax tree, as ``line: what``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found = _of_call(node, unpickles)
        elif isinstance(node, ast.Import):
            found = [f"import {a.name}" for a in node.names if _banned(a.name, unpickles)]
        elif isinstance(node, ast.ImportFrom):
            found = [f"from {node.module} import"] if node.level == 0 and _banned(node.module or "", unpickles) else []
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
        if isinstance(given, ast.Constant) and given.value is value:
            found.append(f"{argument}={value}")
    if name == "torch.load" and not _is_true(keywords.get("weights_only")):
        found.append("torch.load without weights_only=True")
    if name == "yaml.load" and ast.unparse(keywords.get("Loader", ast.Constant(None))).split(".")[-1] not in SAFE_YAML:
        found.append("yaml.load without a safe loader")
    return found


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _banned(module: str, unpickles: bool) -> bool:
    top = module.split(".")[0]
    return top in CALLS_HOME or module == "urllib.request" or (top in PICKLES and not unpickles)


def test_there_are_sources_to_look_at() -> None:
    assert len(PRODUCT) > 50
    assert all(path.is_file() for path in UNPICKLES)


def test_no_source_file_has_any_of_it() -> None:
    found = []
    for path in SOURCES:
        may_pickle = path in UNPICKLES or path not in PRODUCT  # tests write the hostile pickles that must be refused
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [f"{path.relative_to(ROOT)}:{fault}" for fault in faults(tree, unpickles=may_pickle)]
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
        "requests.get(url, verify=False)",
        "import requests",
        "from urllib.request import urlopen",
        "import urllib.request",
        "import wandb",
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
    ],
)
def test_the_gate_lets_pass(source: str) -> None:
    assert not list(faults(ast.parse(source)))
