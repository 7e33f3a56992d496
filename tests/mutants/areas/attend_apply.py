"""Maps of a GLoRIA: what is asked about an image, which words look, and what is made of the maps."""

from typing import Any

from mutant import mutants

MAPS, APPLY = "tests/attend/test_maps.py", "tests/attend/test_apply.py"
TEXTS = (
    "There is large left pneumothorax. There is no pleural effusion. There is normal aorta.",
    "There is left mass. There may be nodule. There is tortuous aorta. There is right mass.",
)


def asked() -> Any:
    """The questions of some texts."""
    from ecamp_fast.attend.questions import Questions
    from ecamp_fast.text.packing.captions import CaptionEncoder, vocabulary_of
    from ecamp_fast.text.reading.entities import DEFAULT
    from ecamp_fast.text.wordpiece import train_wordpiece

    encode = CaptionEncoder(vocabulary_of(train_wordpiece(TEXTS, 80)), 40)
    return [
        Questions(encode, DEFAULT, form, words)(text)
        for form in ("bare", "own")
        for words in ("all", "entity")
        for text in TEXTS
    ]


def looked() -> Any:
    """Maps of two images, theirs together, over the whole, and windows."""
    import numpy as np
    import torch

    from ecamp_fast.attend.maps import VALUES, combine, entity_maps, in_levels, over_whole, window_labels
    from ecamp_fast.attend.model import Gloria
    from ecamp_fast.attend.questions import Question
    from ecamp_fast.commands.knowledge.attend_train import find_recipe
    from ecamp_fast.config import load_recipe
    from ecamp_fast.text.packing.captions import CaptionEncoder, vocabulary_of
    from ecamp_fast.text.wordpiece import train_wordpiece

    sizes = ["image.high_size=64", "image.low_size=32", "gloria.image_size=64"]
    sizes += ["model.text={width: 16, depth: 2, heads: 2, ffn: 24, dropout: 0.0}"]
    vocabulary = vocabulary_of(train_wordpiece(TEXTS, 80))
    torch.manual_seed(0)
    model = Gloria(load_recipe(find_recipe("phantom"), sizes), vocabulary.size).eval()
    images = torch.randint(0, 256, (3, 1, 64, 64), dtype=torch.uint8)
    two = [Question("mass", "There is left mass.", 1, 5), Question("mass", "There is right mass.", 4, 5)]
    questions = [two, [], [Question("nodule", "There may be nodule.", 4, 5)]]
    both = [entity_maps(model, images, questions, CaptionEncoder(vocabulary, 40), one) for one in VALUES]
    found = [one for part in both for one in part]
    values = np.random.default_rng(0).random((2, 6, 6))
    whole = [over_whole(values[0], *size) for size in ((90, 90), (60, 100), (150, 90))]
    numbers = [np.rint(1e6 * one[name]) for one in found for name in one]
    numbers += [np.rint(1e6 * combine(list(values), how)) for how in ("max", "mean")]
    numbers += [np.rint(1e6 * one) for one in whole] + [in_levels(values)]
    numbers += [window_labels([in_levels(whole[1])], np.array([60]), np.array([100]))]
    return [[list(one) for one in found], *(one.tolist() for one in numbers)]


def applied() -> Any:
    """What lies in a folder of maps."""
    import hashlib
    import tempfile
    from pathlib import Path

    import torch

    from ecamp_fast.attend.apply import Choices, apply
    from ecamp_fast.attend.model import Gloria
    from ecamp_fast.commands.knowledge.attend_train import find_recipe
    from ecamp_fast.config import load_recipe
    from ecamp_fast.shards.builder.build import build_phantoms
    from ecamp_fast.shards.load.captions import caption_encoder
    from ecamp_fast.shards.load.read import ShardSet

    sizes = ["image.high_size=64", "image.low_size=32", "gloria.image_size=64"]
    sizes += ["model.text={width: 16, depth: 2, heads: 2, ffn: 24, dropout: 0.0}"]
    recipe = load_recipe(find_recipe("phantom"), sizes)
    with tempfile.TemporaryDirectory() as folder:
        build_phantoms(12, Path(folder) / "set", size=72)
        shards = ShardSet(Path(folder) / "set")
        encode = caption_encoder(recipe, shards.wordpiece_path)
        torch.manual_seed(0)
        model = Gloria(recipe, encode.vocabulary.size).eval()
        out = Path(folder) / "maps"
        one, again = (apply(model, shards, out, encode, Choices()) for _ in range(2))
        told = [one.samples, one.mapped, one.maps, one.resumed, again.resumed]
        return [*told, {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}]


MUTANTS = [
    *mutants(
        "ecamp_fast/attend/questions.py",
        MAPS,
        asked,
        {
            "what is denied is asked for": ("if not one.denied]", "]"),
            "a normal organ is asked for": ("if findings or _is_normal(sentence):", "if findings:"),
            "an organ has a bare sentence": ("if self._bare and name not in self._entities.organs:", "if self._bare:"),
            "the full stop is a word": ("self._count(sentence.rstrip(_ENDS)) + 1", "self._count(sentence) + 1"),
            "[CLS] looks too": ("first, stop = 1, self._count", "first, stop = 0, self._count"),
            "the word before the noun looks": (
                "self._count(sentence[: mention.start]) + 1",
                "self._count(sentence[: mention.start])",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/attend/maps.py",
        MAPS,
        looked,
        {
            "every image is the first": ("look(regions[place],", "look(regions[0],"),
            "what speaks against it counts": ("mean(0)).clamp_min(0)", "mean(0))"),
            "the last of several sentences counts": (
                "one if earlier is None else np.maximum(earlier, one)",
                "one",
            ),
            "a mean of maps as they are": ("np.where(high > low, high - low, 1)", "1"),
            "the square lies at the edge": ("(height, top), (width, left)", "(height, 0), (width, 0)"),
            "centres of cells are their edges": ("* grid / side - 0.5", "* grid / side"),
            "all maps have one maximum": ("values.max((-2, -1), keepdims=True)", "values.max(keepdims=True)"),
            "windows of the whole image": (
                "whole_boxes(heights, widths), np.zeros",
                "np.stack((0 * heights, 0 * widths, heights, widths), 1), np.zeros",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/attend/apply.py",
        APPLY,
        applied,
        {
            "maps of another row": ("own = (batch.samples - first).tolist()", "own = batch.samples.tolist()[::-1]"),
            "a second run begins anew": ("held = read_maps(out / name_of(shard), shard.keys)", "held = None"),
        },
    ),
]
