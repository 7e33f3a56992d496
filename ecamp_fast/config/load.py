"""From a name or a file to a valid recipe, and back to YAML; every fault is named with its key, all of them at once."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ecamp_fast.config.nearest import did_you_mean
from ecamp_fast.config.overrides import apply_override
from ecamp_fast.config.recipe import Recipe, flatten
from ecamp_fast.config.yaml import read_document
from ecamp_fast.errors import ConfigError

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
SHOWN = 60  # characters of a value in a message
SET = "--set "  # how the place of a key begins that the command line has set
_MEANT = {"on": "true", "yes": "true", "off": "false", "no": "false", "true": "true", "false": "false"}

Parsed = TypeVar("Parsed", bound=BaseModel)


def load_recipe(source: str | Path = "paper", overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name (``paper``) or file, apply ``KEY=VALUE`` overrides (one, or several), validate.

    Raises ConfigError that lists every fault with its key and the nearest legal one.
    """
    path = _find(source)
    tree, lines, twins = _read(path, overrides)
    return parse_recipe(tree, str(path), lines, twins)


def key_origins(source: str | Path = "paper", overrides: Sequence[str] = ()) -> dict[str, str]:
    """Of the keys, dotted, that a recipe does not leave at their default: which line of it, or which ``--set``, has it.

    The name counts as the recipe's own.  Raises ConfigError where the file cannot be read.
    """
    path = _find(source)
    tree, lines, _ = _read(path, overrides)
    origins = {}
    for key in flatten(tree):
        place = lines.get(_nearest(key, lines), "")
        line = f", line {place}" if place else ""
        origins[key] = place if isinstance(place, str) and place else f"{path.name}{line}"
    return origins


