"""The encoder as one ONNX file, of any batch: (B, 3, S, S) normalised -> tokens (B, 1+N, D) and features (B, D)."""

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from ecamp_fast.errors import EnvironmentFault
from ecamp_fast.extras import install_hint
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.vision import CHANNELS
from ecamp_fast.weights.export.to_timm import twin


class _Both(nn.Module):
    """Tokens and their mean, of timm's model: our own unpacks batches, which freezes their size in a graph."""

    def __init__(self, model: Ecamp) -> None:
        super().__init__()
        self.twin = twin(model)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.twin.forward_features(pixels)  # type: ignore[operator]
        return tokens, tokens[:, 1:].mean(1)


def require() -> None:
    """Raises EnvironmentFault where onnx is not installed."""
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise EnvironmentFault(f"{' and '.join(missing)} not installed", install_hint("onnx"))


def write(model: Ecamp, out: Path) -> None:
    """``model.onnx`` in ``out``, which must exist; ``require`` first."""
    size = model.recipe.image.low_size
    torch.onnx.export(
        _Both(model).eval(),
        (torch.zeros(2, CHANNELS, size, size),),
        str(out / "model.onnx"),
        input_names=["pixels"],
        output_names=["tokens", "features"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
