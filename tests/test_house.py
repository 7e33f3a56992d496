"""The house explains itself: rooms stay small, names are the field's, and every name that is written down exists.

Each rule is a function from sources to offenders, and is tried on a planted offender as well as on the sources.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("ecamp_fast", "kernels", "shards", "bench")
MODULES_IN_A_ROOM = 20
LINES_OF_A_FUNCTION = 60

# Words that stood for what the field has its own names for: gone as names of all that is defined in these places.
FORMER_WORDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("first_slope", "lay_over", "leads", "pull_back", "through"), FOLDERS),
    **dict.fromkeys(("around", "double", "draws", "here", "made", "most", "said", "scaled", "there", "wide"), FOLDERS),
    **dict.fromkeys(("board", "join", "leave", "place", "process"), ("ecamp_fast/run", "ecamp_fast/train.py")),
    **dict.fromkeys(("groups", "lengths", "longest", "offsets", "whole"), ("ecamp_fast/model",)),
    **dict.fromkeys(("case", "health", "survey"), ("ecamp_fast/doctor",)),
    **dict.fromkeys(("ahead", "balance", "begin", "census", "cut", "deal", "hands", "prepare"), ("shards",)),
    **dict.fromkeys(("driver", "present", "refusal", "shown", "survey", "verbatim"), ("shards",)),
    **dict.fromkeys(("figures", "forecast", "project", "projection", "records"), ("bench",)),
}
# These mean nothing else here, so they may not be a part of a name either.
FORMER_PARTS = ("asking", "globe", "guide", "guides", "mend", "rival", "rivals", "slope", "strange", "tent", "tents")
FORMER_PARTS += ("pulse", "traffic")
FORMER_CLASSES = {"Asking", "Board", "Cut", "Figure", "Guide", "Lengths", "Place", "Pulse", "Sums"}

# Where such a word is right, since it means another thing than the one that was renamed.
RIGHT = {
    ("ecamp_fast/__init__.py", "here"): "the folder of this file",
    ("ecamp_fast/report/html.py", "here"): "the folder of this file",
    ("ecamp_fast/model/ecamp.py", "lengths"): "numbers of tokens, as Batch has them",
    ("ecamp_fast/model/groups.py", "groups"): "PyTorch's parameter groups",
    ("ecamp_fast/phantom/bones.py", "slope"): "of a rib",
    ("ecamp_fast/phantom/outline.py", "slope"): "of a curve",
    ("ecamp_fast/phantom/thorax.py", "slope"): "of a curve",
    ("ecamp_fast/run/launch.py", "process"): "the operating system's",
    ("shards/images/dicom.py", "slope"): "DICOM's rescale slope",
}

Definition = tuple[int, str, bool]  # line, name, whether it is a class


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders or FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def parsed(paths: list[Path]) -> dict[str, ast.Module]:
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return parsed(sources())


# Rooms


def crowded(files: list[str]) -> list[str]:
    """Folders that hold too many modules."""
    rooms: dict[str, int] = defaultdict(int)
    for file in files:
        rooms[str(Path(file).parent)] += Path(file).name != "__init__.py"
    return [room for room, modules in rooms.items() if modules > MODULES_IN_A_ROOM]


def test_no_room_is_crowded(trees: dict[str, ast.Module]) -> None:
    assert len(trees) > 200
    assert crowded(list(trees)) == []


def test_a_crowded_room_is_seen() -> None:
    files = [f"shards/load/planted_{number}.py" for number in range(MODULES_IN_A_ROOM)]
    assert crowded([*files, "shards/load/__init__.py"]) == []
    assert crowded([*files, "shards/load/one_more.py"]) == ["shards/load"]


def bare(trees: dict[str, ast.Module]) -> list[str]:
    """Modules that do not say what they are for, and rooms that do not name their modules."""
    found = [file for file, tree in trees.items() if not ast.get_docstring(tree)]
    for file in trees:
        room, name = Path(file).parent, Path(file).stem
        inside = trees.get(str(room / "__init__.py"))
        if str(room) == "ecamp_fast" or name == "__init__":
            continue
        told = inside and ast.get_docstring(inside)
        if told and not re.search(rf"^{name}\b", told, re.MULTILINE):
            found.append(f"{room}/__init__.py does not name {name}")
    return found


def test_every_module_says_what_it_is_for_and_every_room_names_its_modules(trees: dict[str, ast.Module]) -> None:
    assert bare(trees) == []


def test_a_module_that_nobody_explains_is_seen() -> None:
    trees = {"ecamp_fast/room/__init__.py": ast.parse('"""A room.\n\nnamed  does this\n"""')}
    trees |= {f"ecamp_fast/room/{name}.py": ast.parse('"""Does this."""') for name in ("named", "forgotten")}
    trees["kernels/silent.py"] = ast.parse("x = 1")
    assert bare(trees) == ["kernels/silent.py", "ecamp_fast/room/__init__.py does not name forgotten"]


def test_no_function_is_long(trees: dict[str, ast.Module]) -> None:
    assert long_functions(trees) == []


def test_a_long_function_is_seen() -> None:
    lines = "\n".join(f"    x{number} = 0" for number in range(LINES_OF_A_FUNCTION - 1))
    assert long_functions({"a.py": ast.parse(f"def f():\n{lines}")}) == []
    assert long_functions({"a.py": ast.parse(f"def f():\n{lines}\n    last = 0")}) == ["a.py: f has 61 lines"]


def long_functions(trees: dict[str, ast.Module]) -> list[str]:
    found = []
    for file, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                lines = node.end_lineno - node.lineno + 1
                found += [f"{file}: {node.name} has {lines} lines"] if lines > LINES_OF_A_FUNCTION else []
    return found


# Words


def namesakes(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Public classes of one name in several files."""
    files: dict[str, list[str]] = defaultdict(list)
    for file, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files[node.name].append(file)
    return {name: where for name, where in files.items() if len(where) > 1}


