"""What a tracker is told of a recipe: numbers, switches, and words that our own code lists."""

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

Setting = int | float | bool | str


def recipe_settings(recipe: BaseModel) -> dict[str, Setting]:
    """By dotted key. Names, paths and every other word that somebody chose stay away, and so do lists."""
    return _of_section(recipe, "")


def _of_section(section: BaseModel, above: str) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for name, kind in type(section).model_fields.items():
        value, key = getattr(section, name), f"{above}{name}"
        if isinstance(value, BaseModel):
            found |= _of_section(value, f"{key}.")
        elif isinstance(value, bool | int | float) or (isinstance(value, str) and value in _listed(kind.annotation)):
            found[key] = value
    return found


def _listed(annotation: Any) -> set[Any]:
    """The words that a type lists."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return {word for part in get_args(annotation) for word in _listed(part)}
