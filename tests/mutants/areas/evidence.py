"""What a model has learned, against opponents that learned nothing: a judge that errs must be seen to."""

from typing import Any

from mutant import mutants


def pictures() -> Any:
    import torch

    from ecamp_fast.evidence.images import ImageEvidence, blur, interpolate, masked_error, pixel_mask
    from ecamp_fast.scores import Estimate

    generator = torch.Generator().manual_seed(3)
    low, mask = torch.randn(2, 1, 16, 16, generator=generator), torch.rand(2, 16, generator=generator) < 0.5
    hidden = pixel_mask(mask, 16)[:, None]
    drawn = [blur(low, hidden, 0.5, mask), interpolate(low, hidden, mask)]
    one = Estimate(1.0, -0.5, 2.0)
    found = ImageEvidence(one, {"blur": one}, one, one)
    claim = found.check().passed, found.check_with_mean().passed
    return [picture.double().sum().item() for picture in drawn], masked_error(drawn[0], low, hidden).tolist(), claim


def compared() -> Any:
    """Two samples and a model that draws a third of the truth; a decoder that reads the picture, and its words."""
    from types import SimpleNamespace

    import torch

    from ecamp_fast.batch import Batch, Text
    from ecamp_fast.evidence.images import compare_images
    from ecamp_fast.evidence.samples import Samples, next_other
    from ecamp_fast.evidence.words import compare_words, unigram
    from ecamp_fast.model.ecamp import WordScores
    from ecamp_fast.text.codes import Mark, pack

    generator = torch.Generator().manual_seed(3)
    codes = torch.arange(10, 18) | (torch.tensor([0, 4, 8, 0, 4, 0, 0, 8]) << 20)
    assert pack(10, int(Mark.ENTITY)) == int(codes[1]) - 1
    rows, predicted = torch.tensor([1, 2, 3, 5, 6, 7]), torch.tensor([0, 3, 6])
    labels, weights = torch.tensor([1, 2, 2, 2, 4, 5]), torch.tensor([1.0, 0.05, 2.0, 1.0, 1.0, 1.0])
    text = Text(codes, torch.full((8,), 3), rows, labels, weights, torch.tensor([0, 4, 8]), predicted.int(), 4)
    image = torch.randint(0, 255, (2, 1, 16, 16), generator=generator, dtype=torch.uint8)
    none = torch.zeros(2)
    batch = Batch(image, none, none, text, torch.tensor([4, 4]), torch.tensor([5, 6]), torch.tensor([0, 1]))
    samples = Samples([batch], ["a", "b"])

    def score(one: Batch) -> WordScores:
        light = one.image.double().mean((1, 2, 3)).repeat_interleave(3) / 100
        return WordScores(torch.arange(6), light + torch.arange(6) / 7, torch.arange(6) % 2 == 0)

    def reconstruct(one: Batch) -> Any:
        mask = torch.rand(2, 16, generator=torch.Generator().manual_seed(3)) < 0.5
        low = one.image.float() / 255
        return SimpleNamespace(low=low, mask=mask, prediction=low / 3)

    found = compare_images(reconstruct, samples, torch.rand(1, 1, 16, 16, generator=generator)).as_dict()
    words = compare_words(score, samples, unigram([batch], 6)).as_dict()
    return found, words, next_other(["a", "a", "b", "a"])


def judged() -> Any:
    """The judgement of an untrained model."""
    import tempfile
    from pathlib import Path

    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.evidence.judge import judge
    from ecamp_fast.model.ecamp import Ecamp
    from ecamp_fast.shards.builder.build import Options, build_phantoms
    from ecamp_fast.shards.load.read import ShardSet

    widths = [f"model.{part}.{name}" for part in ("vision", "decoder") for name in ("width=24", "depth=1")]
    recipe = load_recipe("worth", [*widths, "model.text.width=32", "model.text.depth=1", "batch.micro=8"])
    with tempfile.TemporaryDirectory() as folder:
        build_phantoms(60, Path(folder) / "set", size=146, options=Options(holdout=0.3))
        shards = ShardSet(Path(folder) / "set")
        torch.manual_seed(0)
        return judge(Ecamp(recipe, shards.manifest.vocab_size).eval(), shards, poolings=(1,)).as_dict()


