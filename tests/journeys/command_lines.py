"""Whether a command line can be meant: its program, command, options and words are looked at, nothing is run."""

import re
import shlex
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
CONTROL = {"&&", "||", "|", ";", "&", "(", ")"}
# Programs of others: that they are there, and what they take, is not ours.
OTHERS = {
    *(
        "source",
        "cd",
        "sed",
        "export",
        "git",
        "tar",
        "cat",
        "mkdir",
        "cp",
        "eval",
        "echo",
        "rm",
        "for",
        "do",
        "done",
        "true",
    ),
    *("vllm", "docker", "kubectl", "pre-commit", "uv", "uvx", "pipx", "curl", "pytest", "nohup", "squeue", "scancel"),
    *(
        "sudo",
        "apt-get",
        "singularity",
        "nvidia-smi",
        "zcat",
        "unset",
        "jupyter",
        "mkdocs",
        "autoload",
        "compinit",
        "trackio",
    ),
}


def faults_of(line: str, optional: Sequence[str] = ()) -> list[str]:
    """What is wrong with a line, in words.  optional: options that a synopsis has in brackets"""
    found = []
    for words in simple_commands(line):
        try:
            found += [f"{fault}: {line}" for fault in _faults(words, optional)]
        except click.ClickException as fault:
            found.append(f"{fault.format_message()}: {line}")
    return found


def simple_commands(line: str) -> list[list[str]]:
    """Words of each command of a line, without variables before it and redirections behind."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;()<>")
    lexer.whitespace_split, lexer.commenters = True, ""
    found: list[list[str]] = [[]]
    skip = False
    for word in lexer:
        if word in CONTROL:
            found.append([])
        elif set(word) <= set("<>&"):
            skip = True
        elif skip:
            skip = False
        elif found[-1] or not re.match(r"^\w+=", word):
            found[-1].append(word)
    return [words for words in found if words]


def _faults(words: Sequence[str], optional: Sequence[str]) -> list[str]:
    name, rest = words[0].rsplit("/", 1)[-1], list(words[1:])
    if name == "ecamp-fast":
        return click_faults(ecamp_fast(), rest, optional)
    if name in ("deepspeed", "torchrun", "python", "python3", "srun"):
        return _of_launcher(rest)
    if name in ("sbatch", "apptainer"):
        return _of_cluster(name, rest)
    if name == "make":
        targets = [word for word in rest if "=" not in word and not word.startswith("-")]
        return [f"no target '{target}'" for target in targets if target not in make_targets()]
    if name == "bash":
        return [] if (ROOT / rest[0]).is_file() else [f"no file {rest[0]}"]
    if name == "pip":
        return _of_pip(rest)
    if name in ("docker", "uvx") and "ecamp-fast" in rest and rest[0] != "build":  # an image's name, or a program's
        return click_faults(ecamp_fast(), rest[rest.index("ecamp-fast") + 1 :])
    if name in OTHERS or words[0] == ".ci/run":
        return []
    return [f"what is {words[0]}?"]


def _of_launcher(words: list[str]) -> list[str]:
    """What follows our program in a launcher's words."""
    from ecamp_fast.train import main

    for at, word in enumerate(words):
        if word in ("ecamp_fast.train", "ecamp_fast/train.py"):
            return click_faults(main, words[at + 1 :])
        if word.endswith(".py") and not (ROOT / word).is_file():
            return [f"no file {word}"]
    return []


def _of_cluster(name: str, words: list[str]) -> list[str]:
    from ecamp_fast.train import main

    for at, word in enumerate(words):
        if name == "sbatch" and word.endswith(".sbatch"):
            missing = [] if (ROOT / word).is_file() else [f"no file {word}"]
            return missing + click_faults(main, words[at + 1 :])
        if name == "apptainer" and words[0] == "run" and word.endswith(".sif"):
            return click_faults(ecamp_fast(), words[at + 1 :])
        if word.endswith(".def") and not (ROOT / word).is_file():
            return [f"no file {word}"]
    return []


def _of_pip(words: list[str]) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"(?:^|\s)(?:\.|ecamp-fast)\[([\w,-]+)\]", " ".join(words))
    extras = {extra for one in named for extra in one.split(",")}
    return [f"no extra '{extra}'" for extra in sorted(extras - project["optional-dependencies"].keys())]


@cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@cache
def ecamp_fast() -> click.Command:
    from ecamp_fast.cli import command

    return command


def click_faults(command: click.Command, words: list[str], optional: Sequence[str] = (), name: str = "") -> list[str]:
    """Commands, options, words and choices that there are not.  Raises ClickException for some of them."""
    context = click.Context(command, info_name=name or command.name)
    if isinstance(command, click.Group):
        if words[:1] == ["--help"] or not words:
            return []
        if name == "shard" and words[0].startswith("--"):
            words = ["build", *words]  # `shard --from` means `shard build --from`
        options, rest, _ = command.make_parser(context).parse_args(list(words))
        if not rest:
            return [] if options else ["no command is named"]
        inner = command.get_command(context, rest[0])
        return [f"no command '{rest[0]}'"] if inner is None else click_faults(inner, rest[1:], optional, rest[0])
    if "--help" in words:
        return []
    values, rest, _ = command.make_parser(context).parse_args(list(words))
    wrong = [f"one word too many: {rest[0]}"] if rest else []
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    wrong += [f"no option {option}" for option in optional if option not in known]
    for parameter in command.params:
        wrong += _value_faults(parameter, values.get(str(parameter.name)), context)
    return wrong


def _value_faults(parameter: click.Parameter, value: object, context: click.Context) -> list[str]:
    given = [one for one in (value if isinstance(value, list | tuple) else [value]) if isinstance(one, str)]
    if parameter.required and not given:
        return [f"{parameter.human_readable_name} is missing"]
    numbers = isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType)
    for one in given:
        if isinstance(parameter.type, click.Choice) or (numbers and re.fullmatch(r"-?[\d.]+", one)):
            parameter.type.convert(one, parameter, context)  # raises
    return []


def inline_faults(line: str) -> list[str]:
    """The same of a command that stands in prose, of which words may be left out."""
    try:
        words = shlex.split(line)
    except ValueError:
        return []
    wrong = []
    for fault in faults_of(shlex.join([word for word in words if word not in ("...", "…")])):
        stands_for = re.search(r"'([A-Z]+)' is not one of|no command '([A-Z]+)'", fault)
        if " is missing: " not in fault and "no command is named" not in fault and not stands_for:
            wrong.append(fault)
    return wrong