def test_no_two_classes_share_a_name(trees: dict[str, ast.Module]) -> None:
    assert namesakes(trees) == {}


def test_namesakes_are_seen() -> None:
    trees = {file: ast.parse("class Text: ...\nclass _Own: ...") for file in ("a.py", "b.py")}
    assert namesakes(trees) == {"Text": ["a.py", "b.py"]}


def definitions(tree: ast.AST) -> Iterator[Definition]:
    """What a module defines: classes, functions, parameters, attributes that are set, variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name, isinstance(node, ast.ClassDef)
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg, False
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id, False
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr, False
        elif isinstance(node, ast.alias) and node.asname:
            yield node.lineno, node.asname, False
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.lineno, node.name, False


def former_words(trees: dict[str, ast.Module]) -> Iterator[tuple[str, int, str, str]]:
    """File, line, name and word of whatever is still named as it was; line 0: a module or a folder."""
    for file, tree in trees.items():
        rooms = [(0, part, False) for part in Path(file).with_suffix("").parts[1:]]
        for line, name, is_class in (*rooms, *definitions(tree)):
            snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).strip("_").lower()
            words = {snake} | {word for word in snake.split("_") if word in FORMER_PARTS}
            for word in sorted(words):
                if _is_former(file, word, name if is_class else ""):
                    yield file, line, name, word


def _is_former(file: str, word: str, of_class: str) -> bool:
    banned = any(file.startswith(folder) for folder in FORMER_WORDS.get(word, ()))
    return banned or word in FORMER_PARTS or of_class in FORMER_CLASSES


def test_former_words_are_gone_but_where_they_are_right(trees: dict[str, ast.Module]) -> None:
    found = list(former_words(trees))
    assert [f"{file}:{line} {name}" for file, line, name, word in found if (file, word) not in RIGHT] == []
    assert RIGHT.keys() - {(file, word) for file, _, _, word in found} == set()


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("kernels/planted.py", "def around(x): ..."),
        ("kernels/planted.py", "def f(guide): ..."),
        ("kernels/planted.py", "class SoftGuide: ..."),
        ("kernels/planted.py", "made = 1"),
        ("kernels/slope.py", ""),
        ("shards/load/planted.py", "self._ahead = 1"),
        ("shards/census/planted.py", ""),
        ("shards/load/planted.py", "class Cut: ..."),
        ("shards/load/planted.py", "import ecamp_fast as present"),
        ("ecamp_fast/model/planted.py", "for longest in x: ..."),
        ("ecamp_fast/model/planted.py", "with f() as (a, offsets): ..."),
        ("ecamp_fast/run/planted.py", "[place for place in x]"),
        ("ecamp_fast/errors.py", "def f(mend: str): ..."),
        ("bench/planted.py", "lambda rivals: 0"),
        ("bench/planted.py", "try: ...\nexcept E as traffic: ..."),
        ("bench/planted.py", "if (forecast := 1): ..."),
    ],
)
def test_a_former_word_is_seen(file: str, source: str) -> None:
    assert [found[0] for found in former_words({file: ast.parse(source)})] == [file]


def test_other_uses_of_the_words_pass() -> None:
    source = "x.double()\n', '.join(x)\nf(guide=1)\nfirst = most_of = 1\nimport ecamp_fast.here\ndef recommend(): ..."
    assert list(former_words({"kernels/planted.py": ast.parse(source)})) == []


# Names that are written down

DOTTED = re.compile(r"\becamp_fast(?:\.[A-Za-z_]\w*)+")
IMPORTED = re.compile(r"\bfrom (ecamp_fast[.\w]*) import (\w+(?:, \w+)*)")
NO_MODULES = {
    *("ecamp_fast.lookup", "ecamp_fast.lookup_backward"),  # operators, as torch spells them
    *("ecamp_fast.bench.no_such_program", "ecamp_fast.x"),  # tests of what is not there
}
FILES = re.compile(r"[\w./-]+\.(?:py|sh|json|yaml|toml|md|css|js|lock)(?:::\w+(?:\.\w+)*)?|[\w./-]+/")


@cache
def module_of(dotted: str) -> Path | None:
    """The file or the folder of a module ``ecamp_fast.x.y``; None: there is none."""
    parts = dotted.split(".")
    folder = ROOT if parts[1:2] and parts[1] in FOLDERS else ROOT / "ecamp_fast"
    path = folder.joinpath(*parts[1:])
    file = path.with_suffix(".py")
    return file if file.is_file() else path if path.is_dir() else None


def defines(path: Path, name: str) -> bool:
    """Whether a module defines ``name``, ``Class.name`` likewise; or imports it."""
    body = _body(path / "__init__.py" if path.is_dir() else path)
    for part in name.split("."):
        node = next((node for node in body if part in _bound(node)), None)
        if node is None:
            return False
        body = getattr(node, "body", [])
    return True


@cache
def _body(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text(encoding="utf-8")).body


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return set().union(*map(_bound, node.body))
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.ImportFrom | ast.Import):
        return {alias.asname or alias.name for alias in node.names}
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}


@cache
def exists(dotted: str) -> bool:
    """Whether ``ecamp_fast.x.y`` is a module, or something in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path = module_of(".".join(parts[:length]))
        if path:
            rest = ".".join(parts[length:])
            return not rest or ((path.is_file() or (path / "__init__.py").is_file()) and defines(path, rest))
    return False


