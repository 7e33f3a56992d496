"""What belongs together in a recipe, and what follows from it."""

from collections.abc import Callable

import pytest

from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import ConfigError

PAPER = load_recipe("paper")


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
        (["schedule.epochs=201"], "epochs 201 is beyond horizon_epochs 200, from where the learning rate is 0"),
        (["masking.image_ratio=0.999"], "leaves no patch kept"),
    ],
)
def test_settings_that_contradict_each_other(refused: Callable[..., str], overrides: list[str], words: str) -> None:
    assert words in refused(*overrides)


def test_a_resumed_run_may_change_watching_and_storing_and_nothing_else() -> None:
    base = load_recipe("demo")
    for override in (
        "log_every=50",
        "checkpoint.keep=5",
        "evaluation.samples=9",
        "loader.threads=8",
        "loader.cache_gb=7",
        "schedule.epochs=3",
        "batch.micro=8",
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


def test_a_key_that_is_new_makes_no_other_recipe() -> None:
    """A run from before the key was there goes on; one that sets it is another run."""

    class Later(Recipe):
        novelty: int = 3

    assert Later().digest == Recipe().digest != Later(novelty=4).digest
    assert Later(lambda_neg=0.5).digest == Recipe(lambda_neg=0.5).digest != Recipe().digest


def test_accumulation_follows_from_the_ranks() -> None:
    assert [PAPER.accumulation(world) for world in (1, 2, 4, 8, 32)] == [32, 16, 8, 4, 1]
    with pytest.raises(ConfigError, match="3 ranks") as caught:
        PAPER.accumulation(3)
    assert "multiple of 3" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        PAPER.accumulation(64)
    assert caught.value.hint == "--set batch.micro=128"


def test_a_micro_batch_that_is_to_be_chosen_is_no_number() -> None:
    recipe = load_recipe("paper", ["batch.micro=auto"])
    for ask in (lambda: recipe.micro, lambda: recipe.accumulation(1)):
        with pytest.raises(ConfigError, match=r"batch\.micro is auto"):
            ask()
    assert recipe.with_micro(256).micro == 256 and recipe.with_micro(256) == PAPER
