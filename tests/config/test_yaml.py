"""YAML as people write it."""

import pytest
import yaml

from ecamp_fast.config import load_recipe, parse_yaml
from ecamp_fast.config.yaml import _Yaml
from ecamp_fast.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "meant"),
    [("1e-4", 1e-4), ("1.5E-4", 1.5e-4), (".5", 0.5), ("1", 1.0), ("1.", 1.0), ("2e3", 2000.0)],
)
def test_numbers_as_people_write_them(written: str, meant: float) -> None:
    lr = load_recipe("paper", [f"optim.lr={written}"]).optim.lr
    assert type(lr) is float
    assert lr == meant


@pytest.mark.parametrize("word", ["off", "on", "yes", "no", "Off", "NO"])
def test_words_that_yaml_takes_for_booleans_stay_words(word: str) -> None:
    assert parse_yaml(f"rebalance: {word}", "x") == {"rebalance": word}


@pytest.mark.parametrize(("written", "meant"), [("true", True), ("false", False), ("null", None), ("42", 42)])
def test_other_scalars(written: str, meant: object) -> None:
    value = parse_yaml(f"key: {written}", "x")["key"]
    assert value == meant
    assert type(value) is type(meant)


def test_a_key_twice_names_its_line() -> None:
    with pytest.raises(ConfigError, match=r"line 3.*'seed'"):
        parse_yaml("seed: 1\nname: a\nseed: 2\n", "x")


def test_the_loader_constructs_plain_values_only() -> None:
    assert issubclass(_Yaml, yaml.SafeLoader)
