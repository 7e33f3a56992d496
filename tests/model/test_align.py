"""Pictures against sentences: by a loop, without what it is not for, and without a trace where it is off."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.functional import cosine_similarity

from ecamp_fast.batch import Batch, Sentences
from ecamp_fast.bench.data.synthetic import synthetic_batch
from ecamp_fast.config import Recipe, load_recipe
from ecamp_fast.errors import ConfigError
from ecamp_fast.model.compile import compile_blocks
from ecamp_fast.model.ecamp import Ecamp, image_tokens
from ecamp_fast.model.sequences import SequenceLayout
from ecamp_fast.objectives import align_loss
from ecamp_fast.text.packing.single_sentences import SentenceCapacity, SentenceEncoder, lay_out_sentences
from ecamp_fast.text.statements import read_statements
from ecamp_fast.text.wordpiece import Wordpiece, train_wordpiece

TEXTS = [
    "There is large left pneumothorax. There is no pleural effusion.",
    "There are small pleural effusions. There is no pneumothorax. There is tortuous aorta.",
    "There is no pneumothorax. There may be nodule.",
]
ROOM = SentenceCapacity(16, 160)
LENGTHS = [20, 9, 15]


@pytest.fixture(scope="module")
def wordpiece() -> Wordpiece:
    return train_wordpiece(TEXTS, 120)


@pytest.fixture
def sentences_of(wordpiece: Wordpiece) -> Any:
    def lay_out(texts: list[str], room: SentenceCapacity | None = None) -> Sentences:
        return lay_out_sentences([read_statements(text, 24) for text in texts], SentenceEncoder(wordpiece, 24), room)

    return lay_out


@pytest.fixture
def setup(small: Any, wordpiece: Wordpiece, sentences_of: Any) -> Any:
    """(overrides) -> model with losses.align, a batch with sentences."""

    def build(*overrides: str, room: SentenceCapacity | None = None) -> tuple[Ecamp, Batch]:
        recipe: Recipe = small("paper", "losses.align=true", "align.width=8", *overrides)
        batch = synthetic_batch(recipe, wordpiece.vocab_size, LENGTHS)
        return Ecamp(recipe, wordpiece.vocab_size), replace(batch, sentences=sentences_of(TEXTS, room))

    return build


def test_it_needs_the_text_side() -> None:
    with pytest.raises(ConfigError, match="align needs mlm"):
        load_recipe("paper", ["losses.align=true", "losses.mlm=false"])


def test_similarity_is_the_loop_over_pictures_sentences_and_patches(setup: Any) -> None:
    model, batch = setup("align.temperature=0.3")
    with torch.no_grad():
        for part in (model.align.picture, model.align.patch, model.align.sentence):
            part.bias.normal_()
    view = model.view(batch)
    patches, aligner, found = model.encoder(view.low, view.keep)[:, 1:], model.align, batch.sentences
    sentences = aligner.sentences(model.text, found)
    alike = aligner(patches, sentences)
    assert alike.shape == (3, len(found.real)) and alike.dtype == torch.float32
    for picture in range(3):
        for number in range(len(found.real)):
            ids = found.ids[found.cu_seqlens[number] : found.cu_seqlens[number + 1]]
            rows = model.text.alone(ids, SequenceLayout.equal(1, len(ids)))  # the sentence by itself
            sentence = aligner.sentence(rows.mean(0))
            whole = cosine_similarity(aligner.picture(patches[picture].mean(0)), sentence, dim=0)
            parts = [cosine_similarity(aligner.patch(patch), sentence, dim=0) for patch in patches[picture]]
            shares = torch.stack([part / 0.3 for part in parts]).exp()
            local = sum(share * part for share, part in zip(shares, parts, strict=True)) / shares.sum()
            torch.testing.assert_close(alike[picture, number], (whole + local) / 2, rtol=0, atol=1e-5)


def test_a_sentence_without_a_picture_is_fusion_with_nothing_to_add(setup: Any) -> None:
    """Behind zeroed projections of the picture the decoder says the same."""
    model, _ = setup()
    decoder, layout, ids = model.text, SequenceLayout.equal(1, 5), torch.arange(5, 10)
    alone = decoder.alone(ids, layout)
    with torch.no_grad():
        for part in (decoder.fusion.out.weight, decoder.fusion.out.bias):
            part.zero_()
    torch.testing.assert_close(decoder(ids, torch.randn(1, 5, 16), layout, layout), alone)


def test_filler_changes_nothing(setup: Any, sentences_of: Any) -> None:
    model, batch = setup()
    model.double()
    fixed = replace(batch, sentences=sentences_of(TEXTS, ROOM))
    assert len(fixed.sentences.ids) == ROOM.rows and len(fixed.sentences.real) == ROOM.sentences
    gradients = []
    for one in (batch, fixed):
        model.zero_grad()
        view = model.view(one)
        losses = model.losses(replace(view, low=view.low.double()))
        losses.align.backward()
        gradients.append(
            {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None} | {"": losses.align}
        )
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_every_parameter_is_trained_and_the_total_is_the_sum(setup: Any) -> None:
    model, batch = setup("align.scale=0.5")
    losses = model(batch)
    torch.testing.assert_close(losses.total, losses.mim + losses.sr + losses.mlm + losses.align)
    losses.total.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    assert {name.split(".")[0] for name, _ in model.named_parameters()} > {"align", "text", "encoder"}
    view = model.view(batch)
    patches = model.encoder(view.low, view.keep)[:, 1:]
    logits = model.align(patches, model.align.sentences(model.text, batch.sentences)) / 0.1
    torch.testing.assert_close(losses.align, 0.5 * align_loss(logits, batch.sentences))


def test_the_gradient_is_that_of_differences(setup: Any) -> None:
    model, batch = setup("sr.guidance=none")
    model.double()
    view = replace(model.view(batch), low=model.view(batch).low.double())
    for weight in (model.align.patch.weight, model.text.embeddings.word, model.encoder.patch.weight):
        direction = torch.randn_like(weight)
        model.zero_grad()
        model.losses(view).align.backward()
        slope = float((weight.grad * direction).sum())
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight += step * direction
                values.append(float(model.losses(view).align))
                weight -= step * direction
        assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_other_terms_begin_as_without_it(setup: Any, small: Any, dropout: float) -> None:
    """The same first weights, the same masks and dropout, to the bit."""
    dropped = f"model.text.dropout={dropout}"
    torch.manual_seed(5)
    model, batch = setup(dropped)
    torch.manual_seed(5)
    plain = Ecamp(small("paper", dropped), model.vocab_size)
    own = model.state_dict()
    assert all(own[name].equal(tensor) for name, tensor in plain.state_dict().items())
    assert own.keys() - plain.state_dict().keys() == {name for name in own if name.startswith("align.")}
    found = []
    for one in (model, plain):
        torch.manual_seed(6)
        losses = one(batch)
        found.append([losses.mim, losses.sr, losses.mlm])
    assert found[0] == found[1] and losses.align is None


def test_a_micro_batch_that_states_nothing_has_no_loss(setup: Any, sentences_of: Any) -> None:
    model, batch = setup()
    losses = model(replace(batch, sentences=sentences_of([""] * 3)))
    assert losses.align == 0
    losses.total.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_prompts_see_the_whole_picture(setup: Any) -> None:
    model, batch = setup()
    model.eval()
    alike, parts = model.compare(batch.image, batch.sentences)
    tokens = image_tokens(model.encoder, model.recipe, batch.image)[:, 1:]
    sentences = model.align.sentences(model.text, batch.sentences)
    torch.testing.assert_close(alike, model.align(tokens, sentences))
    assert parts.shape == (3, model.recipe.patches, len(batch.sentences.real))
    torch.testing.assert_close(parts[1, 2, 3], cosine_similarity(model.align.patch(tokens[1, 2]), sentences[3], dim=0))


@pytest.mark.slow
def test_compiled_is_eager(setup: Any) -> None:
    torch._dynamo.reset()
    model, batch = setup("compile=default", "text.capacity=fixed", room=ROOM)
    eager = model(batch).total
    compile_blocks(model, model.recipe, torch.device("cpu"), backend="aot_eager")
    torch.testing.assert_close(model(batch).total, eager, rtol=1e-5, atol=0)
    torch._dynamo.reset()
