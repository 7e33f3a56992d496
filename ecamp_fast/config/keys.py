"""What a key of a recipe is: its meaning and its place in the paper beside its type, and the table of all of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

CODE = "released code"  # the paper does not say it, its code does
OURS = "ours"  # neither does: of this implementation


def key(default: Any, meaning: str, place: str = OURS, **bounds: Any) -> Any:
    """A key of a section.

    meaning  what it does, with its unit; a choice's words each with what they mean
    place    in the paper: section, table or equation; ``CODE`` or ``OURS`` where it is not there
    bounds   as pydantic's ``Field`` has them
    """
    return Field(default, description=meaning, json_schema_extra={"place": place}, **bounds)


@dataclass(frozen=True, slots=True)
class Key:
    """A row of the table.

    name     dotted
    default  as a recipe has it
    values   which it may have, in words
    meaning, place  as ``key`` was given them
    section  what the section it stands in is: the first sentence of its docstring
    """

    name: str
    default: Any
    values: str
    meaning: str
    place: str
    section: str


def keys_of(section: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Every key of a section and of the sections in it, in their order."""
    head = " ".join((section.__doc__ or "").split("\n\n")[0].split())
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys_of(inner, f"{prefix}{name}.")
        else:
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            meaning, place = field.description or "", str(extra.get("place", ""))
            yield Key(prefix + name, plain(field.default), _values(field), meaning, place, head)


def plain(value: Any) -> Any:
    """A value as YAML and JSON have it."""
    return list(value) if isinstance(value, tuple) else value


def spelt(value: Any) -> str:
    """A value as one writes it in a recipe."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(spelt, value))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "null" if value is None else str(value)


def _values(field: FieldInfo) -> str:
    bounds = {name: getattr(rule, name) for rule in field.metadata for name in _SIGNS if hasattr(rule, name)}
    kind, null, _ = _kind(field.annotation).partition(" or null")
    return kind + _range(bounds) + null


_SIGNS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}"}


def _range(bounds: dict[str, Any]) -> str:
    told = [_SIGNS[name].format(_power_of_two(bounds[name])) for name in _SIGNS if name in bounds]
    return "".join(f" {one}" for one in told)


def _power_of_two(bound: Any) -> str:
    """A bound that no one counts: 2^31."""
    large = isinstance(bound, int) and bound >= 2**31 and bound & (bound - 1) == 0
    return f"2^{bound.bit_length() - 1}" if large else spelt(bound)


def _kind(annotation: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " or ".join(map(_kind, inner))
    if origin is tuple:
        return "numbers" if Ellipsis in inner else f"{len(inner)} numbers"
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _kind(inner[0])
    words = {bool: "true, false", int: "whole number", float: "number", str: "text", NoneType: "null"}
    return words[annotation]
