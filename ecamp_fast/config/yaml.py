"""YAML with the scalars people write, into nested dicts of plain values; whatever else is refused, with its line."""

import re
from typing import Any, ClassVar, NamedTuple

import yaml

from ecamp_fast.errors import ConfigError

LARGEST = 2**16  # characters; the longest recipe of ours has 3,000. A second of PyYAML's time
DEEPEST = 32  # mappings and lists within each other; a recipe has three


class Document(NamedTuple):
    """What a YAML text holds.

    value  of plain kinds; of a key that comes twice the first
    lines  where each key stands, dotted, from 1
    twins  for each key that comes twice, what to say of it
    """

    value: Any
    lines: dict[str, int]
    twins: list[str]


class _Yaml(yaml.SafeLoader):
    """YAML with the scalars people write: 1e-4 is a number here, a string in YAML 1.1.

    Aliases are refused: a page of them can stand for more than any memory holds, and a recipe needs none.
    """

    # add_implicit_resolver copies the parents' table, but not its lists
    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]  # the stubs call it an instance variable
        first: [rule for rule in rules if rule[0].rpartition(":")[2] not in ("bool", "float", "int")]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.twins: list[str] = []

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ConfigError(f"line {event.start_mark.line + 1}: an anchor or an alias", "write the value where it is")
        if self.depth == DEEPEST:
            raise ConfigError(f"line {event.start_mark.line + 1}: nested deeper than {DEEPEST}", "write it flatter")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


# `rebalance: off` is a word, not the boolean of YAML 1.1. Numbers are decimal: there 010 is eight, and 1:30 is ninety.
_Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))
_Yaml.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789"))
_Yaml.add_implicit_resolver(  # matches whole numbers, too, which are asked for first
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:(?:0|[1-9][0-9]*)\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|\.(?:inf|nan))$"),
    list("-+0123456789."),
)


def _mapping_without_twins(loader: _Yaml, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=deep)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise ConfigError(f"line {line}: a key that is no word", "write `key: value` lines")
        value = loader.construct_object(value_node, deep=True)
        if key in seen:
            loader.twins.append(f"line {line}: key '{key}' appears twice")
        seen.setdefault(key, value)
    return seen


_Yaml.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_twins)


def parse_yaml(text: str, origin: str) -> dict[str, Any]:
    """A YAML mapping as a nested dict; ``origin`` names it in errors. Raises ConfigError."""
    found = read_document(text, origin)
    if found.twins:
        raise ConfigError(f"{origin}: {'; '.join(found.twins)}", "keep one of them")
    return dict(found.value)


def read_document(text: str, origin: str) -> Document:
    """A YAML mapping, empty where the text is, and where its keys stand. Raises ConfigError, but not for twins."""
    found = _read(text, origin)
    tree = {} if found.value is None else found.value
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin}: holds no mapping", "write `key: value` lines")
    return found._replace(value=tree)


def parse_value(text: str, origin: str) -> Any:
    """What a YAML text holds, whatever its kind; ``origin`` names it in errors. Raises ConfigError."""
    found = _read(text, origin)
    if found.twins:
        raise ConfigError(f"{origin}: {'; '.join(found.twins)}", "keep one of them")
    return found.value


def _read(text: str, origin: str) -> Document:
    if len(text) > LARGEST:
        raise ConfigError(f"{origin}: {len(text):,} characters of YAML, the limit is {LARGEST:,}", "is it a recipe?")
    try:
        loader = _Yaml(text)
        node = loader.get_single_node()
        value = loader.construct_document(node) if node else None
        return Document(value, dict(_lines(node)), loader.twins)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error.what}", error.hint) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{origin}: {where}not YAML: {error.problem or error.context}", "fix the syntax") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that does not exist
        raise ConfigError(f"{origin}: not YAML: {' '.join(str(error).split())}", "fix the syntax") from None


def _lines(node: yaml.Node | None, prefix: str = "") -> list[tuple[str, int]]:
    """(dotted key, line) of every key; the last of twins counts in a dict."""
    found = []
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        found.append((name := f"{prefix}{key.value}", key.start_mark.line + 1))
        found += _lines(value, f"{name}.")
    return found