def written_names(text: str) -> list[str]:
    """Dotted names of modules in a text, and what it imports from them, that do not exist."""
    names = set(DOTTED.findall(text)) - NO_MODULES
    names |= {f"{module}.{name}" for module, found in IMPORTED.findall(text) for name in found.split(", ")}
    return sorted(name for name in names if not exists(name))


def strings(tree: ast.AST) -> str:
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return "\n".join(value for value in constants if isinstance(value, str))


def test_every_module_named_in_a_string_exists(trees: dict[str, ast.Module]) -> None:
    # This file and test_layout.py name modules that must not be there.
    tests = [path for path in sources("tests") if path.name not in ("test_house.py", "test_layout.py")]
    texts = {file: strings(tree) for file, tree in (trees | parsed(tests)).items()}
    for path in documents("*.md", "*.sh", "*.toml", "*.yaml", "Makefile"):
        texts[path.relative_to(ROOT).as_posix()] = path.read_text(encoding="utf-8")
    del texts["CHANGELOG.md"]  # says what was called how before
    assert {file: names for file, text in texts.items() if (names := written_names(text))} == {}


def documents(*patterns: str) -> Iterator[Path]:
    for pattern in patterns:
        yield from ROOT.glob(pattern)
        for folder in (*FOLDERS, "docs", "tests"):
            yield from (ROOT / folder).rglob(pattern)


