"""The whole judgement on an untrained model: it is made, and it is bad."""

from ecamp_fast.config import Recipe
from ecamp_fast.evidence.judge import judge
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.shards.load.read import ShardSet


def test_an_untrained_model_passes_nothing(model: Ecamp, phantoms: ShardSet) -> None:
    found = judge(model, phantoms, poolings=(1,), encoders={"itself": model})
    features = found.features[1]
    assert set(features.difference) == {"random weights", "pixels 16 x 16", "principal components", "itself"}
    assert features.difference["itself"].value == 0
    checks = [found.images.check(), found.words.check_words(), found.words.check_picture()]
    checks += [features.check(list(features.difference))]
    assert [check.passed for check in checks] == [False] * 4
    assert set(found.as_dict()) == {"images", "words", "features"}


def test_a_model_of_images_alone_is_judged_by_them(recipe: Recipe, phantoms: ShardSet) -> None:
    alone = recipe.model_copy(update={"losses": recipe.losses.model_copy(update={"mlm": False})})
    found = judge(Ecamp(alone, 1).eval(), phantoms, count=24)
    assert found.words is None and found.images is not None and found.features == {}


def test_a_model_of_words_alone_is_judged_by_them(recipe: Recipe, phantoms: ShardSet) -> None:
    losses = recipe.losses.model_copy(update={"mim": False, "sr": False})
    words = recipe.model_copy(update={"losses": losses})
    found = judge(Ecamp(words, phantoms.manifest.vocab_size).eval(), phantoms, count=24)
    assert found.images is None and found.words is not None
