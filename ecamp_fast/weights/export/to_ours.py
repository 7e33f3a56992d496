"""The whole model as this library reads it: ``ecamp_fast.load``, and its weights by ``--set init_from``."""

from pathlib import Path

from ecamp_fast.config import dump_recipe
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.weights.file import save_weights


def write(model: Ecamp, out: Path) -> None:
    """``recipe.yaml`` and ``weights.safetensors`` in ``out``, which must exist: what a complete run has too."""
    (out / "recipe.yaml").write_text(dump_recipe(model.recipe))
    save_weights(model, out / "weights.safetensors")