def test_a_module_that_is_not_there_is_seen() -> None:
    assert written_names("python -m ecamp_fast.train, ecamp_fast.errors.EcampError.exit_code, ecamp_fast.kernels") == []
    planted = 'f("ecamp_fast.health.data")\ng("ecamp_fast.errors.Mistake")\nh(f"ecamp_fast.bench.{x}")'
    assert written_names(strings(ast.parse(planted))) == ["ecamp_fast.errors.Mistake", "ecamp_fast.health.data"]
    assert written_names("from ecamp_fast.shards import load, verify; f()") == ["ecamp_fast.shards.verify"]


GUIDES = ["CONTRIBUTING.md", "docs/architecture.md", "kernels/README.md", "shards/README.md", "bench/README.md"]


def missing_files(text: str, folder: Path) -> list[str]:
    """Files and ``file::function`` in backquotes that are neither below the root nor in ``folder`` or its rooms."""
    found = []
    for quoted in re.findall(r"`([^`\n]+)`", text):
        name, _, function = quoted.partition("::")
        if not FILES.fullmatch(quoted) or "NAME" in quoted:  # stands for a name that is still to be chosen
            continue
        places = (ROOT / name, folder / name, *folder.glob(f"*/{name}"), *folder.glob(f"*/*/{name}"))
        path = next((place for place in places if place.exists()), None)
        if path is None or (function and not defines(path, function)):
            found.append(quoted)
    return found


@pytest.mark.parametrize("guide", GUIDES)
def test_every_file_that_a_guide_names_exists(guide: str) -> None:
    path = ROOT / guide
    assert missing_files(path.read_text(encoding="utf-8"), path.parent) == []


def test_a_file_that_is_not_there_is_seen() -> None:
    text = "`README.md`, `masked_mse.py::masked_mse`, `kernels/`, `kernels/NAME.py`, `x.y`, `make lint`, `a / b`"
    assert missing_files(text, ROOT / "kernels") == []
    planted = "`docs/planted.md`, `planted/`, `masked_mse.py::planted`, `ecamp_fast/errors.py::EcampError.planted`"
    assert missing_files(planted, ROOT / "kernels") == planted.replace("`", "").split(", ")


@pytest.mark.parametrize("room", ["kernels", "shards"])
def test_a_readme_names_all_that_is_in_its_room(room: str) -> None:
    text = (ROOT / room / "README.md").read_text(encoding="utf-8")
    for path in sources(room):
        assert f"`{path.name}`" in text and f"`{path.relative_to(ROOT / room).parts[0]}" in text, path


# The tools look everywhere


def lint_errors(tree: Path) -> set[str]:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "json", "--select", "F401", "."]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    return {Path(fault["filename"]).relative_to(tree.resolve()).as_posix() for fault in json.loads(done.stdout)}


def test_a_lint_error_in_any_room_is_seen(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()  # what git passes over, ruff passes over
    for name in (*FOLDERS, "tests", "pyproject.toml", ".gitignore"):
        copy: Callable[..., object] = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    rooms: dict[Path, Path] = {}
    for path in sources(*FOLDERS, "tests"):
        if path.name != "__init__.py":
            rooms.setdefault(path.parent, path.relative_to(ROOT))
    assert len(rooms) > 40 and lint_errors(tmp_path) == set()
    for file in rooms.values():
        with (tmp_path / file).open("a") as module:
            module.write("\nimport colorsys\n")
    assert lint_errors(tmp_path) == {file.as_posix() for file in rooms.values()}
