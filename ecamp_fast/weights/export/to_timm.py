"""The encoder as timm reads it: ``timm.create_model("local-dir:FOLDER", pretrained=True)``."""

from pathlib import Path
from typing import Any

from torch import nn

from ecamp_fast.config import Recipe
from ecamp_fast.model.ecamp import Ecamp
from ecamp_fast.model.vision import CHANNELS
from ecamp_fast.weights.vit_names import to_timm

ARCHITECTURE = "vit_base_patch16_224"  # every size of it is an argument


def twin(model: Ecamp, drop_path: float = 0.0) -> nn.Module:
    """timm's model with the encoder's weights: (B, 3, S, S) normalised -> (B, D), the mean of patch tokens.

    drop_path: of its last block in training, falling to 0 at the first
    """
    import timm

    twin: nn.Module = timm.create_model(ARCHITECTURE, **arguments(model.recipe), drop_path_rate=drop_path)
    state = to_timm(model.state_dict(), model.recipe)
    twin.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return twin.eval()


def write(model: Ecamp, out: Path) -> None:
    """``config.json`` and ``model.safetensors`` in ``out``, which must exist."""
    from timm.models import save_for_hf

    theirs = twin(model)
    theirs.pretrained_cfg = preprocessing(model.recipe)  # type: ignore[assignment]
    save_for_hf(theirs, str(out), model_args=arguments(model.recipe), safe_serialization=True)


def arguments(recipe: Recipe) -> dict[str, Any]:
    """What ``create_model`` is given besides the architecture.

    The pooling is among them, since timm's default is the class token. ``fc_norm``: the final norm stays where it was,
    before the mean.
    """
    vision = recipe.model.vision
    return {
        "img_size": recipe.image.low_size,
        "patch_size": vision.patch,
        "embed_dim": vision.width,
        "depth": vision.depth,
        "num_heads": vision.heads,
        "mlp_ratio": vision.mlp_ratio,
        "num_classes": 0,
        "global_pool": "avg",
        "fc_norm": False,
    }


def preprocessing(recipe: Recipe) -> dict[str, Any]:
    """timm's words for how a picture becomes an input: its centred square, three equal channels."""
    pixels = recipe.image
    return {
        "architecture": ARCHITECTURE,
        "input_size": (CHANNELS, pixels.low_size, pixels.low_size),
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": (pixels.mean,) * CHANNELS,
        "std": (pixels.std,) * CHANNELS,
        "num_classes": 0,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    }
