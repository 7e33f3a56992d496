"""Dockerfile and Apptainer recipe as lists of steps, of which each can be looked at, or executed without an engine."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE, APPTAINER = ROOT / "Dockerfile", ROOT / "docs/clusters/ecamp-fast.def"


@dataclass(frozen=True)
class Run:
    """A line that a shell executes in the image."""

    script: str


@dataclass(frozen=True)
class Copy:
    """Files of the checkout; ``into`` is a folder where it ends with a slash, else their name in the image."""

    sources: tuple[str, ...]
    into: str


@dataclass
class Image:
    """What a recipe says.

    base     name of the image that it begins with
    steps    in their order
    env      variables of what runs in the image     user  who runs it; empty: root
    command  what is always started                  health, arguments  of it
    """

    base: str = ""
    steps: list[Run | Copy] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    home: str = "/"
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def dockerfile(text: str) -> Image:
    """Raises ValueError on an instruction that is not understood here."""
    image = Image()
    for word, rest in _instructions(text):
        if word == "FROM":
            image.base = rest
        elif word == "RUN":
            image.steps.append(Run(rest))
        elif word == "COPY":
            *sources, into = shlex.split(rest)
            image.steps.append(Copy(tuple(sources), into))
        elif word == "ENV":
            image.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "USER":
            image.user = rest
        elif word == "WORKDIR":
            image.home = rest
        elif word == "ENTRYPOINT":
            image.command = json.loads(rest)
        elif word == "HEALTHCHECK":
            image.health = json.loads(rest.split(" CMD ", 1)[1])
        elif word != "CMD":
            raise ValueError(f"{word}: not understood")
    return image


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    whole = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", "", whole).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def apptainer(text: str) -> Image:
    """Raises ValueError where it has no section of a name that is needed."""
    head, *parts = re.split(r"^%(?=\w)", text, flags=re.MULTILINE)
    sections = {part.split("\n", 1)[0].strip(): part.split("\n", 1)[1] for part in parts}
    if missing := {"files", "post", "environment", "runscript", "test"} - sections.keys():
        raise ValueError(f"no %{min(missing)}")
    found = re.search(r"^From: (\S+)$", head, re.MULTILINE)
    image = Image(base=found[1] if found else "", command=["ecamp-fast"], health=shlex.split(sections["test"]))
    for line in sections["files"].split("\n"):
        if line.strip():
            source, into = line.split()
            image.steps.append(Copy((source,), into))
    image.steps.append(Run(sections["post"]))
    for line in sections["environment"].split("\n"):
        image.env |= dict(pair.split("=", 1) for pair in shlex.split(line)[1:])
    return image


def both() -> dict[str, Image]:
    return {
        "Dockerfile": dockerfile(DOCKERFILE.read_text(encoding="utf-8")),
        "docs/clusters/ecamp-fast.def": apptainer(APPTAINER.read_text(encoding="utf-8")),
    }


def let_through(ignore: str, path: str) -> bool:
    """Whether .dockerignore lets a file into the image. Of its language: ``*``, ``!PATH``, ``**/NAME``."""
    through = True
    for line in ignore.splitlines():
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        name = rule.removeprefix("!")
        parts = path.split("/")
        if name.startswith("**/"):
            meant = name[3:] in parts
        else:
            meant = name == "*" or path == name or path.startswith(f"{name}/")
        through = rule.startswith("!") if meant else through
    return through
