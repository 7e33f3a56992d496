"""YAML with the scalars people write, into nested dicts of plain values; whatever else is refused, with its line."""

import re
from typing import Any, ClassVar

import yaml

from ecamp_fast.errors import ConfigError


class _Yaml(yaml.SafeLoader):
    """YAML with the scalars people write: 1e-4 is a number here, a string in YAML 1.1."""

    # add_implicit_resolver copies the parents' table, but not its lists
    yaml_implicit_resolvers: ClassVar = {  # type: ignore[misc]  # the stubs call it an instance variable
        first: list(rules) for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


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
    try:
        return yaml.load(text, Loader=_Yaml)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that does not exist
        raise ConfigError(f"{origin}: not YAML: {error}", "fix the syntax") from None
