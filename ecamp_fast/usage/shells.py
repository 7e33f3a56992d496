"""``ecamp-fast completion``: the script that lets a shell complete commands, options, recipes, keys, runs and sets."""

import json
import os
from typing import Any

import click
from click import shell_completion as shells

from ecamp_fast.usage.options import json_option

PROGRAM, VARIABLE = "ecamp-fast", "_ECAMP_FAST_COMPLETE"

# Of click's protocol; "open" is a word that goes on: no blank behind it.
BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' type value completion response
    response=$(env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete $1)
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) COMPREPLY=(); compopt -o dirnames ;;
            file) COMPREPLY=(); compopt -o default ;;
            open) COMPREPLY+=("$value"); compopt -o nospace ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(shells.BashComplete):
    """Knows that bash takes ``KEY=VALUE`` for three words, of which it completes the last."""

    source_template = BASH
    _given = 0  # letters of the word that bash has put behind it

    def source(self) -> str:
        return shells.ShellComplete.source(self)  # click would start bash to ask for its version

    def get_completion_args(self) -> tuple[list[str], str]:
        words, at = shells.split_arg_string(os.environ["COMP_WORDS"]), int(os.environ["COMP_CWORD"])
        typed = words[1 : at + 1] if at < len(words) else [*words[1:], ""]
        joined, split = list[str](), False
        for number, word in enumerate(typed):
            if joined and (word == "=" or typed[number - 1] == "="):
                joined[-1] += word
                split = True
            else:
                joined.append(word)
                split = False
        *arguments, incomplete = joined or [""]
        value = incomplete.partition("=")[2] if incomplete.startswith("-") else incomplete
        self._given = value.rfind("=") + 1 if split else 0
        return arguments, incomplete

    def format_completion(self, item: shells.CompletionItem) -> str:
        value = item.value[self._given :]
        return f"{'open' if value.endswith('=') else item.type},{value}"


CLASSES: dict[str, type[shells.ShellComplete]] = {
    "bash": Bash,
    "zsh": shells.ZshComplete,
    "fish": shells.FishComplete,
}


def take_over() -> None:
    """Click's own class for bash gives way to ours."""
    shells.add_completion_class(Bash, "bash")


def script(shell: str) -> str:
    """What a shell reads at its start.  shell: of ``CLASSES``"""
    nothing: Any = click.Command(PROGRAM)
    return CLASSES[shell](nothing, {}, PROGRAM, VARIABLE).source()


@click.command()
@click.argument("shell", type=click.Choice(list(CLASSES)))
@json_option()
def command(shell: str, as_json: bool) -> None:
    """Print the script that lets bash, zsh or fish complete commands, options, recipes, keys, runs and shard sets.

    Put the example's output into the file that your shell reads at its start, for zsh or fish by its name.

    \b
    Example:
      ecamp-fast completion bash
    """
    text = script(shell)
    click.echo(json.dumps({"schema": 1, "shell": shell, "script": text}) if as_json else text, nl=as_json)
