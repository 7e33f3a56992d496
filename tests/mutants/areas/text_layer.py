"""A layer of the text decoder: residuals, norms, dropout, activation."""

from typing import Any

from mutant import mutants


def a_layer() -> Any:
    """Its rows with and without dropout, over packed and padded text, all of them and some."""
    import torch

    from ecamp_fast.config import TextDecoderConfig
    from ecamp_fast.model.sequences import SequenceLayout
    from ecamp_fast.model.text_layer import QueryRows, TextLayer

    torch.manual_seed(0)
    layer = TextLayer(TextDecoderConfig(width=12, depth=2, heads=3, ffn=20, dropout=0.3)).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x, cu_seqlens = torch.randn(9, 12, dtype=torch.float64), torch.tensor([0, 4, 9])
    packed, equal = SequenceLayout.packed(cu_seqlens, 9, 5), SequenceLayout.equal(3, 3)
    chosen = QueryRows(torch.tensor([1, 3, 8]), SequenceLayout.packed(torch.tensor([0, 2, 3]), 3, 5))

    def rows() -> list[Any]:
        found = []
        for arguments in (
            (packed, packed),
            (packed, packed, chosen),
            (equal, SequenceLayout.padded(cu_seqlens[:3] % 4, 3)),
        ):
            torch.manual_seed(1)
            found.append(layer(x, *arguments).double().round(decimals=9).tolist())
        return found

    dropped = rows()
    layer.eval()
    return dropped, rows()


TEXT = "tests/model/test_text.py"
LAYER = f"{TEXT}::test_layer_is_berts"

MUTANTS = [
    *mutants(
        "ecamp_fast/model/text_layer.py",
        LAYER,
        a_layer,
        {
            "attention has no residual": ("self.out(mixed.flatten(1))) + x)", "self.out(mixed.flatten(1))))"),
            "the feed-forward has no residual": ("self.fc2(gelu(self.fc1(x)))) + x)", "self.fc2(gelu(self.fc1(x)))))"),
            "the residual of attention is added behind the norm": (
                "self.norm(self.dropout(self.out(mixed.flatten(1))) + x)",
                "self.norm(self.dropout(self.out(mixed.flatten(1)))) + x",
            ),
            "the activation is ReLU": ("gelu(self.fc1(x))", "self.fc1(x).relu()"),
            "the activation is the GELU by tanh": ("gelu(self.fc1(x))", 'gelu(self.fc1(x), approximate="tanh")'),
            "the feed-forward comes before attention": (
                "self.ffn(self.attention(x, queries, keys, query_rows))",
                "self.attention(self.ffn(x), queries, keys, query_rows)",
            ),
            "padding is attended to": (
                "q_layout=queries, kv_layout=keys, dropout=rate)",
                "q_layout=queries, kv_layout=queries if query_rows is None else keys, dropout=rate)",
            ),
            "query and key are swapped": (
                "q, k, v = self.qkv(x).unflatten(1, (3, self.heads, -1)).unbind(1)",
                "k, q, v = self.qkv(x).unflatten(1, (3, self.heads, -1)).unbind(1)",
            ),
            "the norm's epsilon is the images'": ("EPSILON = 1e-12", "EPSILON = 1e-6"),
        },
    ),
    *mutants(
        "ecamp_fast/model/text_layer.py",
        "tests/model/test_ecamp.py::test_losses_are_what_a_plain_reading_gives",
        a_layer,
        {
            "of chosen rows the first are asked for": (
                "x = gather_rows(x, query_rows.rows)",
                "x = x[: len(query_rows.rows)]",
            ),
            "keys and values for chosen rows are swapped": (
                "k, v = linear(x, w_kv, b_kv)",
                "v, k = linear(x, w_kv, b_kv)",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/model/text_layer.py",
        f"{TEXT}::test_dropout_acts_on_the_attention_of_a_layer",
        a_layer,
        {
            "no dropout on the attention in the text layers": (
                "rate = self.rate if self.training else 0.0",
                "rate = 0.0",
            ),
            "attention drops in evaluation too": ("rate = self.rate if self.training else 0.0", "rate = self.rate"),
        },
    ),
    *mutants(
        "ecamp_fast/model/text_layer.py",
        f"{TEXT}::test_dropout_acts_on_what_a_half_of_a_layer_adds",
        a_layer,
        {
            "what attention adds is not dropped": (
                "self.dropout(self.out(mixed.flatten(1))) + x",
                "self.out(mixed.flatten(1)) + x",
            ),
            "what the feed-forward adds is not dropped": (
                "self.dropout(self.fc2(gelu(self.fc1(x)))) + x",
                "self.fc2(gelu(self.fc1(x))) + x",
            ),
            "all of the feed-forward is dropped, the residual too": (
                "self.norm(self.dropout(self.fc2(gelu(self.fc1(x)))) + x)",
                "self.norm(self.dropout(self.fc2(gelu(self.fc1(x))) + x))",
            ),
        },
    ),
]
