"""Wheels for a machine without network: the lock's versions, complete or absent, and pieces that join to the same.

No network here: PYTHON is a stand-in whose pip copies wheels out of the folder index.
"""

import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
PART1 = [
    *("annotated-types", "braceexpand", "deepspeed", "hjson", "pydantic", "pydantic-core", "typing-extensions"),
    *("typing-inspection", "webdataset", "zlib-ng"),
]
PART2 = [
    *("astunparse", "gast", "libcst", "makefun", "nvidia-dali-cuda130", "nvidia-libnvcomp-cu13"),
    *("nvidia-nvimgcodec-cu13", "nvidia-nvjpeg", "nvidia-nvjpeg2k-cu13", "nvidia-nvtiff-cu13", "nvtx", "optree"),
    *("six", "wheel"),
]

# Notes each call. The package that FAILS names leaves half a wheel, as a download that breaks off may; the one that
# KILLS names takes the script with it.
PIP = """
import os, pathlib, re, shutil, signal, sys

arguments = sys.argv[1:]
if arguments[:2] != ["-m", "pip"]:
    os.execv(sys.executable, [sys.executable, *arguments])


def value(*options):
    return next((arguments[arguments.index(o) + 1] for o in options if o in arguments), None)


here = pathlib.Path(__file__).parent
folder = pathlib.Path(value("--dest", "--wheel-dir", "--target"))
folder.mkdir(parents=True, exist_ok=True)
required = pathlib.Path(value("-r")).read_text() if value("-r") else ""
with (here / "calls").open("a") as calls:
    print(*arguments[2:], os.environ.get("DS_BUILD_OPS"), required.split(" ")[0], file=calls)
for path in (a for a in arguments if a.endswith(".whl")):
    shutil.copy(path, folder)
if "install" not in arguments:
    name, version = re.match("([^=]+)==([^ \\\\n]+)", required).groups()
    found = [*(here / "index").glob(f"{name.replace('-', '_')}-{version}-*")]
    if not found:
        sys.exit(f"ERROR: No matching distribution found for {name}=={version}")
    whole, bad = found[0].read_bytes(), name in (os.environ.get("FAILS"), os.environ.get("KILLS"))
    (folder / found[0].name).write_bytes(whole[: len(whole) // 2] if bad else whole)
    if name == os.environ.get("KILLS"):
        os.kill(os.getppid(), signal.SIGKILL)
    sys.exit("ERROR: connection reset" if bad else 0)
"""


def publish(repo: Path, name: str, version: str, size: int = 2000, requires: tuple[str, ...] = ()) -> None:
    """A wheel of ``name`` into the index, and its lines into the lock in place of those that are there."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = repo / "index" / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {need}" for need in requires)]
        wheel.writestr(f"{stem}.dist-info/METADATA", "\n".join(lines) + "\n")
        wheel.writestr("content", random.Random(stem).randbytes(size))
    lock = repo / "requirements.lock"
    others = re.sub(rf"(?m)^{name}==.*\n(    --hash.*\n)*", "", lock.read_text())
    source = name == "deepspeed"  # which the lock has the hash of; its wheel is built
    digest = hashlib.sha256(b"" if source else path.read_bytes()).hexdigest()
    lock.write_text(f"{others}{name}=={version} \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{digest}\n")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """The script in a repository of its own, with a lock and an index that has all of it."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "index").mkdir()
    shutil.copy(ROOT / "bench" / "gpu_wheels.sh", tmp_path / "bench")
    (tmp_path / "python").write_text(f"#!{sys.executable} -IS\n{PIP}")
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "requirements.lock").write_text("# made by hand\n")
    for number, name in enumerate(["setuptools", "pydantic-settings", *PART1, *PART2]):
        publish(tmp_path, name, f"1.{number}")
    return tmp_path


def gather(repo: Path, part: int, **environment: str) -> subprocess.CompletedProcess[str]:
    (repo / "calls").write_text("")
    command = ["bash", "bench/gpu_wheels.sh", "--part", str(part), "--out", "wheels"]
    settings = {**os.environ, "PYTHON": str(repo / "python"), **environment}
    return subprocess.run(command, cwd=repo, env=settings, capture_output=True, text=True)


def calls(repo: Path, verb: str = "") -> list[str]:
    return [line for line in (repo / "calls").read_text().splitlines() if verb in line.split()]


def fetched(repo: Path) -> list[str]:
    """What pip was asked for, wheels built from source too, tools of the build not."""
    return [line.split()[-1] for line in calls(repo, "download") + calls(repo, "wheel")]


