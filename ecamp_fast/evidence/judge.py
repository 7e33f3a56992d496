"""All that is measured on a trained model, in one pass over the held-out samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ecamp_fast.downstream.features import encode, labelled
from ecamp_fast.downstream.threads import threads_for
from ecamp_fast.evidence.features import FeatureEvidence, compare_features, without_learning
from ecamp_fast.evidence.images import ImageEvidence, compare_images, mean_image
from ecamp_fast.evidence.samples import Samples, held_out
from ecamp_fast.evidence.words import WordEvidence, compare_words, unigram
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.shards.load.read import ShardSet

FITTED = 2000  # training samples, at most, of which the opponents take what they need


@dataclass(frozen=True)
class Evidence:
    """What was measured; None where the recipe has no such term, features by pooling."""

    images: ImageEvidence | None
    words: WordEvidence | None
    features: dict[int, FeatureEvidence]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "images": self.images.as_dict() if self.images else None,
            "words": self.words.as_dict() if self.words else None,
            "features": [one.as_dict() for one in self.features.values()],
        }


def judge(
    model: Ecamp,
    shards: ShardSet,
    count: int | None = None,
    poolings: Sequence[int] = (),
    encoders: Mapping[str, Ecamp] | None = None,
) -> Evidence:
    """Measure a model, in evaluation mode, on the split ``val``: features on all of it.

    count     samples, at most, for images and words; None: all
    poolings  for which features are probed (see ``Ecamp.features``)
    encoders  trained otherwise, opponents by name
    """
    device = next(model.parameters()).device
    with threads_for(model.recipe.model.vision.width, device):
        samples = held_out(shards, "val", model.recipe, None if poolings else count, device)
        training = held_out(shards, "train", model.recipe, FITTED, device)
        images = words = None
        first = samples.first(count)
        if model.decoder:
            images = compare_images(model.reconstruct, first, mean_image(training, model.recipe))
        if model.text:
            words = compare_words(model.score_words, first, unigram(training.batches, model.vocab_size))
        found = {pooling: _probe(model, shards, samples, training, pooling, encoders or {}) for pooling in poolings}
    return Evidence(images, words, found)


def _probe(
    model: Ecamp, shards: ShardSet, samples: Samples, training: Samples, pooling: int, encoders: Mapping[str, Ecamp]
) -> FeatureEvidence:
    known = labelled(shards, "val", len(samples.patients))
    images, others = samples.images, without_learning(model, samples.images, training.images, pooling)
    others |= {name: [encode(one, images, pooling)] for name, one in encoders.items()}
    return compare_features(encode(model, images, pooling), others, known.labels, known.patients, pooling)
