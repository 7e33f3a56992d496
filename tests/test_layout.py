"""The house itself: who may import whom, what a wheel carries, and which names a module may not take."""

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("kernels", "shards", "bench")  # ecamp_fast.kernels and so on, beside ecamp_fast/ in the repository
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]

# Modules that run at step time and compute with torch; all others of shards/ work where there is none.
SHARDS_WITH_TORCH = {"load/capacity.py", "load/captions.py", "load/decode.py", "load/loader.py", "load/resize.py"}
WITHOUT_TORCH = [
    *("cli", "commands.shard", "commands.tokenizer", "config", "keyed_random", "errors", "files", "phantom"),
    *("geometry", "machine", "text.codes", "text.packing.assemble", "text.reading.annotate"),
    *("text.reading.rules", "text.wordpiece", "distill.reports", "distill.runner"),
]


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    command = [program, "--no-logo", "--no-cache", "--config", ROOT / "pyproject.toml"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True)


@pytest.fixture
def checked_tree(tmp_path: Path) -> Path:
    """A copy of the package as the wheel lays it out, the way `make lint` makes it."""
    subprocess.run(["make", "--silent", "checked-tree", f"CHECKED={tmp_path}"], cwd=ROOT, check=True)
    return tmp_path


def test_imports_point_down(checked_tree: Path) -> None:
    verdict = lint_imports(checked_tree)
    assert verdict.returncode == 0, verdict.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("kernels/masked_mse.py", "import ecamp_fast.config", "kernels know nothing"),
        ("shards/load/order.py", "from ecamp_fast.run import rundir", "point down"),
        ("shards/sources/phantom.py", "from ecamp_fast.model import ecamp", "do not know each other"),
        ("ecamp_fast/config/recipe.py", "def f():\n    from ecamp_fast.text import codes", "point down"),
        ("bench/planted.py", "from ecamp_fast import cli", "point down"),
        ("ecamp_fast/planted.py", "", "point down"),  # a room without a floor
        ("shards/format/tokens.py", "from ecamp_fast.shards.load import order", "rooms of shards"),
        ("shards/sources/tar.py", "from ecamp_fast.shards.storage import store", "rooms of shards"),
        ("shards/planted/tokens.py", "", "rooms of shards"),
        ("bench/report/plot.py", "from ecamp_fast.bench.ops import gpu_times", "rooms of bench"),
        ("bench/planted.py", "", "rooms of bench"),
        ("ecamp_fast/text/codes.py", "from ecamp_fast.text.packing import rows", "rooms of text"),
        ("ecamp_fast/text/reading/rules.py", "from ecamp_fast.text.packing import rows", "rooms of text"),
        ("ecamp_fast/text/planted.py", "", "rooms of text"),
        ("shards/load/order.py", "from ecamp_fast.shards.load import batching", "no circles"),
        ("ecamp_fast/model/sequences.py", "from ecamp_fast.model import attention", "no circles"),
    ],
)
def test_a_wrong_import_is_caught(checked_tree: Path, file: str, line: str, contract: str) -> None:
    path = checked_tree / "ecamp_fast" / file.removeprefix("ecamp_fast/")
    if not path.parent.exists():
        path.parent.mkdir()
        (path.parent / "__init__.py").touch()
    with path.open("a") as module:
        module.write(f"\n{line}\n")
    verdict = lint_imports(checked_tree)
    assert verdict.returncode == 1, verdict.stdout
    broken = [row for row in verdict.stdout.splitlines() if " BROKEN" in row]
    assert any(contract in row for row in broken), verdict.stdout