def wheels(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.whl")}


def complete(folder: Path) -> bool:
    return (folder / "SHA256SUMS").exists()


def versions(folder: Path) -> set[str]:
    return {"==".join(name.split("-")[:2]).replace("_", "-") for name in wheels(folder)}


def locked(lock: Path, names: list[str]) -> set[str]:
    return {line.split()[0] for line in lock.read_text().splitlines() if line.split("==")[0] in names}


@pytest.mark.parametrize(("part", "names", "folder"), [(1, PART1, "part1"), (2, PART2, "wheels2")])
def test_versions_and_hashes_are_the_locks(repo: Path, part: int, names: list[str], folder: str) -> None:
    shutil.copy(ROOT / "requirements.lock", repo)
    released = locked(repo / "requirements.lock", names)
    assert len(released) == len(names)
    for requirement in released:
        name, version = requirement.split("==")
        text = (repo / "requirements.lock").read_text()
        publish(repo, name, version)
        (repo / "requirements.lock").write_text(text)
    ran = gather(repo, part)
    assert ran.returncode == 0, ran.stderr
    assert versions(repo / "wheels" / folder) == released
    for line in calls(repo, "download"):
        ours = line.split()[-1] in released
        assert ("--require-hashes" in line) == (ours or "xformers" in line), line
        for option in ("--no-deps", "--only-binary=:all:", "--abi cp312", "--platform manylinux_2_28_x86_64"):
            assert option in line
    assert [("--require-hashes" in line, " 0 " in line) for line in calls(repo, "wheel")] == [(True, True)] * (
        part == 1
    )


def test_another_version_in_the_lock_takes_the_place_of_the_first(repo: Path) -> None:
    gather(repo, 1)
    publish(repo, "pydantic", "7.0")
    assert gather(repo, 1, FAILS="pydantic").returncode != 0 and not complete(repo / "wheels/part1")
    assert gather(repo, 1).returncode == 0
    assert versions(repo / "wheels/part1") == locked(repo / "requirements.lock", PART1)
    assert {"pydantic==7.0"} == set(fetched(repo)) - set(locked(repo / "requirements.lock", ["deepspeed"]))


def test_a_package_that_the_lock_lacks_is_named(repo: Path) -> None:
    lock = repo / "requirements.lock"
    lock.write_text(lock.read_text().replace("\nhjson==", "\nhjson-other=="))
    ran = gather(repo, 1)
    assert ran.returncode != 0 and "requirements.lock has no hjson" in ran.stderr


def test_a_bundle_over_the_limit_is_refused_by_name(repo: Path) -> None:
    publish(repo, "zlib-ng", "2.0", size=1_100_000)
    ran = gather(repo, 1, WHEELS_MB="1")
    assert ran.returncode != 0 and not complete(repo / "wheels/part1")
    assert "part1 is over the 1 MB" in ran.stderr and "The largest: zlib_ng-2.0-" in ran.stderr
    assert gather(repo, 1, WHEELS_MB="2").returncode == 0 and complete(repo / "wheels/part1")
    assert gather(repo, 1, WHEELS_MB="1").returncode != 0, "complete, but still too large"
    assert "PIECE_MB=60 is over the 59 MB" in gather(repo, 2, WHEELS_MB="59").stderr


@pytest.mark.parametrize("package", ["zlib-ng", "deepspeed"])
def test_a_download_that_fails_is_named_and_leaves_nothing(repo: Path, package: str) -> None:
    ran = gather(repo, 1, FAILS=package)
    (requirement,) = locked(repo / "requirements.lock", [package])
    assert ran.returncode != 0 and f"no {requirement}:" in ran.stderr and "connection reset" in ran.stderr
    assert "run this again" in ran.stderr
    assert not complete(repo / "wheels/part1") and requirement not in versions(repo / "wheels/part1")
    assert not list((repo / "wheels").glob(".fetching*"))


def test_a_killed_run_goes_on_from_the_last_whole_wheel(repo: Path) -> None:
    assert gather(repo, 2, KILLS="optree").returncode == -9
    came = set(versions(repo / "wheels/wheels2"))
    (broken,) = locked(repo / "requirements.lock", ["optree"])
    assert came and broken not in came and not (repo / "wheels/part2").exists()
    assert gather(repo, 2).returncode == 0 and complete(repo / "wheels/part2")
    assert broken in fetched(repo) and not came & set(fetched(repo))
    assert not list((repo / "wheels").glob(".fetching*"))


@pytest.mark.parametrize("part", [1, 2])
def test_a_second_run_downloads_nothing(repo: Path, part: int) -> None:
    assert gather(repo, part).returncode == 0 and fetched(repo)
    before = {path: path.stat().st_mtime_ns for path in (repo / "wheels").rglob("*.*")}
    assert gather(repo, part).returncode == 0 and not calls(repo)
    assert before == {path: path.stat().st_mtime_ns for path in (repo / "wheels").rglob("*.*")}


def test_a_damaged_wheel_is_fetched_anew(repo: Path) -> None:
    gather(repo, 1)
    good = wheels(repo / "wheels/part1")
    (damaged,) = (repo / "wheels/part1").glob("hjson-*")
    damaged.write_bytes(good[damaged.name][:-1] + b"!")
    assert gather(repo, 1).returncode == 0 and wheels(repo / "wheels/part1") == good
    assert {line.split("==")[0] for line in fetched(repo)} == {"hjson", "deepspeed"}  # the lock knows no built wheel


@pytest.mark.parametrize(
    ("requires", "missing"),
    [
        (("scipy>=1",), "scipy"),
        (("pydantic>=9",), "pydantic"),
        (("scipy; python_version < '3.12'", "numpy>=99", "scipy; extra == 'all'"), ""),
        (("hjson[all]",), "scipy"),
    ],
)
def test_what_the_machine_would_lack_is_named(repo: Path, requires: tuple[str, ...], missing: str) -> None:
    publish(repo, "hjson", "3.0", requires=("scipy; extra == 'all'",))
    publish(repo, "webdataset", "3.0", requires=requires)
    ran = gather(repo, 1)
    assert (ran.returncode == 0) == (not missing) == complete(repo / "wheels/part1"), ran.stderr
    assert not missing or f"requires {missing}" in ran.stderr


def joined(repo: Path, target: Path) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHON": str(repo / "python")}
    command = ["bash", "wheels/part2/join.sh", target.relative_to(repo)]
    return subprocess.run(command, cwd=repo, env=settings, capture_output=True, text=True)


@pytest.fixture
def pieces(repo: Path) -> list[Path]:
    for name in ("nvidia-dali-cuda130", "libcst"):
        publish(repo, name, "5.0", size=1_700_000)
    ran = gather(repo, 2, PIECE_MB="1")
    assert ran.returncode == 0, ran.stderr
    return sorted((repo / "wheels/part2").glob("part-*"))


def test_pieces_join_to_the_same_bytes(repo: Path, pieces: list[Path]) -> None:
    assert [path.name for path in pieces] == [f"part-{n:02}" for n in range(4)]
    assert {path.stat().st_size for path in pieces[:-1]} == {10**6} and pieces[-1].stat().st_size < 10**6
    (pieces[0].parent / "part-04").write_bytes(b"of an earlier, longer set" * 40_000)
    assert joined(repo, repo / "site").returncode == 0
    assert wheels(repo / "site") == wheels(repo / "wheels/wheels2") != {}
    assert "--no-index --no-deps" in calls(repo, "install")[-1]


def test_damaged_pieces_are_refused_and_made_again(repo: Path, pieces: list[Path]) -> None:
    good = [path.read_bytes() for path in pieces]
    another_byte = good[1][:-1] + bytes([good[1][-1] ^ 1])
    for damaged in (another_byte, good[1][:-1], good[2], None):
        pieces[1].write_bytes(damaged) if damaged else pieces[1].unlink()
        ran = joined(repo, repo / "site")
        assert ran.returncode != 0 and "part-01" in ran.stdout + ran.stderr and "nothing was installed" in ran.stderr
        assert not calls(repo, "install") and not wheels(repo / "site")
    assert gather(repo, 2, PIECE_MB="1").returncode == 0 and [path.read_bytes() for path in pieces] == good
    assert not [line for line in fetched(repo) if line.split("==")[0] in PART2]


def test_optional_packages_without_a_wheel_are_left_out_with_the_reason(repo: Path) -> None:
    ran = gather(repo, 2)
    assert ran.returncode == 0
    left_out = (repo / "wheels/part2/LEFT_OUT").read_text()
    assert left_out in ran.stderr
    for name in ("xformers", "flash-attn"):
        assert re.search(rf"left out: {name}==[\d.]+.*, ERROR: No matching distribution", left_out)
