"""Names from outside in messages: nothing in them reaches the terminal as more than characters, no secret is shown."""

import ast
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from ecamp_fast.errors import DataError, StorageError
from ecamp_fast.printable import LastingStream, items, message, one_line, printable, without_secrets

HOSTILE = {
    "\x1b[2Ja": "\\x1b[2Ja",
    "a\rb": "a\\rb",
    "a\nerror: b": "a\\nerror: b",
    "a\n  hint: b": "a\\n  hint: b",
    "\u202etxt.exe": "\\u202etxt.exe",
    "a\u2028b": "a\\u2028b",
    "\x9b31m": "\\x9b31m",
    "\udcff": "\\udcff",
    "\u200b": "\\u200b",
    "Ärztin 胸片 é": "Ärztin 胸片 é",
}


@pytest.mark.fault("S3.ansi", "S3.line-break", "S3.right-to-left")
@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_printable_is_escaped(name):
    assert printable(name) == message(name) == one_line(name) == HOSTILE[name]
    error = DataError(f"{name}: damaged", f"restore {name}")
    assert str(error) == f"{HOSTILE[name]}: damaged\n  hint: restore {HOSTILE[name]}"


@pytest.mark.fault("S3.json-untouched")
def test_json_holds_the_name_itself():
    error = DataError("\x1b[2J: damaged")
    assert json.loads(json.dumps(error.what)) == "\x1b[2J: damaged"


@pytest.mark.fault("S3.line-break")
def test_lists_keep_their_lines_and_their_items_do_not_make_new_ones():
    error = DataError(f"damaged:{items(['a', chr(10) + '  - forged'])}\n    these 2: x", "y")
    assert str(error).splitlines() == ["damaged:", "  - a", "  - \\n  - forged", "    these 2: x", "  hint: y"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:secret@host/set", "https://host/set"),
        ("https://user:se?cr#et@host/set", "https://host/set"),
        ("s3://bucket/set?X-Amz-Signature=secret&b=c: missing", "s3://bucket/set?(left out) missing"),
        ("'https://host/a#secret' is no plain address", "'https://host/a?(left out)' is no plain address"),
        ("a https:/host/x.csv?sig=secret b", "a https:/host/x.csv?(left out) b"),
        ("https://host/set@v2/a.tar", "https://host/set@v2/a.tar"),
        ("https://a/b?x=secret, s3://c:secret@d/e", "https://a/b?(left out) s3://d/e"),
        ("what? a/b@c: d#e", "what? a/b@c: d#e"),
    ],
)
@pytest.mark.fault("S2.secrets")
def test_secrets_of_addresses_are_left_out(text, shown):
    assert without_secrets(text) == one_line(text) == shown
    error = StorageError(text, text)
    assert error.what == error.hint == shown and "secret" not in str(error)


def test_an_error_of_another_process_is_the_same():
    error = pickle.loads(pickle.dumps(StorageError("a\x1b", "b")))
    assert (type(error), error.what, error.hint, str(error)) == (StorageError, "a\x1b", "b", "a\\x1b\n  hint: b")
    assert error.exit_code == 5


def unescaped(tree):
    """Lines that print neither JSON, nor a constant, nor a fault of ours, and do not use ``tell`` or ``one_line``."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("click.echo", "print") and node.args:
            shown = ast.unparse(node.args[0])
            if not shown.startswith(
                ("json.dumps(", "dump_json(", "one_line(", "'", '"', "f'error: {fault}'", "f'error: {error}'")
            ):
                found.append(f"{node.lineno}: {shown}")
    return found


@pytest.mark.fault("S3.progress")
def test_commands_print_through_what_escapes():
    root = Path(__file__).resolve().parents[1] / "ecamp_fast"
    escape_themselves = {"terminal.py", "doctor.py", "progress.py"}
    files = [root / "train.py", root / "cli.py", *sorted((root / "commands").glob("*.py"))]
    found = {path.name: unescaped(ast.parse(path.read_text())) for path in files if path.name not in escape_themselves}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_a_line_that_is_not_escaped_is_seen():
    assert unescaped(ast.parse('click.echo(f"{path}: done")')) and unescaped(ast.parse("print(path)"))
    assert not unescaped(ast.parse('tell(path)\nclick.echo(json.dumps(x))\nprint(one_line(f"{path}"))\nprint("a")'))


DEAF = """
import os, sys, warnings
from ecamp_fast.printable import speak_on
speak_on()
speak_on()
input()  # until nobody listens any more
for stream in (sys.stdout, sys.stderr):
    print("lost", file=stream, flush=True)
    stream.writelines(["lost"])
warnings.warn("lost")
from rich.console import Console
Console(stderr=True).print("lost")
open(sys.argv[1], "w").write("went on")
"""


def test_who_speaks_goes_on_where_nobody_listens(tmp_path: Path) -> None:
    pipe, file = subprocess.PIPE, tmp_path / "end"
    command, root = [sys.executable, "-c", DEAF, str(file)], str(Path(__file__).absolute().parents[1])
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=os.environ | {"PYTHONPATH": root})
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    process.stderr.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.wait(30) == 0 and file.read_text() == "went on"


def test_a_lasting_stream_is_as_the_one_in_it() -> None:
    inner = io.StringIO()
    stream = LastingStream(inner)
    assert stream.write("abc") == 3 and not stream.isatty()
    stream.writelines(["d", "e"])
    stream.flush()
    assert inner.getvalue() == stream.getvalue() == "abcde"
