"""GLoRIA: what a word looks at, who is whose positive, and what is read from which layer."""

from typing import Any

from mutant import mutants

LOSSES, CAPTIONS = "tests/attend/test_losses.py", "tests/attend/test_captions.py"
MODEL, PROMPTS = "tests/attend/test_model.py", "tests/attend/test_prompts.py"
TEXTS = (
    "There is large left pneumothorax. There is no pleural effusion. There is no hernia.",
    "There are small pleural effusions. There is no pneumothorax. There is tortuous aorta. There is no hernia.",
    "There is no pneumothorax. There may be nodule. There is no left mass. There is right mass. "
    "There is tortuous aorta. There is no hernia.",
)


def compared() -> Any:
    """Similarities, their gradients and maps, with fewer regions than numbers and with more."""
    import torch

    from ecamp_fast.attend.losses import Sharpness, local_similarity, word_attention

    numbers: list[Any] = []
    for width in (6, 12):
        torch.manual_seed(width)
        real = torch.arange(4) < torch.tensor([[2], [4], [1]])
        regions, words = torch.randn(2, 9, width, requires_grad=True), torch.randn(3, 4, width, requires_grad=True)
        for room in (1 << 20, 40):
            found = local_similarity(regions, words, real, Sharpness(), room)
            gradients = torch.autograd.grad(found.square().sum(), (regions, words))
            numbers += [found.detach(), *gradients]
        numbers.append(word_attention(regions, words, real, Sharpness()).detach())
    return [one.double().mul(1e4).round().tolist() for one in numbers]


def laid() -> Any:
    """The sentences of three patients, drawn and not."""
    import numpy as np

    from ecamp_fast.text.packing.captions import CaptionChoice, CaptionEncoder, lay_out_captions, vocabulary_of
    from ecamp_fast.text.statements import read_statements
    from ecamp_fast.text.wordpiece import train_wordpiece

    vocabulary = vocabulary_of(train_wordpiece(TEXTS, 80))
    numbers: list[Any] = []
    for limit, choice in (
        (40, (0, False, False)),
        (40, (1, False, True)),
        (40, (1, True, False)),
        (7, (2, False, True)),
    ):
        encode, stated = CaptionEncoder(vocabulary, limit), [read_statements(text, 64) for text in TEXTS]
        for epoch in range(4):
            found = lay_out_captions(stated, np.arange(3) + 10 * epoch, encode, CaptionChoice(*choice))
            numbers += [tensor.tolist() for tensor in found.tensors().values()]
            numbers += [found.max_seqlen, found.max_words]
    return numbers


def modelled() -> Any:
    """Losses and maps of a small model on three samples."""
    import numpy as np
    import torch

    from ecamp_fast.attend.images import BatchNorm
    from ecamp_fast.attend.model import Gloria
    from ecamp_fast.batch import Batch
    from ecamp_fast.commands.knowledge.attend_train import find_recipe
    from ecamp_fast.config import load_recipe
    from ecamp_fast.text.packing.captions import CaptionChoice, CaptionEncoder, lay_out_captions, vocabulary_of
    from ecamp_fast.text.statements import read_statements
    from ecamp_fast.text.wordpiece import train_wordpiece

    sizes = ["image.high_size=64", "image.low_size=32", "gloria.image_size=64", "gloria.layers=2"]
    sizes += ["model.text={width: 16, depth: 2, heads: 2, ffn: 24, dropout: 0.0}"]
    sizes += ["gloria.local_scale=0.5", "gloria.global_scale=2.0"]
    recipe, vocabulary = load_recipe(find_recipe("phantom"), sizes), vocabulary_of(train_wordpiece(TEXTS, 80))
    stated = [read_statements(text, 64) for text in TEXTS]
    sentences = lay_out_captions(stated, np.arange(3), CaptionEncoder(vocabulary, 40), CaptionChoice(0, False, True))
    torch.manual_seed(0)
    model, nothing, numbers = (
        Gloria(recipe, vocabulary.size).eval(),
        torch.zeros(3, 2, dtype=torch.int32),
        torch.arange(3),
    )
    image = torch.randint(0, 256, (3, 1, 64, 64), dtype=torch.uint8)
    batch = Batch(image, torch.zeros(3, 28, 28), nothing, None, nothing[:, 0], numbers, numbers, sentences)
    losses, maps = model(batch), model.attention(image, sentences)
    words, real, whole = model.text(sentences)
    found = [
        losses.total,
        losses.local,
        losses.whole,
        (maps[..., 2, :] - maps[..., 5, :]).square().sum(),
        words.square().sum(),
        whole.square().sum(),
    ]
    norm = BatchNorm(3).bfloat16()
    norm(torch.randn(2, 3, 4, 4).bfloat16())
    found += [real.sum(), norm.running_mean.square().sum(), norm.eval()(torch.ones(1, 3, 1, 1).bfloat16()).sum()]
    return [round(float(one.detach()), 4) for one in found]


