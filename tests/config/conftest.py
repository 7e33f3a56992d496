from collections.abc import Callable

import pytest

from ecamp_fast.config import load_recipe
from ecamp_fast.errors import ConfigError


@pytest.fixture(scope="session")
def refused() -> Callable[..., str]:
    """(overrides, source) -> what is said of them."""

    def load(*overrides: str, source: str = "paper") -> str:
        with pytest.raises(ConfigError) as caught:
            load_recipe(source, overrides)
        assert caught.value.hint
        return str(caught.value)

    return load