def test_kernels_import_torch_and_triton_and_nothing_else() -> None:
    allowed = sys.stdlib_module_names | {"torch", "triton"}
    for path in sources("kernels"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are absolute"
                names = [str(node.module)]
            for name in names:
                assert name.split(".")[0] in allowed or name.startswith("ecamp_fast.kernels"), f"{path}: {name}"


def test_what_python_calls_in_kernels_is_typed() -> None:
    """The type checker lets untyped functions pass there, for the sake of Triton's."""
    for path in sources("kernels"):
        for node in ast.walk(ast.parse(path.read_text())):
            marks = [ast.unparse(mark) for mark in getattr(node, "decorator_list", [])]
            if isinstance(node, ast.FunctionDef) and not any(mark.startswith("triton.jit") for mark in marks):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                assert node.returns and all(a.annotation for a in given), f"{path}: {node.name}"


def test_one_import_name() -> None:
    """A file imported as ``kernels.x`` and as ``ecamp_fast.kernels.x`` would be two modules."""
    for path in [p for folder in ("ecamp_fast", *FOLDERS, "tests") for p in sources(folder)]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {*FOLDERS, "tests"}, path


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_init_file(folder: str) -> None:
    """An __init__.py here would hide a PyPI package of the same name (transformers imports ``kernels``)."""
    assert sources(folder)
    assert not list((ROOT / folder).rglob("__init__.py"))


@pytest.mark.parametrize("inside", ["link", "text", "nothing", "folder"])
def test_a_folder_is_found_with_and_without_its_link(tmp_path: Path, inside: str) -> None:
    """A wheel has the folder inside, a checkout may have a link for its editor (`make links`), or nothing."""
    package = tmp_path / "ecamp_fast"
    package.mkdir()
    shutil.copy(ROOT / "ecamp_fast" / "__init__.py", package)
    folder = package / "kernels" if inside == "folder" else tmp_path / "kernels"
    folder.mkdir()
    (folder / "planted.py").touch()
    if inside == "link":
        (package / "kernels").symlink_to("../kernels")
    elif inside == "text":
        (package / "kernels").write_text("../kernels")
    program = "import sys, ecamp_fast.kernels.planted as planted; print(planted.__name__, 'kernels' in sys.modules)"
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)})
    assert found.stdout == "ecamp_fast.kernels.planted False\n", found.stderr


def test_no_module_hides_another() -> None:
    """``deepspeed ecamp_fast/train.py`` puts ecamp_fast/ first on the import path of every library in the process."""
    taken = sys.stdlib_module_names | set(packages_distributions()) - {"ecamp_fast"}
    own = {p.stem for p in (ROOT / "ecamp_fast").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert not own & taken


def test_a_test_folder_has_no_init_file() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_shards_are_built_and_read_without_torch() -> None:
    files = {path.relative_to(ROOT / "shards").as_posix() for path in sources("shards")}
    assert files > SHARDS_WITH_TORCH
    names = [f"shards.{file.removesuffix('.py').replace('/', '.')}" for file in sorted(files - SHARDS_WITH_TORCH)]
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module('ecamp_fast.' + name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'ecamp_fast.{name} imports torch')\n"
    )
    verdict = subprocess.run(
        [sys.executable, "-c", program, *WITHOUT_TORCH, *names], cwd=ROOT, capture_output=True, text=True
    )
    assert verdict.returncode == 0, verdict.stderr


def test_the_wheel_lists_every_package() -> None:
    found = {"ecamp_fast"}
    for folder in ("ecamp_fast", *FOLDERS):
        for room in {room for path in sources(folder) for room in path.relative_to(ROOT).parents if room.name}:
            parts = room.parts
            found.add(".".join(parts if folder == "ecamp_fast" else ("ecamp_fast", *parts)))
    assert set(SETUPTOOLS["packages"]) == found


@pytest.mark.slow
def test_a_wheel_puts_one_name_into_site_packages_and_carries_every_file(tmp_path: Path) -> None:
    # bench/results are records of the repository, not part of the program
    clean, left_out = tmp_path / "clean", shutil.ignore_patterns("__pycache__", "*.egg-info", "results")
    for folder in ("ecamp_fast", *FOLDERS):
        shutil.copytree(ROOT / folder, clean / folder, symlinks=True, ignore=left_out)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, clean)
    files = {str(path.relative_to(clean)) for path in clean.glob("*/**/*") if path.is_file()}

    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", tmp_path, clean], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        carried = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in carried} == {"ecamp_fast"}
    assert carried == {name if name.startswith("ecamp_fast/") else f"ecamp_fast/{name}" for name in files}
