"""From a name or a file to a valid recipe, and back to YAML; every fault is named with its key, all of them at once."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ecamp_fast.config.overrides import apply_override
from ecamp_fast.config.recipe import Recipe
from ecamp_fast.config.yaml import parse_yaml
from ecamp_fast.errors import ConfigError
from ecamp_fast.printable import items

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def load_recipe(source: str | Path = "paper", overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name (``paper``) or file, apply ``KEY=VALUE`` overrides, validate.

    Raises ConfigError that lists every fault with its key and the nearest legal one.
    """
    path = _find(source)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "check its permissions; save it as UTF-8") from None
    tree = parse_yaml(text, str(path))
    tree.setdefault("name", path.stem)
    for override in overrides:
        apply_override(tree, override)
    return parse_recipe(tree, str(path))


def parse_recipe(tree: dict[str, Any], origin: str) -> Recipe:
    """Validate a nested dict of recipe keys; ``origin`` names it in errors."""
    try:
        return Recipe.model_validate(_floats_and_tuples(tree, Recipe))
    except ValidationError as error:
        raise ConfigError(f"{origin}: {_explain(error)}", "the recipe files show every key with its meaning") from None


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
        f"no recipe '{source}'" + _did_you_mean(str(source), recipe_names()),
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


def _explain(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            lines.append(f"unknown key '{key}'{_did_you_mean(key, _keys(Recipe))}")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            given = "" if isinstance(fault["input"], dict) else f", not {fault['input']!r}"
            lines.append(f"{key}: {message}{given}" if key else message)
    return lines[0] if len(lines) == 1 else items(lines)


def _keys(section: type[BaseModel], prefix: str = "") -> list[str]:
    out = []
    for name, field in section.model_fields.items():
        out.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            out += _keys(field.annotation, f"{prefix}{name}.")
    return out


def _did_you_mean(word: str, known: list[str]) -> str:
    leaf = word.rsplit(".", 1)[-1]
    close = [k for k in known if k.rsplit(".", 1)[-1] == leaf]  # the right leaf in the wrong section
    close = close or difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
