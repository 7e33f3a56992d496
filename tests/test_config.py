"""Recipes: what is shipped loads; what cannot be meant is refused, all at once, with the key and the nearest one."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ecamp_fast import config
from ecamp_fast.config import Recipe, dump_recipe, load_recipe, parse_recipe, parse_yaml, recipe_names
from ecamp_fast.errors import ConfigError


def refused(*overrides: str, source: str = "paper") -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe(source, overrides)
    assert caught.value.hint
    return str(caught.value)


def test_the_shipped_recipes() -> None:
    assert recipe_names() == ["demo", "large", "mae", "official", "paper", "paper_8layer", "paper_literal"]


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_survives_being_written_down(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(parse_yaml(dump_recipe(recipe), "copy"), "copy") == recipe


def test_the_default_is_the_recipe_paper() -> None:
    assert load_recipe("paper") == Recipe()


def test_paper_has_the_papers_numbers() -> None:
    recipe = load_recipe("paper")
    assert (recipe.image.high_size, recipe.image.low_size, recipe.model.vision.patch) == (448, 224, 16)
    assert (recipe.patches, recipe.kept_patches) == (196, 49)
    assert (recipe.batch.total, recipe.optim.lr, recipe.optim.weight_decay) == (8192, 1.5e-4, 0.05)
    assert (recipe.rebalance, recipe.lambda_neg, recipe.masking.descriptors) == ("eq3", 0.05, "always")


def test_official_pads_text_and_paper_packs_it() -> None:
    assert load_recipe("official").padded_text
    assert not load_recipe("paper").padded_text


def test_a_file_of_the_user(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("optim: {lr: 3e-4}\nrebalance: off\n")
    recipe = load_recipe(path, ["model.vision.depth=8"])
    assert (recipe.name, recipe.optim.lr, recipe.rebalance, recipe.model.vision.depth) == ("mine", 3e-4, "off", 8)


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


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("optim.lrr=1e-4", "optim.lr"),
        ("lr=1e-4", "optim.lr"),
        ("optim.depth=4", "model.vision.depth"),
        ("lambda=0.1", "lambda_neg"),
        ("masking.image_ration=0.5", "masking.image_ratio"),
        ("batch.micros=4", "batch.micro"),
    ],
)
def test_an_unknown_key_names_the_nearest(override: str, nearest: str) -> None:
    message = refused(override)
    assert f"unknown key '{override.partition('=')[0]}'" in message
    assert f"did you mean '{nearest}'?" in message


def test_an_unknown_recipe_names_the_nearest() -> None:
    assert "did you mean 'paper'?" in refused(source="papr")


def test_all_faults_are_named_at_once() -> None:
    message = refused("optim.lrr=1", "batch.total=-3", "sr.guidance=hard", "model.vision.depth=2.5")
    for key in ("optim.lrr", "batch.total", "sr.guidance", "model.vision.depth"):
        assert key in message


@pytest.mark.parametrize(
    "override",
    [
        "model.vision.depth=2.5",
        "model.vision.depth=true",
        "model.vision.depth='8'",
        "model.vision.depth=null",
        "optim.lr=fast",
        "optim.lr=-1e-4",
        "optim.lr=.nan",
        "optim.lr=.inf",
        "seed=-1",
        "seed=9223372036854775808",
        "losses.mim=1",
        "losses.mim=off",
        "image.crop_area=[0.2]",
        "image.crop_area=0.2",
        "optim.betas=[0.9, 0.95, 0.99]",
        "masking.image_ratio=1.0",
        "model=vit_base",
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_key(override: str) -> None:
    assert override.partition("=")[0] in refused(override)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.vision.width=100", "model.vision.heads=12"], "not a multiple of heads"),
        (["image.low_size=100"], "not a multiple of model.vision.patch"),
        (["image.low_size=112"], "twice"),
        (["batch.micro=300"], "not a multiple of batch.micro"),
        (["fusion.use_global=false", "fusion.use_local=false"], "cannot both be false"),
        (["losses.norm_pix=true"], "norm_pix needs sr: false"),
        (["losses.mim=false", "losses.sr=false", "losses.mlm=false"], "every term is off"),
        (["schedule.warmup_epochs=200"], "below horizon_epochs"),
        (["masking.image_ratio=0.999"], "leaves no patch kept"),
    ],
)
def test_settings_that_contradict_each_other(overrides: list[str], words: str) -> None:
    assert words in refused(*overrides)


@pytest.mark.parametrize("override", ["optim.lr", "=3", "", "optim.lr.deep=3", "optim.lr=[", "optim.lr={a: 1, a: 2}"])
def test_an_override_that_is_none(override: str) -> None:
    assert refused(override)


@pytest.mark.parametrize(
    "text",
    [
        "optim: {lr: 1}\noptim: {lr: 2}",  # a key twice
        "optim: {lr: 1, lr: 2}",
        "- a\n- b",  # no mapping
        "just words",
        "a: [1, 2",  # not YAML
        "a: 2001-99-99",
        "[" * 1500,
        "1: 2",
        "? [a, b]\n: 1",  # a key that is a list
        "!!python/object/apply:os.getcwd []",
        "a: !!python/name:os.system",
    ],
)
def test_a_file_that_is_no_recipe(text: str, tmp_path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    refused(source=str(path))


def test_a_key_twice_names_its_line() -> None:
    with pytest.raises(ConfigError, match=r"line 3.*'seed'"):
        parse_yaml("seed: 1\nname: a\nseed: 2\n", "x")


def test_the_loader_constructs_plain_values_only() -> None:
    assert issubclass(config._Yaml, yaml.SafeLoader)


def test_a_resumed_run_may_change_watching_and_storing_and_nothing_else() -> None:
    base = load_recipe("demo")
    for override in (
        "log_every=50",
        "checkpoint.keep=5",
        "evaluation.samples=9",
        "loader.threads=8",
        "loader.cache_gb=7",
        "schedule.epochs=3",
    ):
        assert load_recipe("demo", [override]).digest == base.digest, override
    for override in (
        "seed=7",
        "optim.lr=1e-5",
        "batch.total=128",
        "schedule.horizon_epochs=30",
        "lambda_neg=0.5",
        "loader.shuffle=900",
    ):
        assert load_recipe("demo", [override]).digest != base.digest, override


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_a_fault_with_a_name(text: str) -> None:
    try:
        parse_recipe(parse_yaml(text, "x"), "x")
    except ConfigError as error:
        assert error.hint
