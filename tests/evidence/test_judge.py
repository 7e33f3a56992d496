"""The whole judgement on an untrained model: it is made, and it is bad."""

import pytest
import torch

from ecamp_fast.config import Recipe
from ecamp_fast.downstream.features import encode, labelled
from ecamp_fast.evidence.features import compare_features, pixels, principal
from ecamp_fast.evidence.images import compare_images, mean_image
from ecamp_fast.evidence.judge import Evidence, judge
from ecamp_fast.evidence.samples import Samples
from ecamp_fast.evidence.words import compare_words, unigram
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.shards.load.read import ShardSet


@pytest.fixture(scope="module")
def found(recipe: Recipe, phantoms: ShardSet) -> Evidence:
    torch.manual_seed(0)
    model = Ecamp(recipe, phantoms.manifest.vocab_size).eval()
    return judge(model, phantoms, poolings=(1,), encoders={"itself": model})


def test_an_untrained_model_passes_nothing(found: Evidence) -> None:
    assert found.images and found.words
    features = found.features[1]
    assert set(features.difference) == {"random weights", "pixels 16 x 16", "principal components", "itself"}
    assert features.difference["itself"].value == 0
    checks = [
        found.images.check(),
        found.images.check_with_mean(),
        found.words.check_words(),
        found.words.check_picture(),
    ]
    checks += [features.check(list(features.difference))]
    assert [check.passed for check in checks] == [False] * 5
    assert not any(features.check([name]).passed for name in features.difference)
    assert set(found.as_dict()) == {"images", "words", "features"}


def test_opponents_know_the_training_split_and_nothing_of_the_other(
    found: Evidence, model: Ecamp, recipe: Recipe, phantoms: ShardSet, val: Samples, train: Samples
) -> None:
    assert found.images and found.words
    common, other = (unigram(samples.batches, model.vocab_size) for samples in (train, val))
    nats, wrong = (compare_words(model.score_words, val, one).unigram.value for one in (common, other))
    assert found.words.unigram.value == pytest.approx(nats) and abs(nats - wrong) > 0.001
    alone = [
        compare_images(model.reconstruct, val, mean_image(samples, recipe)).opponents["mean image"].value
        for samples in (train, val)
    ]
    assert found.images.opponents["mean image"].value == pytest.approx(alone[0]) and alone[0] - alone[1] > 0.001
    known = labelled(phantoms, "val", len(val.patients))
    width = recipe.model.vision.width
    parts = {
        "pixels 16 x 16": [pixels(val.images, 16)],
        "principal components": [principal(val.images, train.images, width)],
    }
    wanted = compare_features(encode(model, val.images, 1), parts, known.labels, known.patients)
    for name in parts:
        assert found.features[1].auroc[name].value == pytest.approx(wanted.auroc[name].value, abs=1e-6)


def test_a_model_of_images_alone_is_judged_by_them(recipe: Recipe, phantoms: ShardSet) -> None:
    alone = recipe.model_copy(update={"losses": recipe.losses.model_copy(update={"mlm": False})})
    found = judge(Ecamp(alone, 1).eval(), phantoms, count=24)
    assert found.words is None and found.images is not None and found.features == {}


def test_a_model_of_words_alone_is_judged_by_them(recipe: Recipe, phantoms: ShardSet) -> None:
    losses = recipe.losses.model_copy(update={"mim": False, "sr": False})
    words = recipe.model_copy(update={"losses": losses})
    found = judge(Ecamp(words, phantoms.manifest.vocab_size).eval(), phantoms, count=24)
    assert found.images is None and found.words is not None
