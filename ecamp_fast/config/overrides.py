"""One key of a recipe changed from the command line: ``--set model.vision.depth=8``."""

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