def probed() -> Any:
    import torch

    from ecamp_fast.evidence.features import FeatureEvidence, compare_features, pixels, principal
    from ecamp_fast.scores import Estimate

    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 255, (12, 1, 64, 64), generator=generator, dtype=torch.uint8)
    hidden = torch.randn(60, 3, generator=generator)
    labels = hidden + torch.randn(60, 3, generator=generator) > 0.5
    opponents = {"x": [hidden[:, 1:], hidden[:, :1]], "y": [hidden[:, 2:]]}
    found = compare_features(hidden, opponents, labels, [f"p{i // 2}" for i in range(60)]).as_dict()
    sure, unsure = Estimate(0.1, 0.05, 0.2), Estimate(0.1, -0.05, 0.2)
    one = FeatureEvidence(1, {"trained": sure, "x": sure, "y": sure}, {"x": sure, "y": unsure})
    claims = [one.check(["x"]).passed, one.check(["x", "y"]).passed, one.check(["x"], 0.5).passed]
    return found, claims, pixels(images, 2)[0].tolist(), principal(images, images[:9], 3).abs().sum().item()


EVIDENCE = "ecamp_fast/evidence"
HOME = "tests/evidence"

MUTANTS = [
    *mutants(
        f"{EVIDENCE}/images.py",
        f"{HOME}/test_images.py",
        pictures,
        {
            "any difference counts, sure or not": ("told(better), better.positive)", "told(better), better.value > 0)"),
            "the blur smears hidden pixels too": (
                "light, share = smear(low.float() * seen)",
                "light, share = smear(low.float())",
            ),
            "the blur does not divide by what was seen": ("light / share.clamp_min(1e-6)", "light"),
            "an interpolation changes what is seen": (
                "picture = torch.where(hidden, neighbours, known)",
                "picture = neighbours",
            ),
            "an interpolation knows what is hidden": (
                "picture = torch.where(hidden, blur(low, hidden, 0.5, mask), known)",
                "picture = known",
            ),
            "the error is of all pixels": ("hidden.sum((1, 2, 3))\n", "prediction[0].numel()\n"),
        },
    ),
    *mutants(
        f"{EVIDENCE}/images.py",
        f"{HOME}/test_images.py",
        compared,
        {
            "the worst opponent is the one to beat": ("best = np.min([*means", "best = np.max([*means"),
            "the worst blur is the one to beat": ("best_of_one = np.min(", "best_of_one = np.max("),
            "the mean image does not count": ('drawn = {"mean image": mean.expand_as(low)}', "drawn = {}"),
            "an interpolation does not add to the mean image": (
                "base + interpolate(rest, hidden, mask)",
                "interpolate(low, hidden, mask)",
            ),
            "a blur does not add to the mean image": (
                "base + blur(rest, hidden, width, mask)",
                "blur(low, hidden, width, mask)",
            ),
            "the mean image does not count beside those around it": (
                "if not name.startswith(WITH_MEAN)], axis=0)",
                "if name.startswith(WITH_MEAN)], axis=0)",
            ),
        },
    ),
    *mutants(
        f"{EVIDENCE}/judge.py",
        f"{HOME}/test_judge.py",
        judged,
        {
            "the unigram is that of the samples it is judged on": (
                "unigram(training.batches,",
                "unigram(first.batches,",
            ),
            "the mean image is that of the samples judged": ("mean_image(training,", "mean_image(first,"),
            "components are those of the samples judged": (
                "samples.images, training.images, pooling)",
                "samples.images, samples.images, pooling)",
            ),
            "features are told from labels of others": ('labelled(shards, "val",', 'labelled(shards, "train",'),
        },
    ),
    *mutants(
        f"{EVIDENCE}/samples.py",
        f"{HOME}/test_samples.py",
        compared,
        {
            "a patient stands in for itself": ("patients[(index + step) % count] != patient", "True"),
            "swapped pictures are the own": ("image=images[own]", "image=batch.image"),
        },
    ),
    *mutants(
        f"{EVIDENCE}/words.py",
        f"{HOME}/test_words.py",
        compared,
        {
            "the unigram is weighted alike": (
                "torch.ones_like(text.weights), text.weights",
                "text.weights, text.weights",
            ),
            "the own picture costs": ('other["nats"] - nats', 'nats - other["nats"]'),
            "findings are all words": ('worth * own["finding"]', "worth"),
            "findings are entities alone": ("Mark.ENTITY | Mark.DESCRIPTOR", "Mark.ENTITY"),
            "swapped by no weight": ("swapped=estimate(mean(extra, worth))", "swapped=estimate(mean(extra, alike))"),
            "tokens go to the next patient": ("right=True)", "right=False)"),
        },
    ),
    *mutants(
        f"{EVIDENCE}/features.py",
        f"{HOME}/test_features.py",
        probed,
        {
            "one opponent beaten is enough": ("and all(self.difference", "and any(self.difference"),
            "what is needed is not": ("best.value >= least and all", "all"),
            "a difference is of the means alone": (
                ".positive for name in opponents",
                ".value > 0 for name in opponents",
            ),
            "of several opponents the last counts": (
                "np.mean([one.auroc(weights) for one in found], axis=0)",
                "found[-1].auroc(weights)",
            ),
            "components of pixels that are not centred": ("    fitted = fitted - mean\n", ""),
        },
    ),
]
