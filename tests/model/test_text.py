"""The text layers against transformers' BERT, weights copied across."""

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertEmbeddings, BertLayer, BertPredictionHeadTransform

from ecamp_fast.model.sequences import SequenceLayout
from ecamp_fast.model.text_decoder import Embeddings, MlmHead
from ecamp_fast.model.text_layer import TextLayer

BATCH, MOST, VOCABULARY = 3, 24, 19
COUNTS = [24, 3, 11]


@pytest.fixture
def bert(small) -> BertConfig:
    text = small().model.text
    return BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=text.width,
        num_attention_heads=text.heads,
        intermediate_size=text.ffn,
        max_position_embeddings=MOST,
        hidden_act="gelu",
        attn_implementation="eager",
    )


def randomised(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.double().eval()


def copy_layer(ours: TextLayer, theirs: BertLayer) -> None:
    state = theirs.state_dict()
    for leaf in ("weight", "bias"):
        parts = [state[f"attention.self.{name}.{leaf}"] for name in ("query", "key", "value")]
        state[f"attention.qkv.{leaf}"] = torch.cat(parts)
    names = {
        "attention.qkv": "attention.qkv",
        "attention.out": "attention.output.dense",
        "attention.norm": "attention.output.LayerNorm",
        "ffn.fc1": "intermediate.dense",
        "ffn.fc2": "output.dense",
        "ffn.norm": "output.LayerNorm",
    }
    ours.load_state_dict({f"{a}.{leaf}": state[f"{b}.{leaf}"] for a, b in names.items() for leaf in ("weight", "bias")})


def bert_layer(theirs: BertLayer, x: Tensor) -> Tensor:
    """x: (B, L, D), real rows first as COUNTS says; the mask is additive, as BERT's own."""
    valid = torch.arange(MOST) < torch.tensor(COUNTS)[:, None]
    mask = torch.zeros(BATCH, 1, 1, MOST, dtype=x.dtype).masked_fill(~valid[:, None, None], torch.finfo(x.dtype).min)
    out = theirs(x, attention_mask=mask)
    return out[0] if isinstance(out, tuple) else out


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_layer_is_berts(small, bert: BertConfig, layout: str) -> None:
    theirs = randomised(BertLayer(bert))
    ours = TextLayer(small().model.text).double().eval()
    copy_layer(ours, theirs)
    x = torch.randn(BATCH, MOST, bert.hidden_size, dtype=torch.float64, requires_grad=True)
    real = torch.arange(MOST) < torch.tensor(COUNTS)[:, None]
    if layout == "padded":
        queries, keys = SequenceLayout.equal(BATCH, MOST), SequenceLayout.padded(torch.tensor(COUNTS), MOST)
        mine, other = ours(x.flatten(0, 1), queries, keys), bert_layer(theirs, x).flatten(0, 1)
    else:
        lengths = SequenceLayout.packed(torch.tensor([0, *COUNTS]).cumsum(0), sum(COUNTS), MOST)
        mine, other = ours(x[real], lengths, lengths), bert_layer(theirs, x)[real]
    torch.testing.assert_close(mine, other)
    cotangent = torch.randn_like(mine)
    torch.testing.assert_close(
        torch.autograd.grad(mine, x, cotangent)[0], torch.autograd.grad(other, x, cotangent)[0], rtol=1e-6, atol=1e-6
    )


def test_embeddings_are_berts(small, bert: BertConfig) -> None:
    theirs = randomised(BertEmbeddings(bert))
    ours = Embeddings(small(), VOCABULARY).double().eval()
    state = theirs.state_dict()
    ours.load_state_dict(
        {
            "word": state["word_embeddings.weight"],
            "position": state["position_embeddings.weight"],
            "token_type": state["token_type_embeddings.weight"],
            "norm.weight": state["LayerNorm.weight"],
            "norm.bias": state["LayerNorm.bias"],
        }
    )
    ids = torch.randint(0, VOCABULARY, (BATCH, MOST))
    mine = ours(ids.flatten(), SequenceLayout.equal(BATCH, MOST))
    torch.testing.assert_close(mine, theirs(input_ids=ids).flatten(0, 1))


def test_padding_word_takes_no_gradient(small) -> None:
    ours = Embeddings(small(), VOCABULARY)
    nn.init.normal_(ours.word)
    nn.init.normal_(ours.position)
    nn.init.normal_(ours.token_type)
    out = ours(torch.tensor([0, 4, 0]), SequenceLayout.equal(1, 3))
    out.square().mul(torch.randn_like(out)).sum().backward()
    assert ours.word.grad[0].abs().max() == 0 and ours.word.grad[4].abs().max() > 0


def test_head_is_berts(small, bert: BertConfig) -> None:
    theirs = randomised(BertPredictionHeadTransform(bert))
    ours = MlmHead(bert.hidden_size, nn.Parameter(torch.zeros(VOCABULARY, bert.hidden_size))).double()
    for mine, other in (("dense", "dense"), ("norm", "LayerNorm")):
        getattr(ours, mine).load_state_dict(getattr(theirs, other).state_dict())
    x = torch.randn(5, bert.hidden_size, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))