def _read(path: Path, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, int | str], list[str]]:
    """The keys of a file with the overrides in them, where each stands (``parse_recipe``), and its twins."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "check its permissions; save it as UTF-8") from None
    tree, numbers, twins = read_document(text, str(path))
    lines: dict[str, int | str] = {**numbers}
    tree.setdefault("name", path.stem)
    for override in [overrides] if isinstance(overrides, str) else overrides:
        apply_override(tree, override)
        name = override.split("=")[0]
        lines = {key: line for key, line in lines.items() if not f"{key}.".startswith(f"{name}.")}
        lines[name] = f"{SET}{_short(override)}"
    return tree, lines, twins


def parse_recipe(
    tree: dict[str, Any], origin: str, lines: Mapping[str, int | str] | None = None, faults: Sequence[str] = ()
) -> Recipe:
    """Validate a nested dict of recipe keys; ``origin`` names it in errors.

    lines   where the keys stand in it, dotted: the line, or what else set them
    faults  that it is known to have, told with the others
    """
    return parse_section(Recipe, tree, origin, lines, faults)


def parse_section(
    section: type[Parsed],
    tree: dict[str, Any],
    origin: str,
    lines: Mapping[str, int | str] | None = None,
    faults: Sequence[str] = (),
    hint: str = "`ecamp-fast recipes show paper` lists every key with its meaning",
) -> Parsed:
    """``parse_recipe`` for the keys of any strict model."""
    try:
        parsed, found = section.model_validate(_floats_and_tuples(tree, section)), list(faults)
    except ValidationError as error:
        found = [*faults, *_explain(error, lines or {}, section)]
    if found:
        raise ConfigError(_listed(found, origin), hint)
    return parsed


def _listed(faults: Sequence[str], origin: str) -> str:
    """All faults, with the file where not all of them are of the command line."""
    told = [fault for fault in faults if not fault.startswith(SET)]
    if told and len(told) < len(faults):
        faults, told = [fault if fault.startswith(SET) else f"{origin}: {fault}" for fault in faults], []
    head = f"{origin}: " if told else ""
    if len(faults) == 1:
        return head + faults[0]
    return (head or "the recipe is at fault:") + "".join(f"\n  - {line}" for line in faults)


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every key written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def recipe_names() -> list[str]:
    return sorted(p.stem for p in RECIPES.glob("*.yaml"))


def _find(source: str | Path) -> Path:
    if str(source) in recipe_names():
        return RECIPES / f"{source}.yaml"
    path = Path(source)
    if path.is_file():
        return path
    raise ConfigError(
        f"no recipe '{source}'" + did_you_mean(str(source), recipe_names()),
        f"name one of {', '.join(recipe_names())}, or a YAML file",
    )


def _floats_and_tuples(tree: Any, section: type[BaseModel]) -> Any:
    """Strict mode takes no int for a float and no list for a tuple; YAML has neither distinction."""
    if not isinstance(tree, dict):
        return tree
    out = {}
    for key, value in tree.items():
        field = section.model_fields.get(key)
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            value = _floats_and_tuples(value, annotation)
        elif type(value) is int and (annotation is float or float in get_args(annotation)):
            value = float(value)
        elif isinstance(value, list) and float in get_args(annotation):
            value = tuple(float(v) if type(v) is int else v for v in value)
        out[key] = value
    return out


def _explain(error: ValidationError, lines: Mapping[str, int | str], whole: type[BaseModel]) -> Iterator[str]:
    """One line for each key at fault."""
    told: dict[str, list[str]] = {}
    for fault in error.errors():
        key = _key(fault["loc"], whole)
        if fault["type"] == "extra_forbidden":
            told[key] = [f"unknown key '{key}'{did_you_mean(key, _keys(whole))}"]
        else:
            message = fault["msg"].removeprefix("Value error, ") + _given(dict(fault))
            told.setdefault(key, []).append(message)
    for key, messages in told.items():
        line = _line(key, lines, " or ".join(messages))
        unknown = messages[0].startswith("unknown key")
        yield line + (f"{key}: " if key and not unknown else "") + " or ".join(messages)


def _key(parts: Sequence[int | str], whole: type[BaseModel]) -> str:
    """The dotted key of an error, without what pydantic calls the kinds that a value may have."""
    section: Any = whole
    for number, part in enumerate(parts):
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return ".".join(map(str, [*parts[:number], *(place for place in parts[number:] if isinstance(place, int))]))
        field = section.model_fields.get(str(part))
        section = field.annotation if field else None
    return ".".join(map(str, parts))


def _line(key: str, lines: Mapping[str, int | str], message: str) -> str:
    """``line N: `` of a key, or of the section that it is in, or what set it; nothing where neither is known.

    A message about keys that do not go together names those of them that the command line has set.
    """
    within = {name: str(place) for name, place in lines.items() if isinstance(place, str) and _is_within(name, key)}
    if key not in within:
        words = re.findall(r"[\w.]+", message)
        named = [place for name, place in within.items() if _is_told(name, words)]
        told = any(_is_told(name, words) for name in lines if _is_within(name, key) and name != key)
        if named or (key and within and not told):
            return " and ".join(named or within.values()) + ": "
    place = lines.get(_nearest(key, lines), "")
    return f"line {place}: " if isinstance(place, int) else f"{place}: " if place else ""


def _is_within(name: str, section: str) -> bool:
    return not section or f"{name}.".startswith(f"{section}.")


def _is_told(name: str, words: Sequence[str]) -> bool:
    """Whether one of the words is a key, by its whole name or the end of it, or one of its own keys."""
    return any(word in (name, name.rpartition(".")[2]) or word.startswith(f"{name}.") for word in words)


def _nearest(key: str, lines: Mapping[str, int | str]) -> str:
    """The key itself where its place is known, else the section around it of which it is; '' where neither is."""
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return key


def _given(fault: dict[str, Any]) -> str:
    """What was found instead, and what may have been meant by it."""
    value, word = fault["input"], str(fault["input"])
    if isinstance(value, dict):
        return ""
    meant = ""
    if fault["type"] == "literal_error" and isinstance(value, str):
        meant = did_you_mean(word, re.findall(r"'([^']*)'", str(fault["ctx"]["expected"])))
    elif fault["type"] == "bool_type" and word.lower() in _MEANT:
        meant = f"; did you mean {_MEANT[word.lower()]}?"
    elif fault["type"] in ("int_type", "float_type") and isinstance(value, str) and re.fullmatch(r"[-+.\deE]+", word):
        meant = f"; did you mean {word} without quotes?"
    return f", not {_short(repr(value))}{meant}"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    out = []
    for name, field in section.model_fields.items():
        out.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            out += _keys(field.annotation, f"{prefix}{name}.")
    return out
