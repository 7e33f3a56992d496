"""Images against sentences: what is stated, what it is compared with, and how right prompts are answered."""

from typing import Any

from mutant import mutants

STATEMENTS, LOSS = "tests/text/test_statements.py", "tests/test_objectives.py"
MODEL, PROMPTS = "tests/model/test_align.py", "tests/downstream/test_zero_shot.py"
TEXTS = (
    "There is large left pneumothorax. There is no pleural effusion. There is no hernia.",
    "There are small pleural effusions. There is no pneumothorax. There is tortuous aorta. There is no hernia.",
    "There is no pneumothorax. There may be nodule. There is no left mass. There is right mass. There is no hernia.",
)


def stated() -> Any:
    """Who states what, with filler and without."""
    from ecamp_fast.text.packing.single_sentences import SentenceCapacity, SentenceEncoder, lay_out_sentences
    from ecamp_fast.text.statements import read_claim, read_statements
    from ecamp_fast.text.wordpiece import train_wordpiece

    encode = SentenceEncoder(train_wordpiece(TEXTS, 120), 24)
    numbers: list[Any] = [list(map(read_claim, read_statements(text, 24).sentences)) for text in TEXTS]
    for limit, room in ((24, None), (2, None), (24, SentenceCapacity(20, 200)), (24, SentenceCapacity(8, 40))):
        found = lay_out_sentences([read_statements(text, limit) for text in TEXTS], encode, room)
        numbers += [tensor.tolist() for tensor in found.tensors().values()]
        numbers += [found.max_seqlen, found.overflow]
    return numbers


def aligned() -> Any:
    """The loss of a model on three samples, and its parts."""
    from dataclasses import replace

    import torch

    from ecamp_fast.bench.data.synthetic import synthetic_batch
    from ecamp_fast.config import load_recipe
    from ecamp_fast.model.ecamp import Ecamp
    from ecamp_fast.objectives import align_loss
    from ecamp_fast.text.packing.single_sentences import SentenceCapacity, SentenceEncoder, lay_out_sentences
    from ecamp_fast.text.statements import read_statements
    from ecamp_fast.text.wordpiece import train_wordpiece

    torch.manual_seed(2)
    sizes = ["model.vision={width: 16, depth: 1, heads: 2, patch: 8}", "image.high_size=64", "image.low_size=32"]
    sizes += ["model.decoder={width: 8, depth: 1, heads: 2}", "model.text={width: 12, depth: 1, heads: 3, ffn: 20}"]
    sizes += ["text.max_tokens=24", "losses.align=true", "align={width: 8, scale: 0.7, temperature: 0.3}"]
    recipe, wordpiece = load_recipe("paper", sizes), train_wordpiece(TEXTS, 120)
    sentences = lay_out_sentences(
        [read_statements(text, 24) for text in TEXTS], SentenceEncoder(wordpiece, 24), SentenceCapacity(20, 200)
    )
    batch = replace(synthetic_batch(recipe, wordpiece.vocab_size, [20, 9, 15]), sentences=sentences)
    model = Ecamp(recipe, wordpiece.vocab_size).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    losses, (alike, parts) = model(batch), model.compare(batch.image, sentences)
    numbers = [losses.total, losses.align, alike.sum(), parts.square().sum()]
    numbers += [align_loss(torch.randn(3, 20), sentences)]
    return [round(float(number.detach()), 5) for number in numbers]


def answered() -> Any:
    """Scores of answers that a hand wrote."""
    import numpy as np

    from ecamp_fast.downstream.zero_shot import Answers, cells_in_boxes, judge

    draw = np.random.default_rng(0)
    maps, boxes = draw.normal(size=(30, 2, 2, 2)), draw.random((30, 2, 2, 2)) < 0.2
    truth = draw.integers(0, 2, (30, 2)).astype(np.float32)
    truth[::7, 0] = np.nan
    scores = [(truth + draw.normal(size=(30, 2))).round(1) for _ in range(2)]
    scores[1][:4] = scores[0][:4]
    people = [f"p{row // 2}" for row in range(30)]
    numbers: list[Any] = [judge(Answers(("a", "b"), *scores, maps, truth, boxes, people)).as_dict()]
    boxes = np.array([[30, 45, 50.5, 70], [0, 0, 9, 80]], np.float32)
    numbers.append(cells_in_boxes(boxes, [1, 0], 2, 4, 80).tolist())
    return numbers


