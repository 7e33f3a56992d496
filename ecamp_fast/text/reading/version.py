"""Which rules a report was read by: a digest of their tables and of the version of their code.

Shards hold what the rules found as marks. A set that others read cannot be continued, merged or repaired with these,
and trains on what they found; so its manifest names them.
"""

import hashlib
import json
import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from ecamp_fast.text.reading.entities import EntityList

RULES_VERSION = 4  # raised with any change of code in this folder that reads some text differently

# All that stand beside this one: what reads a report cannot be forgotten.
_NAMES = sorted({module.name for module in iter_modules([str(Path(__file__).parent)])} - {"version"})
_MODULES = tuple(import_module(f"{__package__}.{name}") for name in _NAMES)


def rules_tables(module: ModuleType) -> dict[str, Any]:
    """The constants of a module by name, as JSON holds them: patterns with their flags, sets in order.

    A list of entities is built from tables, and is none.
    """
    names = [name for name in vars(module) if name.isupper() or (name[:1] == "_" and name[1:].isupper())]
    tables = {name: vars(module)[name] for name in names if not isinstance(vars(module)[name], EntityList)}
    return {name: _plain(value) for name, value in sorted(tables.items())}


def _plain(value: Any) -> Any:
    if isinstance(value, re.Pattern):
        return [value.pattern, int(value.flags)]
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str | int | float):
        return value
    raise TypeError(f"{value!r} is no table")


def _digest() -> str:
    tables = {module.__name__: rules_tables(module) for module in _MODULES}
    return hashlib.sha256(json.dumps([RULES_VERSION, tables], sort_keys=True).encode()).hexdigest()


RULES_DIGEST = _digest()