MUTANTS = [
    *mutants(
        "ecamp_fast/attend/losses.py",
        LOSSES,
        compared,
        {
            "the loss looks sharper than the maps": ("softmax(-1).mul_(sharpness.regions)", "softmax(-1).mul_(6.0)"),
            "maps are chosen among words alone": (".softmax(1)\n    return maps", "\n    return maps"),
            "what is no word is looked at": ("torch.where(real, 0.0, NOWHERE)", "torch.where(real, 0.0, 0.0)"),
            "words sum without their sharpness": ("(sharpness.words * answered", "(answered"),
            "lengths of words do not matter": ("sqrt() * words.float()", "sqrt() + 0 * words.float()"),
            "the gradient forgets that lengths change": ("looked * (2 * far)", "looked * far"),
            "the gradient forgets the share of other words": ("summed -= (summed", "summed -= 0 * (summed"),
            "the gradient forgets the scores": (
                "(ctx.sharpness.regions).addcmul_(weights, near)",
                "(ctx.sharpness.regions)",
            ),
            "V V' has no gradient": ("(weights * far) @ weights.mT", "0 * weights @ weights.mT"),
        },
    ),
    *mutants(
        "ecamp_fast/text/packing/captions.py",
        CAPTIONS,
        laid,
        {
            "every wordpiece is a word": ("number == 0 or not goes_on", "True"),
            "[SEP] is a word": ("*numbers.tolist(), NO_WORD]", "*numbers.tolist(), int(numbers[-1]) + 1]"),
            "a sentence is not ended": ("[: self._limit - 2]", "[: self._limit]"),
            "the same is drawn in every epoch": ("np.array([key], np.int64)", "np.array([1], np.int64)"),
            "only who drew a sentence states it": ("holding = [*own,", "holding = [*drawn[sample],"),
            "the bare sentence is not stated": ("*(holds for holds, _ in bare)]\n", "]\n"),
            "the diagonal is a shared sentence": ("if choice.diagonal:", "if False:"),
            "a sentence is its own negation": (
                "((holds, other), (other, holds))}",
                "((holds, holds), (other, other))}",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/attend/texts.py",
        MODEL,
        modelled,
        {
            "one layer is read": ("hidden_states[-self._layers :]", "hidden_states[-1:]"),
            "a sentence is its first token": ("(hidden * inside[:, :, None]).sum(1) /", "hidden[:, 0] * 1.0 /"),
            "[SEP] joins [CLS]": ("(inside & (numbers >= 0))", "inside"),
        },
    ),
    *mutants(
        "ecamp_fast/attend/model.py",
        MODEL,
        modelled,
        {
            "the local scale is left out": ("local = gloria.local_scale * pair_loss", "local = pair_loss"),
            "the global scale is left out": ("whole = gloria.global_scale * pair_loss", "whole = pair_loss"),
        },
    ),
    *mutants(
        "ecamp_fast/attend/images.py",
        MODEL,
        modelled,
        {
            "regions lie column by column": ("return found.flatten(2).mT", "return found.mT.flatten(2).mT"),
            "statistics stay where they began": ("self.running_mean.copy_(mean)", "self.running_mean.clone()"),
        },
    ),
]
