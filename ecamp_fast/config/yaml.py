"""YAML with the scalars people write, into nested dicts of plain values; whatever else is refused, with its line."""

import re
from typing import Any, ClassVar

import yaml

from ecamp_fast.errors import ConfigError

LARGEST = 2**16  # characters; the longest recipe of ours has 3,000. A second of PyYAML's time
DEEPEST = 32  # mappings and lists within each other; a recipe has three


class _Yaml(yaml.SafeLoader):
    """YAML with the scalars people write: 1e-4 is a number here, a string in YAML 1.1.

    Aliases are refused: a page of them can stand for more than any memory holds, and a recipe needs none.
    """

    # add_implicit_resolver copies the parents' table, but not its lists
    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]  # the stubs call it an instance variable
        first: list(rules) for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

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


_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$"),
    list("-+0123456789."),
)
# Our float pattern also matches integers, so the integer rule must be asked first; and `rebalance: off` is a word,
# not the boolean of YAML 1.1.
for _rules in _Yaml.yaml_implicit_resolvers.values():
    _rules.sort(key=lambda rule: rule[0] == "tag:yaml.org,2002:float")
    _rules[:] = [rule for rule in _rules if rule[0] != "tag:yaml.org,2002:bool"]
_Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


def _mapping_without_twins(loader: _Yaml, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=deep)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise ConfigError(f"line {line}: a key that is no word", "write `key: value` lines")
        if key in seen:
            raise ConfigError(f"line {line}: key '{key}' appears twice", "keep one of them")
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


_Yaml.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_twins)


def parse_yaml(text: str, origin: str) -> dict[str, Any]:
    """A YAML mapping as a nested dict; ``origin`` names it in errors. Raises ConfigError."""
    tree = parse_value(text, origin) or {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin}: holds no mapping", "write `key: value` lines")
    return tree


def parse_value(text: str, origin: str) -> Any:
    """What a YAML text holds, whatever its kind; ``origin`` names it in errors. Raises ConfigError."""
    if len(text) > LARGEST:
        raise ConfigError(f"{origin}: {len(text):,} characters of YAML, the limit is {LARGEST:,}", "is it a recipe?")
    try:
        return yaml.load(text, Loader=_Yaml)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{origin}: {where}not YAML: {error.problem or error.context}", "fix the syntax") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise ConfigError(f"{origin}: not YAML: {' '.join(str(error).split())}", "fix the syntax") from None
