"""One key of a recipe changed from the command line: ``--set model.vision.depth=8``."""

from collections.abc import Sequence
from typing import Any

from ecamp_fast.config.yaml import parse_value
from ecamp_fast.errors import ConfigError


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set ``KEY=VALUE`` in a nested dict of recipe keys, in place.  Raises ConfigError where it is none."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: no '='", "write --set model.vision.depth=8")
    *parents, leaf = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {override}: '{parent}' is a value, not a section", "shorten the key")
    tree[leaf] = parse_value(value, f"--set {override}")


def require_distinct(overrides: Sequence[str]) -> None:
    """Raises ConfigError where a key is set twice, as a file that has it twice does."""
    first: dict[str, str] = {}
    for override in overrides:
        key = override.partition("=")[0]
        if key in first:
            raise ConfigError(f"--set {first[key]} and --set {override}: key '{key}' is set twice", "keep one of them")
        first[key] = override