def test_embeddings_are_dropped_behind_their_norm(small) -> None:
    """Half of them are zero, the others twice what they are without dropout."""
    ours = Embeddings(small("paper", "model.text.dropout=0.5"), VOCABULARY)
    for table in (ours.word, ours.position, ours.token_type):
        nn.init.normal_(table)
    ids, layout = torch.randint(1, VOCABULARY, (BATCH * MOST,)), SequenceLayout.equal(BATCH, MOST)
    dropped, whole = ours(ids, layout), ours.eval()(ids, layout)
    assert 0.4 < (dropped == 0).float().mean() < 0.6
    torch.testing.assert_close(dropped, torch.where(dropped == 0, 0, 2 * whole))


def test_dropout_acts_in_training_only(small) -> None:
    layer = TextLayer(small("paper", "model.text.dropout=0.5").model.text)
    lengths = SequenceLayout.equal(1, 6)
    x = torch.randn(6, 12)
    torch.manual_seed(1)
    first = layer(x, lengths, lengths)
    assert not torch.equal(first, layer(x, lengths, lengths))
    torch.manual_seed(1)
    assert torch.equal(first, layer(x, lengths, lengths))
    layer.eval()
    assert torch.equal(layer(x, lengths, lengths), layer(x, lengths, lengths))


def test_dropout_acts_on_the_attention_of_a_layer(small) -> None:
    """Of values that are all one, attention makes ones again, whatever its weights: unless some were dropped."""
    layer = TextLayer(small("paper", "model.text.dropout=0.5").model.text).attention
    with torch.no_grad():
        layer.qkv.weight.chunk(3)[2].zero_()
        layer.qkv.bias.chunk(3)[2].fill_(1)
    lengths, seen = SequenceLayout.equal(1, 6), []
    layer.out.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    x = torch.randn(6, 12)
    layer(x, lengths, lengths)
    layer.eval()(x, lengths, lengths)
    dropped, whole = seen
    assert (dropped - 1).abs().max() > 0.1
    torch.testing.assert_close(whole, torch.ones(6, 12))


@pytest.mark.parametrize("half", ["attention", "ffn"])
def test_dropout_acts_on_what_a_half_of_a_layer_adds(small, half: str) -> None:
    """Where all of it is dropped, only the norm of the input is left."""
    layer = TextLayer(small("paper", "model.text.dropout=0.5").model.text)
    module, lengths, x = getattr(layer, half), SequenceLayout.equal(1, 6), torch.randn(6, 12)
    module.dropout.p = 1.0
    out = module(x, lengths, lengths) if half == "attention" else module(x)
    torch.testing.assert_close(out, module.norm(x))
