"""What looks at the faults: the judges of the soak, and the page that tells of them."""

from typing import Any

from mutant import mutants


def _script(path: str) -> Any:
    import importlib.util
    import sys
    from pathlib import Path

    import ecamp_fast

    file = Path(ecamp_fast.__file__).absolute().parents[1] / path
    spec = importlib.util.spec_from_file_location(f"mutated_{file.stem}", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


def verdicts() -> Any:
    """What is said of drills that failed."""
    good = {"lost": 0, "orphans": 0, "exit_codes": [75, 75], "status": "stopped", "locked": False}
    wrong: list[dict[str, Any]] = [{}, {"lost": 1}, {"lost": 2}, {"orphans": 1}, {"exit_codes": [75, 1]}]
    wrong += [{"status": "running"}, {"locked": True}]
    judge = _script("tests/soak/drills.py")
    return [judge.faults(good | one) for one in wrong]


def turns() -> Any:
    """Which points come, and how many."""
    import random

    kills = _script("tests/soak/kills.py")
    given = kills.Turns(["a", "b", "c"], random.Random(1))
    return [given.next() for _ in range(9)], given.met


def told() -> Any:
    """What the page makes of small sources."""
    docs = _script("tests/faults/write_docs.py")
    source = "pytestmark = pytest.mark.gpu\ndef test_a(): ...\n@pytest.mark.gpu\ndef test_b(): ...\n"
    code = 'reach("a", file=1)\nif reach("b") == 1: ...\n'
    comments = '# One\n# two.\n"C1": "a",\n# Lost.\nx = 1\n"C2": "b",'
    return (
        docs.tests_for_gpu(source),
        docs.tests_for_gpu(source[29:]),
        [(one.name, one.facts, one.word) for one in docs.points(code, "x.py")],
        docs.expectations(comments),
    )


MUTANTS = [
    *mutants(
        "tests/soak/drills.py",
        "tests/soak/test_soak.py",
        verdicts,
        {
            "two steps may be lost": ('found["lost"] <= 1', 'found["lost"] <= 2'),
            "a rank may die of the request": ("!= [STOPPED] * RANKS", "== [0] * RANKS"),
            "a lock may be left": ('found["locked"] else []', 'found["locked"] is None else []'),
        },
    ),
    *mutants(
        "tests/soak/kills.py",
        "tests/soak/test_soak.py",
        turns,
        {
            "points are left out": ("self._chance.sample(self._things, len(self._things))", "self._things[:1]"),
        },
    ),
    *mutants(
        "tests/faults/write_docs.py",
        "tests/faults/test_docs.py",
        told,
        {
            "a file for GPUs counts as one for CPUs": (
                "for test in tests} if whole else marked",
                "for test in ()} | marked",
            ),
            "no point follows words of its own": ("file, id(node) not in plain", "file, False"),
            "a comment is lost where it has two lines": ("comment.append(text[2:])", "comment = [text[2:]]"),
        },
    ),
]
