"""A DeepSpeed JSON as a file: found by name or path, read with faults that say what is wrong in which line."""

import json
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ecamp_fast.config.deepspeed_fault import Fault
from ecamp_fast.config.load import RECIPES
from ecamp_fast.config.nearest import did_you_mean
from ecamp_fast.errors import ConfigError
from ecamp_fast.strict_json import parse_json

DEFAULT = RECIPES / "zero2.json"
_SECTIONS = (
    *("bf16", "bfloat16", "fp16", "zero_optimization", "data_types", "timers", "optimizer", "scheduler"),
    *("flops_profiler", "comms_logger", "activation_checkpointing", "checkpoint", "aio", "compile"),
)
_MISTAKES = (  # what stands where JSON ends, and what it means
    (r"//|/\*|#", "JSON has no comments", "remove the comment"),
    (r"(True|False|None)\b", "true, false and null have small letters", "write true, false or null"),
    (r"'", "strings stand in double quotes", 'write "..."'),
)

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:\n]')
_NAMED = re.compile(r"(?:unknown key ')?([\w.\[\]]+)")  # what a fault says begins with its key


def find(source: str) -> Path:
    """The JSON of a name (``zero1``) or a path; a name of ours goes before a file. Without one: the default."""
    named = RECIPES / f"{source}.json"
    return DEFAULT if not source else named if named.is_file() and "/" not in source else Path(source)


def read_json(path: Path) -> dict[str, Any]:
    """The object of a file, without what is null in it.

    Raises ConfigError where the file cannot be read, is no JSON, no object, or has a value where a section belongs.
    """
    twins: list[str] = []
    try:
        text = path.read_text(encoding="utf-8-sig")
        config = parse_json(
            text,
            object_pairs_hook=partial(_without_twins, twins),
            parse_constant=partial(_no_number, path),
            parse_float=partial(_number, path, float),
            parse_int=partial(_number, path, int),
        )
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8", "save it as UTF-8") from None
    except (OSError, ValueError) as error:
        raise _unread(path, error) from None
    if twins:
        told = "; ".join(f"key '{key}' appears twice" for key in twins)
        raise ConfigError(f"{path}: {told}", "keep one of them")
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: holds no JSON object", "write {...}")
    config = _without_nulls(config)
    values = [key for key in _SECTIONS if not isinstance(config.get(key, {}), dict)]
    if values:
        raise ConfigError(f"{path}: {', '.join(values)} must be an object", f'write "{values[0]}": {{...}}')
    return config


def with_lines(path: Path, faults: Sequence[Fault]) -> list[Fault]:
    """The same faults, each with the line of its key in the file, where that has several."""
    lines = _lines(path.read_text(encoding="utf-8-sig"))
    if len(set(lines.values())) < 2:
        return list(faults)
    told = []
    for fault in faults:
        named = _NAMED.match(fault.what)
        key = named[1].split("[")[0] if named else ""
        while key and key not in lines:
            key = key.rpartition(".")[0]
        told.append(fault._replace(what=f"{fault.what} (line {lines[key]})") if key else fault)
    return told


def _lines(text: str) -> dict[str, int]:
    """The line of every key, dotted, of a text that is JSON."""
    found: dict[str, int] = {}
    parents: list[str] = []
    line, last = 1, ""
    for token in _TOKEN.findall(text):
        if token == "\n":
            line += 1
        elif token in "{[":
            parents.append(f"{last}." if token == "{" and last else "")
            last = ""
        elif token in "}]":
            parents.pop()
        elif token == ":":
            found.setdefault(last, line)
        else:
            last = (parents[-1] if parents else "") + token[1:-1]
    return found


def _unread(path: Path, error: Exception) -> ConfigError:
    """What to say of a file that is not there or no JSON."""
    if isinstance(error, json.JSONDecodeError):
        return _no_json(path, error)
    if not isinstance(error, OSError):
        return ConfigError(f"{path}: not JSON: {error}", "fix the syntax")
    names = sorted(file.stem for file in RECIPES.glob("*.json"))
    hint = f"--ds_config takes {', '.join(names)}, or a JSON file"
    if isinstance(error, FileNotFoundError) and path.parent == Path():
        near = did_you_mean(path.stem, names)
        return ConfigError(f"no DeepSpeed JSON '{path}', neither a name nor a file{near}", hint)
    return ConfigError(f"cannot read the DeepSpeed JSON {path}: {error.strerror}", f"check its path: {hint}")


def _no_json(path: Path, error: json.JSONDecodeError) -> ConfigError:
    """The line, and the usual mistakes by name."""
    rest, before = error.doc[error.pos :].lstrip(), error.doc[: error.pos].rstrip()
    what, hint = error.msg, "fix the syntax"
    for pattern, meaning, remedy in _MISTAKES:
        if re.match(pattern, rest):
            what, hint = meaning, remedy
    if not error.doc.strip():
        what, hint = "the file is empty", "write {...}"
    elif before.endswith(",") and rest[:1] in ("}", "]"):
        what, hint = "a comma stands before the closing bracket", "remove the comma"
    return ConfigError(f"{path}: line {error.lineno}: not JSON: {what}", hint)


def _without_nulls(value: Any) -> Any:
    """null says what a key that is left out says."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


def _without_twins(twins: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; keys that come twice in it go to ``twins``."""
    keys = [key for key, _ in pairs]
    twins += sorted({key for key in keys if keys.count(key) > 1})
    return dict(pairs)


def _number(path: Path, kind: type[float], word: str) -> float:
    """Not 9e999, which Python reads as infinity, nor a whole number beyond what 64 bits hold."""
    if abs(float(word)) > (sys.maxsize if kind is int else sys.float_info.max):
        shown = word if len(word) <= 20 else f"{word[:17]}..."
        raise ConfigError(f"{path}: {shown} is too large a number", "write a smaller one, or remove the key")
    return kind(word)


def _no_number(path: Path, word: str) -> None:
    raise ConfigError(f"{path}: {word} is no JSON number", "write a number, or remove the key")
