"""Dockerfile and Apptainer recipe: what can be seen of them without an engine. `make journeys` executes their lines."""

import subprocess
from pathlib import Path

import pytest
from journeys.image_recipes import Copy, Image, Run, apptainer, both, dockerfile, let_through

ROOT = Path(__file__).resolve().parents[2]
IGNORE = (ROOT / ".dockerignore").read_text(encoding="utf-8")
PATH = "/opt/ecamp-fast/bin:"


def tracked() -> set[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def faults(image: Image, files: set[str], ignore: str = IGNORE) -> list[str]:
    """What would end a build, or make another image than the lock says."""
    found = []
    for step in image.steps:
        if isinstance(step, Run):
            shell = subprocess.run(["sh", "-n"], input=step.script, capture_output=True, text=True)
            found += [f"sh: {shell.stderr.strip()}"] if shell.returncode else []
            continue
        for source in step.sources:
            meant = [file for file in files if file == source or file.startswith(f"{source}/")]
            if not meant:
                found.append(f"{source}: not a file of the repository")
            found += [f"{file}: .dockerignore keeps it out" for file in meant if not let_through(ignore, file)][:1]
    scripts = "\n".join(step.script for step in image.steps if isinstance(step, Run))
    lines = [line for line in scripts.replace("&&", "\n").splitlines() if "pip install" in line]
    for line in lines:
        if "--no-deps" not in line or ("--require-hashes" not in line and "--no-index" not in line):
            found.append(f"installs what the lock does not name: {line.strip()}")
    if not any("--require-hashes --no-deps -r /src/requirements.lock" in line for line in lines):
        found.append("the lock is not installed")
    return found


@pytest.mark.parametrize("name", list(both()))
def test_a_recipe_can_be_built_and_installs_the_lock(name: str) -> None:
    image = both()[name]
    assert faults(image, tracked()) == []
    assert image.base == "debian:bookworm-slim" and image.env["PATH"].startswith(PATH)
    assert image.env["HF_HUB_OFFLINE"] == "1" and image.health[-1] == "doctor" and image.command == ["ecamp-fast"]


def test_both_recipes_have_the_same_files_and_packages() -> None:
    docker, singularity = both().values()
    copied = [
        {source for step in image.steps if isinstance(step, Copy) for source in step.sources}
        for image in both().values()
    ]
    assert copied[0] == copied[1]
    assert docker.env == singularity.env

    def installed(image: Image) -> list[str]:
        scripts = "\n".join(step.script for step in image.steps if isinstance(step, Run)).replace("&&", "\n")
        lines = [line.strip() for line in scripts.splitlines()]
        return [line for line in lines if line.startswith(("apt-get install", "python3 -m", "/opt/ecamp-fast"))]

    assert installed(docker) == installed(singularity) and len(installed(docker)) == 5


def test_the_image_has_all_that_the_wheel_is_built_from() -> None:
    """What .ci/wheel.py copies, and what .ci/sbom.py reads."""
    copied = {source for step in both()["Dockerfile"].steps if isinstance(step, Copy) for source in step.sources}
    folders_and_files = {"ecamp_fast", "kernels", "shards", "bench", "pyproject.toml", "README.md", "LICENSE"}
    assert copied == folders_and_files | {"requirements.lock", ".ci/sbom.py", ".ci/wheel.py"}


def test_no_process_of_the_image_is_root() -> None:
    image = both()["Dockerfile"]
    assert image.user == "ecamp" and image.home == "/home/ecamp"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("apt-get update \\", "apt-get update ( \\", "sh: "),
        ("COPY kernels", "COPY kernel", "kernel: not a file"),
        ("--require-hashes --no-deps -r", "-r", "the lock does not name"),
        ("--require-hashes --no-deps -r /src/requirements.lock", "--require-hashes --no-deps x", "the lock is not"),
    ],
)
def test_a_fault_in_a_recipe_is_seen(old: str, new: str, fault: str) -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert old in text
    assert any(fault in found for found in faults(dockerfile(text.replace(old, new, 1)), tracked()))


def test_what_dockerignore_keeps_out_is_seen() -> None:
    assert not let_through(IGNORE, "runs/demo/report.html") and not let_through(IGNORE, "shards/__pycache__/x.pyc")
    assert not let_through(IGNORE, ".git/config") and not let_through(IGNORE, "data/image.png")
    found = faults(both()["Dockerfile"], tracked(), IGNORE.replace("!shards\n", ""))
    assert len(found) == 1 and found[0].endswith(".dockerignore keeps it out")


def test_a_recipe_that_is_not_understood_is_refused() -> None:
    with pytest.raises(ValueError, match="ADD"):
        dockerfile("FROM x\nADD https://x.org /")
    with pytest.raises(ValueError, match="no %environment"):
        apptainer("From: x\n%files\n%post\n%runscript\n%test\n")