MUTANTS = [
    *mutants(
        "ecamp_fast/text/statements.py",
        STATEMENTS,
        stated,
        {
            "what may be is stated as what is": ("there (?:is|are) (?P", "there (?:is|are|may be) (?P"),
            "denials are read as statements": ('bool(opening and opening["no"])', "False"),
            "organs are findings": ("if one.entity not in entities.organs]", "if one.entity]"),
            "what is stated and denied is denied": ("True) and claim.denied", "False) or claim.denied"),
            "both poles say the same": ("prompt(name, not no))", "prompt(name, no))"),
        },
    ),
    *mutants(
        "ecamp_fast/text/packing/single_sentences.py",
        STATEMENTS,
        stated,
        {
            "the commoner side counts for more": ("1 / counts[number] / sides", "1 / len(settled)"),
            "what all say is a choice": ("if counts[negation[number]]]", "if counts[number]]"),
            "a sentence is its own negation": ("{one: two, two: one}", "{one: one, two: two}"),
            "the bare sentence is left out": ("[*pairs, *poles]", "[*pairs]"),
            "filler is real": ("real=torch.arange(room) < count", "real=torch.arange(room) < room"),
            "sentences begin without [CLS]": ("[CLS_ID, *self._encode(sentence)]", "[*self._encode(sentence)]"),
        },
    ),
    *mutants(
        "ecamp_fast/objectives.py",
        LOSS,
        aligned,
        {
            "filler is a candidate": ("logits.masked_fill(~real, -torch.inf)", "logits.masked_fill(~real, 0.0)"),
            "the contrast goes one way": (
                "_mean_over(by_sentence, stated & told, 0)) / 2",
                "_mean_over(by_image, stated, 1)) / 2",
            ),
            "a sentence that all state is contrasted": ("stated & told, 0)", "stated, 0)"),
            "the negation is preferred": ("sentences.negation) - logits", "sentences.negation) + logits"),
            "an image counts by what it states": ("counts.clamp_min(1)\n", "counts.clamp_max(1)\n"),
        },
    ),
    *mutants(
        "ecamp_fast/model/align.py",
        MODEL,
        aligned,
        {
            "a sentence is its sum": ("means = rows.sum(1) / counts[:, None].to(rows.dtype)", "means = rows.sum(1)"),
            "the best patch is the mean patch": ("(alike / self.temperature).softmax(1)", "(alike * 0).softmax(1)"),
            "the whole picture is left out": ("(picture @ sentences.T + local) / 2", "local"),
        },
    ),
    *mutants(
        "ecamp_fast/model/fusion.py",
        MODEL,
        aligned,
        {
            "sentences pass by self-attention": (
                "self.ffn(self.norm(self.attention(embedded, layout, layout)))",
                "self.ffn(self.norm(embedded))",
            )
        },
    ),
    *mutants(
        "ecamp_fast/model/ecamp.py",
        MODEL,
        aligned,
        {
            "the scale is left out": ("recipe.align.scale * align_loss", "align_loss"),
            "the class token is a patch": ("self.align(latent[:, 1:], ", "self.align(latent, "),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/zero_shot.py",
        PROMPTS,
        answered,
        {
            "the area is of the affirmation": ("auroc((affirmed - denied)[:, None]", "auroc((affirmed)[:, None]"),
            "the plain score is the difference": ("auroc(affirmed[:, None]", "auroc((affirmed - denied)[:, None]"),
            "a tie is right": ("affirmed == denied, 0.5,", "affirmed == denied, 1.0,"),
            "the commoner answer counts for more": (
                "(_share(right[positive], counts[:, positive]) + _share(right[~positive], counts[:, ~positive])) / 2",
                "_share(right, counts)",
            ),
            "the lowest cell is pointed at": (".argmax(1)", ".argmin(1)"),
            "cells begin at their corner": ("(np.arange(grid) + 0.5) * size", "np.arange(grid) * size"),
            "rows and columns of a box are swapped": (
                "in zip(boxes, findings",
                "in zip(boxes[:, [1, 0, 3, 2]], findings",
            ),
        },
    ),
]
