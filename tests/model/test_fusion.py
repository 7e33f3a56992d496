import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from ecamp_fast.model.fusion import ContextFusion
from ecamp_fast.model.initialize import initialise
from ecamp_fast.model.sequences import SequenceLayout

COUNTS, PATCHES, WIDTH, HEADS = [5, 1, 3], 4, 12, 3


def heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Multi-head attention of one sample, head by head.  q: (Lq, D)   k, v: (Lk, D)"""
    parts = zip(q.chunk(HEADS, 1), k.chunk(HEADS, 1), v.chunk(HEADS, 1), strict=True)
    return torch.cat([(a @ b.T / (WIDTH // HEADS) ** 0.5).softmax(-1) @ c for a, b, c in parts], 1)


def by_hand(p: dict[str, Tensor], e: Tensor, patches: Tensor, projection: str, local: bool, whole: bool) -> Tensor:
    """The formulas of the module's docstring for one sample.  e: (L, D)   patches: (K, D)"""

    def norm(name: str, x: Tensor) -> Tensor:
        return layer_norm(x, (WIDTH,), p[f"{name}.weight"], p[f"{name}.bias"], 1e-12)

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    q, k, v = linear("attention.qkv", e).chunk(3, 1)
    text = norm("attention.norm", linear("attention.out", heads(q, k, v)) + e)
    c = heads(linear("query", text), *linear("key_value", patches).chunk(2, 1)) if local else 0
    g = linear("global_proj", patches.mean(0)).expand(len(e), -1) if whole else 0
    separate = (linear("out", c) if local else 0) + g
    fused = linear("out", c + g) if projection == "shared" else separate
    x = norm("norm", fused + text)
    return norm("ffn.norm", linear("ffn.fc2", gelu(linear("ffn.fc1", x))) + x)


@pytest.mark.parametrize("projection", ["shared", "separate"])
@pytest.mark.parametrize(("local", "whole"), [(True, True), (True, False), (False, True)])
def test_equals_the_formulas(small, projection: str, local: bool, whole: bool) -> None:
    fusion = f"fusion={{projection: {projection}, use_local: {local}, use_global: {whole}}}".lower()
    recipe = small("paper", fusion)
    module = ContextFusion(recipe.model.text, recipe.fusion).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    state = dict(module.named_parameters())
    embedded = torch.randn(sum(COUNTS), WIDTH, dtype=torch.float64)
    patches = torch.randn(len(COUNTS), PATCHES, WIDTH, dtype=torch.float64)
    lengths = SequenceLayout.packed(torch.tensor([0, *COUNTS]).cumsum(0), sum(COUNTS), 24)
    ours = module(embedded, patches, lengths, lengths)
    theirs = [
        by_hand(state, e, x, projection, local, whole) for e, x in zip(embedded.split(COUNTS), patches, strict=True)
    ]
    torch.testing.assert_close(ours, torch.cat(theirs))
    ours.square().sum().backward()
    assert [name for name, parameter in state.items() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("fusion", "absent"),
    [
        ("use_local: false", {"query", "key_value"}),
        ("use_global: false", {"global_proj"}),
        ("use_local: false, projection: separate", {"query", "key_value", "out"}),
    ],
)
def test_a_scale_that_is_off_has_no_weights(small, fusion: str, absent: set[str]) -> None:
    recipe = small("paper", f"fusion={{{fusion}}}")
    names = {name.split(".")[0] for name, _ in ContextFusion(recipe.model.text, recipe.fusion).named_parameters()}
    assert {"query", "key_value", "global_proj", "out"} - names == absent


def test_dropout_acts_on_the_attention_and_on_the_sum(small) -> None:
    """Of values that are all one, attention makes ones again, whatever its weights: unless some were dropped."""
    recipe = small("paper", "model.text.dropout=0.5", "fusion.use_global=false")
    module = ContextFusion(recipe.model.text, recipe.fusion)
    initialise(module)
    with torch.no_grad():
        module.key_value.weight.chunk(2)[1].zero_()
        module.key_value.bias.chunk(2)[1].fill_(1)
    lengths, seen = SequenceLayout.equal(1, 6), []
    module.out.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    embedded, patches = torch.randn(6, WIDTH), torch.randn(1, PATCHES, WIDTH)
    module(embedded, patches, lengths, lengths)
    module.eval()(embedded, patches, lengths, lengths)
    dropped, whole = seen
    assert (dropped - 1).abs().max() > 0.1
    torch.testing.assert_close(whole, torch.ones(6, WIDTH))
    module.dropout.train().p = 1.0  # all of the sum: what remains is the text, normed once more
    text = module.attention(embedded, lengths, lengths)
    torch.testing.assert_close(module(embedded, patches, lengths, lengths), module.ffn(module.norm(text)))


@pytest.mark.parametrize("layout", ["packed", "equal", "padded"])
def test_what_is_looked_at_is_what_attention_collects(small, layout: str) -> None:
    """The probabilities by hand, head by head; and with the values they give what the module itself mixes."""
    recipe = small("paper")
    module = ContextFusion(recipe.model.text, recipe.fusion).double().eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    p = dict(module.named_parameters())
    counts = COUNTS if layout == "packed" else [5, 5, 5]
    embedded = torch.randn(sum(counts), WIDTH, dtype=torch.float64)
    patches = torch.randn(3, PATCHES, WIDTH, dtype=torch.float64)
    queries = keys = SequenceLayout.equal(3, 5)
    if layout == "packed":
        queries = keys = SequenceLayout.packed(torch.tensor([0, *counts]).cumsum(0), sum(counts), 24)
    elif layout == "padded":
        keys = SequenceLayout.padded(torch.tensor([5, 2, 4]), 5)
    found = module.cross_attention(embedded, patches, queries, keys)
    assert found.shape == (sum(counts), HEADS, PATCHES)
    torch.testing.assert_close(found.sum(-1), torch.ones(sum(counts), HEADS, dtype=torch.float64))
    text = module.attention(embedded, queries, keys)
    values = module.key_value(patches).chunk(2, 2)[1].unflatten(2, (HEADS, -1))
    mixed = [
        torch.einsum("lhk,khc->lhc", mine, v).flatten(1) for mine, v in zip(found.split(counts), values, strict=True)
    ]
    torch.testing.assert_close(torch.cat(mixed), module._local(text, patches, queries), atol=1e-6, rtol=0)
    for mine, rows, x in zip(found.split(counts), text.split(counts), patches, strict=True):
        q = rows @ p["query.weight"].T + p["query.bias"]
        k = (x @ p["key_value.weight"].T + p["key_value.bias"]).chunk(2, 1)[0]
        for head, (a, b) in enumerate(zip(q.chunk(HEADS, 1), k.chunk(HEADS, 1), strict=True)):
            torch.testing.assert_close(mine[:, head], (a @ b.T / (WIDTH // HEADS) ** 0.5).softmax(-1))


def test_without_a_local_scale_nothing_is_looked_at(small) -> None:
    recipe = small("paper", "fusion.use_local=false")
    module = ContextFusion(recipe.model.text, recipe.fusion)
    layout = SequenceLayout.equal(1, 2)
    with pytest.raises(ValueError, match="no local scale"):
        module.cross_attention(torch.randn(2, WIDTH), torch.randn(1, PATCHES, WIDTH), layout, layout)
