"""The encoder under the names of others, and what they are told of it."""

from typing import Any

from mutant import mutants

EXPORT = "tests/weights/test_export.py"


def _model() -> Any:
    import torch

    from ecamp_fast.config import load_recipe
    from ecamp_fast.model.ecamp import Ecamp

    torch.manual_seed(3)
    sizes = ["model.vision={width: 16, depth: 2, heads: 2, patch: 8}", "image.high_size=64", "image.low_size=32"]
    model = Ecamp(load_recipe("official", [*sizes, "model.decoder={width: 8, depth: 1, heads: 2}"]), 30).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def named() -> Any:
    """Tensors under the names of transformers, and what comes back of them and of MRM's."""
    import torch

    from ecamp_fast.weights.names import to_ours
    from ecamp_fast.weights.released_names import to_released
    from ecamp_fast.weights.vit_names import to_timm, to_transformers

    model = _model()
    state, recipe = model.state_dict(), model.recipe
    found = [sorted((n, t.sum().item()) for n, t in f(state, recipe).items()) for f in (to_timm, to_transformers)]
    mrm = to_released(state, recipe) | {
        "decoder_pred.weight": torch.zeros(4 * 3 * 64, 8),
        "bert_mlp.bias": torch.ones(5),
    }
    for tensors in (to_transformers(state, recipe), to_timm(state, recipe), state, mrm):
        try:
            again, report = to_ours(tensors, recipe, state)
            found.append((sorted((n, t.sum().item()) for n, t in again.items()), report.missing, report.ignored))
        except Exception as error:
            found.append(type(error).__name__)
    return found


def pooled() -> Any:
    """Features of timm's twin, and how it is told to make its input."""
    import torch

    from ecamp_fast.weights.export.to_timm import preprocessing, twin

    model = _model()
    torch.manual_seed(4)
    with torch.no_grad():
        return twin(model)(torch.randn(2, 3, 32, 32)).tolist(), str(preprocessing(model.recipe))


def seen() -> Any:
    """A picture as the encoder sees it."""
    import numpy as np

    from ecamp_fast.downstream.encoder import PretrainedEncoder

    model = _model()
    grey = (np.add.outer(np.arange(90), 1.3 * np.arange(130)) % 256).astype(np.uint8)
    images = PretrainedEncoder(model.recipe, model.encoder).preprocess([grey, grey.T])
    return images.tolist()


MUTANTS = [
    *mutants(
        "ecamp_fast/weights/vit_names.py",
        EXPORT,
        named,
        {
            "query and key are swapped for transformers": ('("query", "key", "value")', '("key", "query", "value")'),
            "norms of blocks are swapped for transformers": (
                '"norm1": "layernorm_before"',
                '"norm1": "layernorm_after"',
            ),
        },
    ),
    *mutants(
        "ecamp_fast/weights/names.py",
        EXPORT,
        named,
        {
            "MRM is taken for the release": ("_MRM = 4", "_MRM = 5"),
            "names of ours are taken for released ones": ("if ours.keys() & expected.keys():", "if False:"),
        },
    ),
    *mutants(
        "ecamp_fast/weights/export/to_timm.py",
        EXPORT,
        pooled,
        {
            "timm pools the class token": ('"global_pool": "avg"', '"global_pool": "token"'),
            "timm's norm lies behind the mean": ('"fc_norm": False', '"fc_norm": True'),
            "timm's mean is the deviation": ('"mean": (pixels.mean,)', '"mean": (pixels.std,)'),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/encoder.py",
        EXPORT,
        seen,
        {
            "the whole picture is squeezed": (
                "grey[y : y + height, x : x + width]",
                "grey[: grey.shape[0], : grey.shape[1]]",
            ),
        },
    ),
]
